"""The manifests against the clusters' own schemas, the code that they start, and the embedded platform."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.annotations import MODEL_VERSION_ANNOTATION
from common.names import INFERENCE_SERVICE, MODEL, NAMESPACE
from local.kube.store import ResourceStore, StatusError
from predictor import __version__
from predictor.serving.settings import ENV_PREFIX, Settings, read_settings
from predictor.storage.uri import MlflowVersion, parse

ROOT = Path(__file__).resolve().parents[2]
BROKER_URL = "http://broker-ingress.knative-eventing.svc.cluster.local/coding-mcqa/default"
FILES = sorted(path for folder in ("kserve", "knative") for path in (ROOT / folder).iterdir())


def of(documents: list[dict[str, Any]], kind: str, name: str = "") -> list[dict[str, Any]]:
    """Documents of a kind, Knative's Services where core has the name too."""
    return [d for d in documents if d["kind"] == kind and name in ("", d["metadata"]["name"])]


def walk(value: Any, path: tuple[Any, ...] = ()) -> Any:
    """Each object inside a document, with its path."""
    if isinstance(value, dict):
        yield path, value
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from walk(inner, (*path, key))


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for path, node in walk(document) if "image" in node]


def test_names_are_those_of_the_code(manifests: list[dict[str, Any]]) -> None:
    (service,) = of(manifests, "InferenceService")
    predictor = service["spec"]["predictor"]
    assert service["metadata"]["name"] == INFERENCE_SERVICE
    assert parse(predictor["model"]["storageUri"]) == MlflowVersion(MODEL, "1")
    assert predictor["annotations"] == {MODEL_VERSION_ANNOTATION: "1"}
    assert predictor["logger"]["metadataAnnotations"] == [MODEL_VERSION_ANNOTATION]
    assert [d["metadata"]["name"] for d in of(manifests, "Namespace")] == [NAMESPACE]


def test_what_is_written_is_valid(manifests, problems) -> None:
    assert len(manifests) == 22
    for document in manifests:
        assert problems(document) == [], document["metadata"]["name"]


@pytest.mark.usefixtures("processes")
def test_what_is_rendered_is_valid(manifests, rendered, problems) -> None:
    assert len(rendered) == len(manifests)
    for document in rendered:
        assert problems(document) == [], document["metadata"]["name"]
        # kustomize cannot know that two kinds have no namespace; API servers drop what it writes there.
        assert document["metadata"].get("namespace") in ("coding-mcqa", None)


def test_any_misspelt_field_is_found(manifests, problems) -> None:
    """Every object of every document, with one field more: only free-form ones may let it pass."""
    free = {"labels", "annotations", "data", "limits", "requests", "exact", "prefix", "suffix", "emptyDir"}
    tried = 0
    for document in manifests:
        for path, _ in walk(document):
            if free & {part for part in path if isinstance(part, str)} or {"any", "all", "not"} & set(path):
                continue
            broken = copy.deepcopy(document)
            node: Any = broken
            for key in path:
                node = node[key]
            node["mispelt"] = "x"
            result = problems(broken)
            assert any("mispelt" in problem for problem in result), (document["metadata"]["name"], path)
            tried += 1
    assert tried > 150


def test_a_wrong_type_is_found(manifests, problems) -> None:
    broken = copy.deepcopy(of(manifests, "InferenceService")[0])
    broken["spec"]["predictor"]["minReplicas"] = "none"
    assert problems(broken) == ["$.spec.predictor.minReplicas: 'none' is not of type 'integer'"]


def test_the_embedded_platform_takes_them_all(manifests, tmp_path) -> None:
    store = ResourceStore(tmp_path / "kube.sqlite")
    for document in sorted(manifests, key=lambda d: d["kind"] != "Namespace"):
        made = store.create(document, "coding-mcqa")
        assert made["spec" if "spec" in document else "metadata"]
    assert len(store.list("Trigger").items) == 5
    broken = copy.deepcopy(of(manifests, "Trigger")[0])
    broken["spec"]["fliters"] = []
    with pytest.raises(StatusError, match=r'unknown field "spec\.fliters"'):
        store.create(broken, "coding-mcqa")
    store.close()


def test_files_are_small_and_named_once(manifests) -> None:
    for path in FILES:
        assert path.suffix == ".yaml", f"{path}: Python under kserve/ would shadow the SDK"
        assert len(path.read_text().splitlines()) < 60, path
    names = [(d["apiVersion"], d["kind"], d["metadata"]["name"]) for d in manifests]
    assert len(set(names)) == len(names)
    for folder in ("kserve", "knative"):
        config = yaml.safe_load((ROOT / folder / "kustomization.yaml").read_text())
        used = {*config["resources"], *(patch["path"] for patch in config.get("patches", []))}
        assert used == {p.name for p in (ROOT / folder).glob("*.yaml")} - {"kustomization.yaml"}


@pytest.mark.usefixtures("processes")
def test_images_carry_this_version(rendered) -> None:
    images = {container["image"] for document in rendered for container in containers(document)}
    assert images == {f"dev.local/coding-mcqa/{name}:{__version__}" for name in ("predictor", "functions")}


def test_every_container_is_bounded_and_without_privilege(bounded) -> None:
    checked = 0
    for document in bounded:
        for container in containers(document):
            resources = container["resources"]
            assert set(resources) == {"requests", "limits"}, document["metadata"]["name"]
            checked += 1
            security = container["securityContext"]
            assert security["runAsNonRoot"] is True
            assert security["runAsUser"] > 0
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
    assert checked >= 8


