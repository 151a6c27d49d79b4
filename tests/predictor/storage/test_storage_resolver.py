"""Local folders, and fetching a version into a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from predictor.storage.download import log_progress
from predictor.storage.errors import StorageError
from predictor.storage.resolver import fetch, resolve, version_name
from predictor.storage.version_folder import Provenance


def test_version_names(version: Path, tmp_path: Path) -> None:
    assert version_name("mlflow://coding-mcqa/7") == "7"
    assert version_name("hf://Qwen/Qwen2.5-Coder-1.5B-Instruct") == "Qwen2.5-Coder-1.5B-Instruct"
    assert version_name("hf://owner/model@abc") == version_name("hf://owner/model:abc") == "model@abc"
    assert version_name(str(version)) == "tiny-3"
    assert version_name(str(tmp_path / "absent")) == "absent"
    # A folder that was fetched from elsewhere, as KServe's /mnt/models is, keeps its version's name.
    Provenance("mlflow://coding-mcqa/7", "7").write(version)
    assert version_name(str(version)) == "7"


def test_a_local_folder_is_its_own_absolute_path(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(version.parent)
    monkeypatch.setenv("HOME", str(version.parent))
    for uri in (str(version), "tiny-3", "./tiny-3/", "~/tiny-3", version.as_uri(), f"file://localhost{version}"):
        assert resolve(uri) == version


def test_a_folder_that_is_no_version_says_what_was_found(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def message(uri: str) -> str:
        with pytest.raises(StorageError) as error:
            resolve(uri)
        return str(error.value)

    monkeypatch.chdir(version.parent)
    assert message("nope") == "nope: no such folder"
    assert message("owner/model").endswith("a model of the Hugging Face Hub is written hf://owner/model")
    assert message("tiny-3/config.json").endswith("a file, not a model's folder")
    (version / "tokenizer.json").unlink()
    assert "lacks tokenizer.json. Found: README.md, calibration.json, config.json" in message("tiny-3")
    (version / "tokenizer.json").write_text("{}")
    (version / "model.safetensors").unlink()
    assert "pickled weights" in message("tiny-3")
    (version / "training_args.bin").unlink()
    assert "no model.safetensors. Found: README.md" in message("tiny-3")
    (version / "adapter_config.json").write_text('{"base_model_name_or_path": "Qwen/base"}')
    assert message("tiny-3").endswith("a LoRA adapter without its base: put Qwen/base into its folder base/")


def test_fetch_copies_data_only_and_says_where_it_came_from(version: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    seen: list[tuple[str, int, int]] = []
    assert fetch(str(version), dest, progress=lambda *a: seen.append(a)) == dest
    names = ["calibration.json", "config.json", "model.safetensors", "source.json", "tokenizer.json"]
    assert sorted(p.name for p in dest.iterdir()) == names
    assert (dest / "model.safetensors").read_bytes() == (version / "model.safetensors").read_bytes()
    assert ("model.safetensors", 1000, 1000) in seen
    assert seen[-1][0] == "config.json"
    assert version_name(str(dest)) == "tiny-3"
    assert resolve(str(dest)) == dest

    (version / "calibration.json").unlink()
    fetch(str(version), dest)
    assert not (dest / "calibration.json").exists()


def test_fetch_never_mixes_two_versions(version: Path, tmp_path: Path) -> None:
    dest, other = tmp_path / "dest", tmp_path / "other"
    fetch(str(version), dest)
    fetch(str(version), other)
    with pytest.raises(StorageError, match=r"dest holds .*tiny-3: choose an empty folder"):
        fetch(str(other), dest)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"not empty: choose an empty folder\. Found: notes\.txt"):
        fetch(str(version), tmp_path / "foreign")
    assert (tmp_path / "foreign" / "notes.txt").read_text() == "mine"


def test_progress_is_logged_with_sizes_and_rates(caplog: pytest.LogCaptureFixture) -> None:
    report = log_progress(seconds=0.0)
    with caplog.at_level("INFO"):
        report("model.safetensors", 0, 3_000_000)
        report("model.safetensors", 1_500_000, 3_000_000)
        report("model.safetensors", 3_000_000, 3_000_000)
        report("model.safetensors", 3_000_000, 3_000_000)
    assert [r.getMessage().partition(",")[0] for r in caplog.records] == [
        "model.safetensors: 0 B of 3.0 MB",
        "model.safetensors: 1.5 MB of 3.0 MB",
        "model.safetensors: 3.0 MB of 3.0 MB",
    ]
    assert caplog.records[-1].fields["bytes_per_second"] > 0  # type: ignore[attr-defined]
