"""The product's programs, which the platform knows by name only."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

from local.platform import commands

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "command", [commands.MIGRATE, commands.BOOTSTRAP, commands.COMPILE_PIPELINE, commands.UPLOAD_PIPELINE]
)
def test_every_command_is_a_module_of_the_product(command: tuple[str, ...]) -> None:
    assert importlib.util.find_spec(command[0])


def test_versions_are_resolved_by_the_code_of_the_storage_container(tmp_path: Path) -> None:
    (container,) = yaml.safe_load_all((ROOT / "kserve" / "storage-container.yaml").read_text())
    module = container["spec"]["container"]["command"][-1]
    assert commands.STORAGE_RESOLVER.startswith(f"{module}.")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(Exception, match=str(tmp_path)):
        commands.storage_resolver()(str(tmp_path))


@pytest.mark.parametrize(
    ("job", "command"), [("migrate.yaml", commands.MIGRATE), ("bootstrap.yaml", commands.BOOTSTRAP)]
)
def test_clusters_run_the_same_commands(job: str, command: tuple[str, ...]) -> None:
    documents = yaml.safe_load_all((ROOT / "deploy" / "jobs" / job).read_text())
    (manifest,) = (document for document in documents if document["kind"] == "Job")
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", *command]