def runtime_container(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return of(documents, "ServingRuntime")[0]["spec"]["containers"][0]


@pytest.fixture
def bounded(rendered) -> list[dict[str, Any]]:
    """With the runtime's container bounded as KServe bounds it: by the InferenceService's resources."""
    merged = copy.deepcopy(rendered)
    model = of(merged, "InferenceService")[0]["spec"]["predictor"]["model"]
    runtime_container(merged)["resources"] = model["resources"]
    return merged


def test_the_predictor_reads_what_it_is_told(manifests) -> None:
    container = runtime_container(manifests)
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.__dataclass_fields__}
    assert environment.keys() <= known
    assert container["command"] == ["python", "-m", "predictor"]
    name = of(manifests, "InferenceService")[0]["metadata"]["name"]
    arguments = [argument.replace("{{.Name}}", name) for argument in container["args"]]
    settings = read_settings(arguments, {**environment, "PORT": "8080", "K_REVISION": "coding-mcqa-predictor-00001"})
    assert (settings.model_name, settings.source) == ("coding-mcqa", "/mnt/models")
    assert (settings.host, settings.grpc_port, settings.revision) == ("0.0.0.0", 0, "coding-mcqa-predictor-00001")
    probe = container["readinessProbe"]["httpGet"]
    assert settings.http_port == container["ports"][0]["containerPort"] == probe["port"]
    assert probe["path"].replace("{{.Name}}", name) == "/v2/models/coding-mcqa/ready"


def test_the_inference_service_pins_one_version_and_tells_it(manifests) -> None:
    service = of(manifests, "InferenceService")[0]
    predictor = service["spec"]["predictor"]
    registered = parse(predictor["model"]["storageUri"])
    assert isinstance(registered, MlflowVersion)
    (annotation,) = predictor["logger"]["metadataAnnotations"]
    assert predictor["annotations"] == {annotation: registered.version}
    assert predictor["logger"] == {"mode": "all", "url": BROKER_URL, "metadataAnnotations": [annotation]}
    assert service["metadata"]["annotations"] == {
        "serving.kserve.io/deploymentMode": "Knative",
        "serving.kserve.io/enable-tag-routing": "true",
        "serving.kserve.io/disable-localmodel": "true",
    }
    assert (predictor["minReplicas"], predictor["maxReplicas"], predictor["scaleMetric"]) == (0, 3, "concurrency")
    runtime = of(manifests, "ServingRuntime", predictor["model"]["runtime"])[0]
    assert predictor["model"]["modelFormat"]["name"] in {f["name"] for f in runtime["spec"]["supportedModelFormats"]}
    assert predictor["model"]["protocolVersion"] in runtime["spec"]["protocolVersions"]


@pytest.mark.usefixtures("processes")
def test_the_storage_container_fetches_versions(manifests) -> None:
    spec = of(manifests, "ClusterStorageContainer")[0]["spec"]
    uri = of(manifests, "InferenceService")[0]["spec"]["predictor"]["model"]["storageUri"]
    assert any(uri.startswith(form["prefix"]) for form in spec["supportedUriFormats"])
    command = [".venv/bin/python" if part == "python" else part for part in spec["container"]["command"]]
    done = subprocess.run([*command, uri, "/nowhere"], cwd=ROOT, env={}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "MLFLOW_TRACKING_URI is not set" in done.stderr) == (1, True), done.stderr


def test_the_loop_hangs_together(manifests) -> None:
    config = of(manifests, "ConfigMap", "loop")[0]
    assert config["data"]["K_SINK"] == BROKER_URL
    services = {service["metadata"]["name"]: service for service in of(manifests, "Service")}
    assert services.keys() == {"collect", "drift", "rollout", "retrain", "notify", "dead-letters"}
    broker = of(manifests, "Broker")[0]
    assert broker["spec"]["delivery"]["deadLetterSink"]["ref"]["name"] in services
    for service in services.values():
        annotations = service["spec"]["template"]["metadata"]["annotations"]
        assert annotations["autoscaling.knative.dev/min-scale"] == "0"
        (container,) = service["spec"]["template"]["spec"]["containers"]
        assert {"configMapRef": {"name": "loop"}} in container["envFrom"]
        assert {"secretRef": {"name": "loop", "optional": True}} in container["envFrom"]
    triggers = of(manifests, "Trigger")
    assert {t["spec"]["subscriber"]["ref"]["name"] for t in triggers} == services.keys() - {"dead-letters"}
    for trigger in triggers:
        assert trigger["spec"]["broker"] == broker["metadata"]["name"]
        assert "delivery" not in trigger["spec"], "it would lose the Broker's retries"
    for ping in of(manifests, "PingSource"):
        name = ping["metadata"]["name"]
        filters = [item for trigger in triggers for item in trigger["spec"]["filters"]]
        either = [entry for item in filters for entry in item.get("any", [item])]
        assert either.count({"suffix": {"source": f"/pingsources/{name}"}}) == 1
        assert ping["spec"]["sink"]["ref"] == {
            "apiVersion": broker["apiVersion"],
            "kind": "Broker",
            "name": broker["metadata"]["name"],
        }


def test_no_secret_is_written(manifests) -> None:
    assert not of(manifests, "Secret")
    for path in FILES:
        assert "password:" not in path.read_text().lower()
