"""A version's files are files: what has the name of one and is none is no version of another kind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from predictor.errors import VersionError
from predictor.prompt import PromptEncoder
from predictor.version_files import has_file, read_json
from predictor.weights import weight_files

TINY = Path(__file__).resolve().parents[2] / "models" / "tiny"


def dangling(path: Path) -> None:
    path.symlink_to("gone")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


NO_FILES: list[Callable[[Path], None]] = [
    dangling,
    loop,
    os.mkfifo,
    Path.mkdir,
    lambda path: path.symlink_to("/dev/zero"),
]


@pytest.mark.parametrize("make", NO_FILES)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A pipe is not waited for."""
    path = tmp_path / "config.json"
    make(path)
    with pytest.raises(VersionError, match=r"config\.json: [^\n]+$"):
        has_file(path)
    with pytest.raises(VersionError):
        read_json(path)


def test_a_file_a_link_to_one_and_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("{}")
    (tmp_path / "link").symlink_to("there")
    assert [has_file(tmp_path / name) for name in ("there", "link", "gone", "there/below")] == [
        True,
        True,
        False,
        False,
    ]
    with pytest.raises(VersionError, match="gone: no such file"):
        read_json(tmp_path / "gone")


@pytest.mark.parametrize("make", NO_FILES)
@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "prompt.json",
        "generation_config.json",
        "chat_template.jinja",
    ],
)
def test_a_version_is_not_read_without_what_its_maker_gave_it(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    """Another prompt is another model: without prompt.json the tiny one's accuracy falls."""
    folder = tmp_path / "version"
    shutil.copytree(TINY, folder)
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    with pytest.raises(VersionError, match=name):
        PromptEncoder(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json", "adapter_config.json"])
def test_weights_that_are_no_file(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "version"
    shutil.copytree(TINY, folder)
    (folder / name).unlink(missing_ok=True)
    dangling(folder / name)
    with pytest.raises(VersionError, match=name):
        weight_files(folder)


@pytest.mark.parametrize("name", ["x" * 5000, "\ud800", "\x1b[2J\n", "../other", "/etc/passwd", "", "."])
def test_an_index_may_name_files_as_it_likes(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(VersionError) as refused:
        weight_files(tmp_path)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1000
