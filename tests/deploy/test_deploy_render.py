"""Every kustomization renders, and every document of it is valid; a misspelt field is not."""

from __future__ import annotations

import copy
import itertools
import subprocess
from typing import Any

import pytest
import yaml
from tool import ROOT, TOOL

from tools.cluster.leftovers import leftovers
from tools.manifests.render import Target, render, targets
from tools.manifests.schemas import KUBERNETES, SCHEMAS, closed
from tools.manifests.validate import check, problems
from tools.project import DEPLOY

FREE = {"labels", "annotations", "data", "limits", "requests", "exact", "prefix", "suffix", "emptyDir", "matchLabels"}
FREE_PATHS = {("Service", ("spec", "selector"))}  # a map of labels
NESTED = {"any", "all", "not", "metadataAnnotations", "capacity"}


def objects(value: Any, path: tuple[Any, ...] = ()) -> Any:
    if isinstance(value, dict):
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from objects(inner, (*path, key))


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("target", targets(), ids=lambda target: target.name)
def test_renders_and_is_valid(target: Target) -> None:
    count, result = check(target)
    assert count >= 3
    assert result == []


def test_a_misspelt_field_is_found_wherever_it_is(overlays) -> None:
    """Every object of every document, with one field more."""
    tried = set()
    for document in [document for documents in overlays.values() for document in documents]:
        for path in objects(document):
            if (FREE | NESTED) & {part for part in path if isinstance(part, str)}:
                continue
            kind = (document["apiVersion"], document["kind"], tuple(part for part in path if isinstance(part, str)))
            if kind in tried or kind[1:] in FREE_PATHS:
                continue
            tried.add(kind)
            broken = copy.deepcopy(document)
            node: Any = broken
            for key in path:
                node = node[key]
            node["mispelt"] = "x"
            assert any("mispelt" in problem for problem in problems(broken)), kind
    assert len(tried) > 200


def test_wrong_types_and_kinds_are_found(minikube) -> None:
    (service,) = (item for item in minikube if item["kind"] == "InferenceService")
    broken = copy.deepcopy(service)
    broken["spec"]["predictor"]["minReplicas"] = "none"
    assert problems(broken) == ["$.spec.predictor.minReplicas: 'none' is not of type 'integer'"]
    assert problems({**service, "kind": "InferenceSrevice"})[0].startswith("no schema of serving.kserve.io/v1beta1/")


@pytest.mark.usefixtures("processes")
def test_the_tool_fails_on_a_misspelt_field(tmp_path) -> None:
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "dta": {"a": "b"}}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "kustomization.yaml").write_text("resources: [x.yaml]\n")
    command = [*TOOL, "manifests", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "ConfigMap x: $: Additional properties are not allowed ('dta' was unexpected)" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 documents of 1 kustomizations: 1 mistakes"
    (tmp_path / "kustomization.yaml").write_text("resources: [y.yaml]\n")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "y.yaml" in done.stdout) == (1, True)


def test_schemas_are_closed_and_small() -> None:
    assert {path.name for path in SCHEMAS.iterdir()} == {"custom.json", "kubernetes.json"}
    assert sum(path.stat().st_size for path in SCHEMAS.iterdir()) < 200_000
    assert len(KUBERNETES) >= 15
    schema = {"type": "object", "properties": {"properties": {"type": "object", "properties": {"a": {}}}}}
    assert closed(schema)["properties"]["properties"]["additionalProperties"] is False
    assert "additionalProperties" not in closed({"type": "object", "x-kubernetes-preserve-unknown-fields": True})


def test_overlays_hold_differences_only() -> None:
    """Every file fits a screen or so; nothing but the schemas is long."""
    for path in (ROOT / "deploy").rglob("*.yaml"):
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts) and "compose" not in path.parts:
            assert len(path.read_text().splitlines()) <= 100, path


def test_standard_mode_serves_grpc_beside_rest(overlays) -> None:
    for name, port in (("minikube", "0"), ("production", "0"), ("standard", "8081")):
        (runtime,) = (d for d in overlays[name] if d["kind"] == "ServingRuntime")
        (container,) = runtime["spec"]["containers"]
        (value,) = (item["value"] for item in container["env"] if item["name"] == "MCQA_GRPC_PORT")
        ports = {item.get("name"): item["containerPort"] for item in container["ports"]}
        assert value == port
        assert ports == ({"http": 8080, "grpc": 8081} if port == "8081" else {None: 8080})


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("overlay", ["minikube", "production", "standard"])
def test_a_modelcar_is_one_version_that_stays(overlay) -> None:
    """A volume, so that "restricted" pod security admits the pod, and nothing that deploys another version."""
    documents = render(Target("x", DEPLOY / overlay, DEPLOY / "components/modelcar"))
    (service,) = (d for d in documents if d["kind"] == "InferenceService")
    predictor = service["spec"]["predictor"]
    # KServe 0.20 takes the mode from the URI; plain oci:// adds containers that set no security context.
    scheme, _, image = predictor["model"]["storageUri"].partition("://")
    assert scheme == "oci+native"
    assert image.rpartition(":")[2] == predictor["annotations"]["coding-mcqa/model-version"]
    (namespace,) = (d for d in documents if d["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    triggers = {d["metadata"]["name"] for d in documents if d["kind"] == "Trigger"}
    assert "drift" in triggers
    assert "rollout" not in triggers


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("overlay", ["minikube", "production", "standard"])
def test_a_cached_version_has_a_claim_where_it_serves(overlays, overlay) -> None:
    """KServe mounts the claim of this name, and finds a cache where nothing turns it off, as everything else does."""
    turned_off = "serving.kserve.io/disable-localmodel"
    (plain,) = (d for d in overlays[overlay] if d["kind"] == "InferenceService")
    assert plain["metadata"]["annotations"][turned_off] == "true"
    documents = render(Target("x", DEPLOY / overlay, DEPLOY / "components/local-model-cache"))
    of = {d["kind"]: d for d in documents if d["kind"] not in ("PersistentVolumeClaim", "Service")}
    cache, group, volume = of["LocalModelCache"], of["LocalModelNodeGroup"], of["PersistentVolume"]
    service = of["InferenceService"]
    assert turned_off not in service["metadata"]["annotations"]
    assert cache["spec"]["sourceModelUri"] == "mlflow://coding-mcqa/1"
    assert cache["spec"]["nodeGroups"] == [group["metadata"]["name"]]
    name = f"{cache['metadata']['name']}-{group['metadata']['name']}"
    claims = {d["metadata"]["name"]: d for d in documents if d["kind"] == "PersistentVolumeClaim"}
    assert claims[name]["metadata"]["namespace"] == service["metadata"]["namespace"]
    assert claims[name]["spec"]["volumeName"] == volume["metadata"]["name"]
    assert volume["spec"].pop("claimRef") == {"name": name, "namespace": "coding-mcqa"}
    assert volume["spec"].pop("persistentVolumeReclaimPolicy") == "Retain"
    assert volume["spec"] == group["spec"]["persistentVolumeSpec"]
    wanted = {key: value for key, value in claims[name]["spec"].items() if key != "volumeName"}
    assert wanted == group["spec"]["persistentVolumeClaimSpec"]


def test_a_cache_goes_before_what_its_end_needs() -> None:
    """KServe's finalizer reads the node group, and a volume waits for its claim."""
    kinds = [kind.kind for kind, _ in leftovers(["local-model-cache"], [])]
    for first, then in itertools.pairwise(
        ["LocalModelCache", "LocalModelNodeGroup", "PersistentVolumeClaim", "PersistentVolume"]
    ):
        assert kinds.index(first) < kinds.index(then)
