"""Registered versions when the server, the network, the disk or the process fails, or when names are hostile."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest

from predictor.storage.errors import StorageError
from predictor.storage.resolver import fetch, resolve, version_name
from predictor.storage.version_folder import Provenance
from tests.predictor.storage.mlflow.registry import (
    NAME,
    WEIGHTS,
    Proxy,
    Registry,
    contents,
    refusal,
    spawn,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("processes")


def test_a_logged_model_s_own_address_is_followed(registry: Registry, proxy: Proxy) -> None:
    """Servers that store `models:/m-…` as it was given answer with that."""
    model_id, _ = registry.log(registry.whole)
    proxy.rewrite = lambda path, body: {"artifact_uri": f"models:/{model_id}"} if "download-uri" in path else body
    assert (resolve(f"mlflow://{NAME}/1") / "config.json").is_file()
    assert proxy.seen(f"logged-models/{model_id}")


def test_a_second_call_downloads_nothing(proxy: Proxy) -> None:
    first = resolve(f"mlflow://{NAME}/1")
    before = len(proxy.requests)
    assert resolve(f"mlflow://{NAME}/1") == first
    assert [path.partition("?")[0] for path, _ in proxy.requests[before:]] == [
        "/api/2.0/mlflow/model-versions/get-download-uri"
    ]


def test_a_complete_copy_serves_while_the_server_is_down(
    registry: Registry, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    folder = resolve(f"mlflow://{NAME}/1")
    proxy.fail = [(503, {}, "down")] * 9
    assert resolve(f"mlflow://{NAME}/1") == folder
    assert "using the copy in" in caplog.text
    (folder / "tokenizer.json").unlink()
    assert "does not answer (503 down)" in refusal(f"mlflow://{NAME}/1")


def test_a_server_that_is_down(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:1")
    message = refusal(f"mlflow://{NAME}/1")
    assert "the MLflow server http://127.0.0.1:1 does not answer" in message
    assert "secret" not in message


def test_a_server_that_serves_no_artifacts_is_explained(registry: Registry, proxy: Proxy) -> None:
    body = {"detail": "Artifact serving is disabled. Run `mlflow server` with `--serve-artifacts` to enable."}

    def refuse_listing(path: str, answer: dict) -> object:
        proxy.fail = [(503, {"content-type": "application/json"}, json.dumps(body))]
        return answer

    proxy.rewrite = refuse_listing
    assert "start `mlflow server` with --serve-artifacts" in refusal(f"mlflow://{NAME}/1")


@pytest.mark.parametrize("name", ["../../evil.json", "/etc/cron.json", "..", "a\\b.json", "a\nb.json", ""])
def test_names_that_lead_out_of_the_folder_are_refused(proxy: Proxy, tmp_path: Path, name: str) -> None:
    proxy.rewrite = lambda path, body: {"files": [{"path": name, "file_size": 2}]} if "path=" in path else body
    assert "is refused: it could lead out of the version's folder" in refusal(f"mlflow://{NAME}/1")
    assert not list(tmp_path.rglob("evil*"))


def test_a_location_that_leads_out_or_elsewhere_is_refused(proxy: Proxy) -> None:
    for location, says in {
        "mlflow-artifacts:/1/../../secret": "'..' is refused",
        "mlflow-artifacts://other.example:5000/1/models": "are on another server, other.example",
        "file:///srv/mlruns/1": "out of reach",
        "/srv/mlruns/1": "a folder of the server's",
        "dbfs:/mlruns/1": "in dbfs:// (dbfs:/mlruns/1), out of reach",
        "gs://bucket/1": "in gs:// (gs://bucket/1), out of reach",
        "": "out of reach",
    }.items():
        proxy.rewrite = lambda path, body, where=location: {"artifact_uri": where}  # type: ignore[misc]
        assert says in refusal(f"mlflow://{NAME}/1")


def test_a_broken_connection_resumes(registry: Registry, proxy: Proxy) -> None:
    proxy.cut = 1_234_567
    folder = resolve(f"mlflow://{NAME}/1")
    assert (folder / "model.safetensors").read_bytes() == (registry.whole / "model.safetensors").read_bytes()
    assert [h.get("range") for h in proxy.seen("model.safetensors")] == [None, "bytes=1234567-"]


def test_a_process_killed_half_way_leaves_nothing_and_is_resumed(
    registry: Registry, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.hold = 2_000_000
    process = spawn(f"mlflow://{NAME}/1")
    parts = lambda: list((tmp_path / "cache").rglob("model.safetensors.part"))  # noqa: E731
    wait_until(lambda: bool(parts()) and parts()[0].stat().st_size > 1_900_000)
    process.kill()
    process.communicate()
    assert not list((tmp_path / "cache").rglob(f"{NAME}/1"))
    stopped = parts()[0].stat().st_size
    proxy.hold = 0
    proxy.release.set()
    folder = resolve(f"mlflow://{NAME}/1")
    assert (folder / "model.safetensors").read_bytes() == (registry.whole / "model.safetensors").read_bytes()
    assert proxy.seen("model.safetensors")[-1]["range"] == f"bytes={stopped}-"
    assert len(proxy.seen("config.json")) == 1


def test_a_damaged_copy_is_replaced(registry: Registry) -> None:
    folder = resolve(f"mlflow://{NAME}/1")
    (folder / "model.safetensors").write_bytes(b"short")
    assert resolve(f"mlflow://{NAME}/1") == folder
    assert (folder / "model.safetensors").read_bytes() == (registry.whole / "model.safetensors").read_bytes()
    assert sorted(p.name for p in folder.parent.iterdir()) == [".1.lock", "1"]


def test_rubbish_of_another_upload_is_not_resumed(registry: Registry, tmp_path: Path) -> None:
    folder = resolve(f"mlflow://{NAME}/1")
    partial = folder.with_name(".1.partial")
    shutil.rmtree(folder)
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"r" * WEIGHTS)
    Provenance(f"mlflow://{NAME}/1", "1", "1/models/m-other/artifacts").write(partial)
    resolve(f"mlflow://{NAME}/1")
    assert (folder / "model.safetensors").read_bytes() == (registry.whole / "model.safetensors").read_bytes()


def test_two_processes_fetch_once(registry: Registry, proxy: Proxy) -> None:
    proxy.hold = 1_000_000
    first, second = spawn(f"mlflow://{NAME}/1"), spawn(f"mlflow://{NAME}/1")
    # Both have asked where the version lies; one of them downloads, the other waits for the lock.
    wait_until(lambda: len(proxy.seen("get-download-uri")) == 2 and bool(proxy.seen("model.safetensors")))
    proxy.release.set()
    folders = {first.communicate(timeout=60)[0].strip(), second.communicate(timeout=60)[0].strip()}
    assert (first.returncode, second.returncode) == (0, 0)
    assert len(folders) == 1
    assert len(proxy.seen("model.safetensors")) == 1


def test_passing_failures_are_tried_again(proxy: Proxy) -> None:
    proxy.fail = [(503, {"retry-after": "0"}, "starting")]
    assert resolve(f"mlflow://{NAME}/1").is_dir()


def test_credentials(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    def sent() -> str:
        proxy.requests.clear()
        proxy.fail = [(401, {}, "who are you")]
        assert "refuses access (401 who are you): set MLFLOW_TRACKING_TOKEN" in refusal(f"mlflow://{NAME}/1")
        return proxy.requests[0][1].get("authorization", "")

    assert sent() == ""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pass:word")
    assert sent() == "Basic " + base64.b64encode(b"ann:pass:word").decode()
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    assert sent() == "Bearer t0ken"


def test_something_else_at_the_address(proxy: Proxy) -> None:
    proxy.fail = [(200, {"content-type": "text/html"}, "<html>")]
    assert "is not an MLflow server" in refusal(f"mlflow://{NAME}/1")
    proxy.fail = [(307, {"location": "https://mlflow.example/"}, "")]
    assert "redirects to https://mlflow.example/" in refusal(f"mlflow://{NAME}/1")


def test_fetch_downloads_into_the_folder_itself(registry: Registry, proxy: Proxy, tmp_path: Path) -> None:
    dest = tmp_path / "mnt" / "models"
    fetch(f"mlflow://{NAME}/2", dest)
    assert contents(dest)["base/model.safetensors"] == (registry.lora / "base" / "model.safetensors").read_bytes()
    assert not (dest / ".fetch").exists()
    assert not (tmp_path / "cache").exists()
    assert version_name(str(dest)) == "2"
    before = len(proxy.requests)
    fetch(f"mlflow://{NAME}/2", dest)
    assert len(proxy.requests) == before
    with pytest.raises(StorageError, match="holds mlflow://coding-mcqa/2: choose an empty folder"):
        fetch(f"mlflow://{NAME}/1", dest)


def test_fetch_that_failed_half_way_goes_on(registry: Registry, proxy: Proxy, tmp_path: Path) -> None:
    dest = tmp_path / "models"

    def fail_after_listing(path: str, answer: dict) -> object:
        if "path=" in path:
            proxy.fail = [(500, {}, "")] * 3
        return answer

    proxy.rewrite = fail_after_listing
    with pytest.raises(StorageError, match="gave up after 2 attempts"):
        fetch(f"mlflow://{NAME}/1", dest)
    assert [p.name for p in dest.iterdir()] == [".fetch"]
    proxy.fail, proxy.rewrite = [], lambda path, body: body
    fetch(f"mlflow://{NAME}/1", dest)
    assert (dest / "config.json").is_file()


def test_fetch_copies_what_the_cache_holds(registry: Registry, proxy: Proxy, tmp_path: Path) -> None:
    resolve(f"mlflow://{NAME}/1")
    fetch(f"mlflow://{NAME}/1", tmp_path / "models")
    assert len(proxy.seen("model.safetensors")) == 1
    assert (tmp_path / "models" / "model.safetensors").stat().st_nlink == 1
