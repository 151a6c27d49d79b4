"""Registered versions from a real MLflow server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from predictor.storage.resolver import resolve, version_name
from tests.predictor.storage.mlflow.registry import (
    NAME,
    ROOT,
    WEIGHTS,
    Registry,
    contents,
    make_folder,
    refusal,
)

pytestmark = pytest.mark.usefixtures("processes")


def test_a_registered_version_comes_whole(registry: Registry, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    folder = resolve(f"mlflow://{NAME}/1", progress=lambda *a: seen.append(a))
    assert folder.is_relative_to(tmp_path / "cache" / "mlflow")
    files = contents(folder)
    record = json.loads(files.pop("source.json"))
    expected = contents(registry.whole)
    del expected["MLmodel"]
    assert files == expected
    assert (record["source"], record["version"]) == (f"mlflow://{NAME}/1", "1")
    assert ("model.safetensors", WEIGHTS, WEIGHTS) in seen
    assert version_name(str(folder)) == "1"
    assert [p.name for p in folder.parent.iterdir() if p.name != ".1.lock"] == ["1"]


def test_a_lora_version_keeps_its_base(registry: Registry) -> None:
    files = contents(resolve(f"mlflow://{NAME}/2"))
    assert files["base/model.safetensors"] == (registry.lora / "base" / "model.safetensors").read_bytes()
    assert "adapter_model.safetensors" in files


def test_every_way_to_register_leads_to_the_files(registry: Registry, tmp_path: Path) -> None:
    client, name = registry.client, "ways"
    client.create_registered_model(name)
    model_id, location = registry.log(registry.whole)
    run = client.create_run(registry.experiment).info
    client.log_artifacts(run.run_id, str(registry.whole), "model")
    client.create_model_version(name, location, model_id=model_id)
    client.create_model_version(name, f"models:/{model_id}", model_id=model_id)
    client.create_model_version(name, f"models:/{name}/1")
    client.create_model_version(name, f"runs:/{run.run_id}/model", run_id=run.run_id)
    client.create_model_version(name, f"{run.artifact_uri}/model", run_id=run.run_id)
    expected = (registry.whole / "model.safetensors").read_bytes()
    for version in range(1, 6):
        assert (resolve(f"mlflow://{name}/{version}") / "model.safetensors").read_bytes() == expected


def test_a_wiped_registry_is_not_answered_from_an_old_copy(registry: Registry, tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        registry.client.create_registered_model("wiped")
        folder = make_folder(tmp_path / content.decode(), **{"config.json": content})
        assert registry.register("wiped", folder) == "1"
        assert (resolve("mlflow://wiped/1") / "config.json").read_bytes() == content
        registry.client.delete_registered_model("wiped")
    assert "not found" in refusal("mlflow://wiped/1")


def test_unknown_versions_and_models(registry: Registry) -> None:
    assert "404 Model Version (name=coding-mcqa, version=99) not found" in refusal(f"mlflow://{NAME}/99")
    assert "(name=nope, version=1) not found" in refusal("mlflow://nope/1")


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        (None, "MLFLOW_TRACKING_URI is not set"),
        ("sqlite:///mlflow.db", "must be an http(s):// address of an MLflow server, found sqlite"),
        ("databricks", "found databricks"),
    ],
)
def test_addresses_that_are_no_server(uri: str | None, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI") if uri is None else monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert says in refusal(f"mlflow://{NAME}/1")


def test_a_store_out_of_reach_is_explained(registry: Registry) -> None:
    registry.client.create_registered_model("elsewhere")
    registry.client.create_model_version("elsewhere", "s3://bucket/model")
    message = refusal("mlflow://elsewhere/1")
    assert "its files are in s3:// (s3://bucket/model)" in message
    assert "run `mlflow server` with --serve-artifacts" in message


@pytest.mark.parametrize("name", ["pytorch_model.bin", "scaler.pkl", "modeling_qwen2.py"])
def test_pickles_and_code_are_refused(registry: Registry, tmp_path: Path, name: str) -> None:
    folder = make_folder(tmp_path / "model", **{name: b"cos\nsystem\n"})
    model = f"pickled-{name.partition('.')[0]}"
    registry.client.create_registered_model(model)
    registry.register(model, folder)
    assert f"{name} may run code when loaded" in refusal(f"mlflow://{model}/1")
    assert not list((tmp_path / "cache").rglob(name))


def test_a_version_without_weights_is_refused(registry: Registry, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    registry.client.create_registered_model("hollow")
    registry.register("hollow", folder)
    message = refusal("mlflow://hollow/1")
    assert "no model.safetensors. Found: " in message
    assert list((tmp_path / "cache").rglob("hollow/1")) == []


def test_a_slim_environment_needs_httpx2_only(registry: Registry, tmp_path: Path) -> None:
    """As the container of the ClusterStorageContainer runs it."""
    code = (
        "import sys; from predictor.storage.__main__ import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'mlflow', 'huggingface_hub', 'kserve', 'numpy', 'requests'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else code)"
    )
    command = [sys.executable, "-c", code, f"mlflow://{NAME}/1", str(tmp_path / "models")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stderr.splitlines()[-1])
    assert (line["message"], line["version"], line["files"]) == ("fetched", "1", 5)
