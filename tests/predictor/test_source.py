"""What a URI names, local folders, and the command line that puts a version into a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from predictor.source import Hub, Local, Registered, SourceError, fetch, log_progress, parse, resolve, version_name
from predictor.source_files import Record

ROOT = Path(__file__).parents[2]


@pytest.fixture
def version(tmp_path: Path) -> Path:
    folder = tmp_path / "local" / "tiny-3"
    folder.mkdir(parents=True)
    for name, content in {
        "config.json": b"{}",
        "tokenizer.json": b"{}",
        "model.safetensors": os.urandom(1000),
        "calibration.json": b"{}",
        "training_args.bin": b"a pickle",
        "README.md": b"# tiny",
    }.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("models/tiny", Local(Path("models/tiny"))),
        ("/models/x", Local(Path("/models/x"))),
        ("~/x", Local(Path.home() / "x")),
        ("file:///models/a%20b", Local(Path("/models/a b"))),
        ("file://localhost/models/x", Local(Path("/models/x"))),
        ("mlflow://coding-mcqa/7", Registered("coding-mcqa", "7")),
        ("mlflow://coding%20mcqa/12/", Registered("coding mcqa", "12")),
        ("hf://Qwen/Qwen2.5-Coder-1.5B-Instruct", Hub("Qwen/Qwen2.5-Coder-1.5B-Instruct", None)),
        ("hf://owner/model@refs/pr/1", Hub("owner/model", "refs/pr/1")),
        ("hf://owner/model:main", Hub("owner/model", "main")),
        ("hf://owner/model:refs/pr/1", Hub("owner/model", "refs/pr/1")),
        ("hf://Qwen/Qwen2.5-Coder-1.5B-Instruct:2e1fd397", Hub("Qwen/Qwen2.5-Coder-1.5B-Instruct", "2e1fd397")),
        (" models/tiny\n", Local(Path("models/tiny"))),
    ],
)
def test_a_uri_names_its_source(uri: str, source: object) -> None:
    assert parse(uri) == source


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "write a local folder, mlflow://name/version or hf://owner/model[@revision]"),
        ("s3://bucket/x", "s3:// is no known source: write a local folder, mlflow://"),
        ("https://example.org/m", "https:// is no known source"),
        ("models:/coding-mcqa/7", "write mlflow://name/version"),
        ("models:/coding-mcqa@champion", "an alias, which moves"),
        ("models:/m-12ab", "write mlflow://name/version"),
        ("mlflow://coding-mcqa@champion", "'champion' is no version number; versions never change but aliases"),
        ("mlflow://coding-mcqa/champion", "write mlflow://coding-mcqa/7"),
        ("mlflow://coding-mcqa/latest", "'latest' is no version number"),
        ("mlflow://coding-mcqa/0", "'0' is no version number"),
        ("mlflow://coding-mcqa/7/extra", "'7/extra' is no version number"),
        ("mlflow://coding-mcqa", "as in mlflow://coding-mcqa/7"),
        ("mlflow:///7", "as in mlflow://coding-mcqa/7"),
        ("mlflow://../7", "is no version number"),
        ("mlflow:coding-mcqa/7", "is no version number"),
        ("hf://model", "write hf://owner/model"),
        ("hf://owner/model@", "write hf://owner/model"),
        ("hf://owner/model:", "write hf://owner/model"),
        ("hf://owner:main/model", "write hf://owner/model"),
        ("mlflow-artifacts:/1/models/m-12/artifacts", "a place in MLflow's artifact store, no version: register it"),
        ("mlflow-artifacts://127.0.0.1:5000/1/a", "write mlflow://name/version"),
        ("runs:/0123abcd/model", "an artifact of an MLflow run, no version: register it"),
        ("dbfs:/models/x", "Databricks' file system, no version"),
        ("s3:/bucket/x", "s3:// is no known source"),
        ("gs://bucket/x", "gs:// is no known source"),
        ("abfss://c@a.dfs.core.windows.net/x", "abfss:// is no known source"),
        ("hf:owner/model", "write hf://owner/model"),
        ("file://models/x", "file:///models/x"),
    ],
)
def test_anything_else_is_refused_with_the_form_to_write(uri: str, says: str) -> None:
    with pytest.raises(SourceError) as error:
        resolve(uri)
    assert says in str(error.value)
    assert str(error.value).startswith(uri)
    assert "\n" not in str(error.value)


def test_version_names(version: Path, tmp_path: Path) -> None:
    assert version_name("mlflow://coding-mcqa/7") == "7"
    assert version_name("hf://Qwen/Qwen2.5-Coder-1.5B-Instruct") == "Qwen2.5-Coder-1.5B-Instruct"
    assert version_name("hf://owner/model@abc") == version_name("hf://owner/model:abc") == "model@abc"
    assert version_name(str(version)) == "tiny-3"
    assert version_name(str(tmp_path / "absent")) == "absent"
    # A folder that was fetched from elsewhere, as KServe's /mnt/models is, keeps its version's name.
    Record("mlflow://coding-mcqa/7", "7").write(version)
    assert version_name(str(version)) == "7"


def test_a_local_folder_is_its_own_absolute_path(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(version.parent)
    monkeypatch.setenv("HOME", str(version.parent))
    for uri in (str(version), "tiny-3", "./tiny-3/", "~/tiny-3", version.as_uri(), f"file://localhost{version}"):
        assert resolve(uri) == version


def test_a_folder_that_is_no_version_says_what_was_found(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def message(uri: str) -> str:
        with pytest.raises(SourceError) as error:
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
    with pytest.raises(SourceError, match=r"dest holds .*tiny-3: choose an empty folder"):
        fetch(str(other), dest)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    with pytest.raises(SourceError, match=r"not empty: choose an empty folder\. Found: notes\.txt"):
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


def run(*args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "predictor.source", *args], cwd=cwd, capture_output=True, text=True)


def test_the_command_line_as_kserve_runs_it(version: Path, tmp_path: Path) -> None:
    done = run(str(version), str(tmp_path / "mnt" / "models"))
    assert done.returncode == 0
    line = json.loads(done.stderr.splitlines()[-1])
    assert line["message"] == "fetched"
    assert (line["version"], line["files"], line["bytes"]) == ("tiny-3", 4, 1006)

    failed = run("mlflow://coding-mcqa@champion", str(tmp_path / "x"))
    assert failed.returncode == 1
    assert json.loads(failed.stderr)["level"] == "error"
    assert "no version number" in failed.stderr
    assert run("only-one").returncode == 2


def test_importing_the_module_loads_the_standard_library_only() -> None:
    code = (
        "import sys, predictor.source; own = {m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names);"
        "print(*sorted(n for n in own if not n.startswith(('_', 'sitecustomize'))))"
    )
    out = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["predictor"]
