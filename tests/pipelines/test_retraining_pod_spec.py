"""What the compiled pipeline says of each step's pod: image, environment, resources, node, user, deadline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from local.pipelines.pipeline_spec import parse_yaml
from pipelines.retraining.__main__ import main
from pipelines.retraining.pod_spec import CACHE, IMAGE, REGISTRY_KEYS, STEP_RESOURCES, USER

ROOT = Path(__file__).parents[2]
MODEL = {"fine-tune", "evaluate", "measure-reference"}


def compiled(path: Path, *options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the IR, the platform's executors by step)."""
    assert main(["compile", str(path / "pipeline.yaml"), *options]) == 0
    ir, platform = yaml.safe_load_all((path / "pipeline.yaml").read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return ir, {name.removeprefix("exec-"): executor for name, executor in executors.items()}


def containers(ir: dict[str, Any]) -> dict[str, Any]:
    executors = ir["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): executor["container"] for name, executor in executors.items()}


def defaults(ir: dict[str, Any]) -> dict[str, Any]:
    return {name: p.get("defaultValue") for name, p in ir["root"]["inputDefinitions"]["parameters"].items()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    return compiled(tmp_path_factory.mktemp("plain"))


def test_every_step_runs_as_an_unprivileged_user_with_limits_and_a_deadline(plain: Any) -> None:
    ir, steps = plain
    assert len(steps) == len(STEP_RESOURCES) == 7
    for name, container in containers(ir).items():
        assert container["image"] == IMAGE
        wanted = {"resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit"}
        assert container["resources"].keys() >= wanted, name
        step = steps[name]
        assert step["securityContext"] == {"runAsUser": str(USER), "runAsGroup": str(USER), "runAsNonRoot": True}
        assert int(step["activeDeadlineSeconds"]) >= 900
        (scratch,) = step["emptyDirMounts"]
        assert scratch["mountPath"] == "/tmp"
        assert scratch["sizeLimit"].endswith("Gi")
        assert "pvcMount" not in step


def test_steps_get_the_settings_they_read_and_only_one_the_databases_address(plain: Any) -> None:
    _, steps = plain
    config = yaml.safe_load((ROOT / "knative/config.yaml").read_text())
    for name, step in steps.items():
        (settings,) = step["configMapAsEnv"]
        keys = [item["configMapKey"] for item in settings["keyToEnv"]]
        assert (settings["configMapName"], config["metadata"]["name"]) == ("loop", "loop")
        assert set(keys) <= config["data"].keys()
        assert "MLFLOW_TRACKING_URI" in keys
        secrets = {secret["secretName"]: secret for secret in step["secretAsEnv"]}
        assert secrets.keys() == ({"loop", "registry"} if name == "collect-data" else {"registry"})
        assert secrets["registry"]["optional"]
        assert [item["envVar"] for item in secrets["registry"]["keyToEnv"]] == list(REGISTRY_KEYS)
    loop = next(secret for secret in steps["collect-data"]["secretAsEnv"] if secret["secretName"] == "loop")
    assert [item["envVar"] for item in loop["keyToEnv"]] == ["MCQA_DATABASE_URL"]


def test_a_run_needs_no_parameter_and_chooses_where_it_is_trained(plain: Any) -> None:
    ir, steps = plain
    values = defaults(ir)
    assert None not in values.values()
    assert {name: values[name] for name in ("run_key", "champion", "since", "until")} == {
        "run_key": "", "champion": "", "since": 0.0, "until": 0.0,
    }  # fmt: skip
    place = ("accelerator", "accelerators", "node_selector", "tolerations")
    assert [values[name] for name in place] == ["", "1", {}, []]
    trained = steps["fine-tune"]
    assert trained["nodeSelector"] == {
        "nodeSelectorJson": {"componentInputParameter": "pipelinechannel--node_selector"}
    }
    assert trained["tolerations"][0]["tolerationJson"]["componentInputParameter"] == "pipelinechannel--tolerations"
    accelerator = containers(ir)["fine-tune"]["resources"]["accelerator"]
    assert accelerator == {
        "resourceType": "{{$.inputs.parameters['pipelinechannel--accelerator']}}",
        "resourceCount": "{{$.inputs.parameters['pipelinechannel--accelerators']}}",
    }
    passed_on = ir["root"]["dag"]["tasks"]["exit-handler-1"]["inputs"]["parameters"]
    assert {f"pipelinechannel--{name}" for name in place} <= passed_on.keys()
    assert all("nodeSelector" not in step for name, step in steps.items() if name != "fine-tune")


def test_options(tmp_path: Path) -> None:
    options = (
        "--image registry.example.org/p:1.2 --config-map c --secret s --cache-claim models --pull-policy Always "
        "--pull-secret puller --accelerator nvidia.com/gpu --accelerators 2 --node-selector gpu=h100 "
        "--toleration nvidia.com/gpu:NoSchedule --toleration team=ml --placed fine-tune --placed evaluate "
        "--fine-tune-memory 40Gi --fine-tune-seconds 600"
    )
    ir, steps = compiled(tmp_path, *options.split())
    assert {c["image"] for c in containers(ir).values()} == {"registry.example.org/p:1.2"}
    assert containers(ir)["fine-tune"]["resources"]["resourceMemoryRequest"] == "40Gi"
    assert steps["fine-tune"]["activeDeadlineSeconds"] == "600"
    values = defaults(ir)
    assert (values["accelerator"], values["accelerators"], values["node_selector"]) == (
        "nvidia.com/gpu",
        "2",
        {"gpu": "h100"},
    )
    assert values["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "operator": "Equal", "value": "ml"},
    ]
    assert {name for name, step in steps.items() if "nodeSelector" in step} == {"fine-tune", "evaluate"}
    for name, step in steps.items():
        assert step["imagePullPolicy"] == "Always"
        assert step["imagePullSecret"][0]["secretName"] == "puller"
        assert step["configMapAsEnv"][0]["configMapName"] == "c"
        mounts = [(mount["constant"], mount["mountPath"]) for mount in step.get("pvcMount", [])]
        assert mounts == ([("models", CACHE)] if name in MODEL else [])
    assert steps["collect-data"]["secretAsEnv"][0]["secretName"] == "s"


def test_the_shipped_model_fits_a_small_node(tmp_path: Path) -> None:
    ir, _ = compiled(tmp_path, "--size", "tiny")
    asked = [float(c["resources"]["cpuRequest"]) for c in containers(ir).values()]
    assert max(asked) <= 0.5
    assert max(float(c["resources"]["memoryRequest"]) for c in containers(ir).values()) < 1.1


def test_one_machine_takes_what_a_cluster_takes(tmp_path: Path) -> None:
    ir, _ = compiled(tmp_path, "--accelerator", "nvidia.com/gpu", "--cache-claim", "models")
    spec = parse_yaml((tmp_path / "pipeline.yaml").read_bytes())
    assert spec["pipelineInfo"] == ir["pipelineInfo"]


@pytest.mark.parametrize(
    "option",
    [("--node-selector", "gpu"), ("--toleration", "a:Never"), ("--size", "7b"), ("--fine-tune-memory", "lots")],
)
def test_invalid_options(tmp_path: Path, option: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["compile", str(tmp_path / "p.yaml"), *option])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.strip()
