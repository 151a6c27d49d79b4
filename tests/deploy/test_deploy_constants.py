"""Environment variables and event types, manifests against code, in both directions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import mlflow.environment_variables
import pytest

from common import event_types
from pipelines.retraining import pod_spec
from predictor.serving.settings import ENV_PREFIX
from predictor.serving.settings import Settings as Predictor
from tools.cluster import secrets
from tools.manifests.render import Target, render
from tools.project import DEPLOY

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = re.compile(r"(MCQA|MLFLOW|KFP|K|OTEL)_[A-Z0-9_]*[A-Z0-9]")
IMAGES = {
    "functions": ("functions", "common"),
    "predictor": ("predictor", "common"),
    "pipelines": ("pipelines", "functions", "predictor", "common"),
}

OPTIONAL = {
    "MCQA_CACHE": "where downloaded versions are kept; on a cluster each pod has its own volume",
    "MCQA_COMMIT": "the commit that a version was trained from, where CI tells it",
    "MCQA_WEBHOOK_SECRET_PREVIOUS": "the secret before the last change, while it is rotated",
    "MCQA_KFP_NAMESPACE": "the profile of a Kubeflow of many users; empty: a Kubeflow Pipelines of one user",
    "MCQA_KFP_EXPERIMENT": "the runs' experiment; empty: the server's default",
    "MCQA_KFP_SERVICE_ACCOUNT": "what the steps run as; empty: the server's default",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "MLflow's own, with our defaults",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "MLflow's own, with our defaults",
    "MLFLOW_TRACKING_INSECURE_TLS": "for an MLflow behind TLS of its own",
    "MLFLOW_TRACKING_SERVER_CERT_PATH": "for an MLflow behind TLS of its own",
    "K_REVISION": "Knative sets it",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "traces, where there is a collector",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "traces, where there is a collector",
    "OTEL_SDK_DISABLED": "OpenTelemetry's own",
    "OTEL_SERVICE_NAME": "OpenTelemetry's own",
    "OTEL_TRACES_EXPORTER": "OpenTelemetry's own",
}
UNHEARD = {"DRIFT_CHECKED": "for whoever watches; nothing in the loop waits for it"}


def reads(image: str) -> set[str]:
    """The variables that the code of an image names."""
    return set().union(*(read_in(folder) for folder in IMAGES[image]))


@lru_cache
def read_in(folder: str) -> set[str]:
    """The variables that a package's code names."""
    result = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and VARIABLE.fullmatch(node.value):
                result.add(node.value)
    return result


SECRETS = tuple(secrets.KEYS)
FLAGS = {f"{ENV_PREFIX}{name.upper()}" for name in Predictor.__dataclass_fields__}


def secret_keys() -> dict[str, set[str]]:
    """The keys of each Secret that `make secrets` makes: no other is written."""
    return {name: set(keys) for name, keys in secrets.KEYS.items()}


def containers(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    def walk(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            if "image" in value:
                yield value
            for inner in value.values():
                yield from walk(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner)

    for document in documents:
        for container in walk(document):
            yield container["image"].rpartition("/")[2].partition(":")[0], container


def given(documents: list[dict[str, Any]], container: dict[str, Any]) -> set[str]:
    """The names of the variables that a container is told."""
    configs = {d["metadata"]["name"]: set(d["data"]) for d in documents if d["kind"] == "ConfigMap"}
    names = {variable["name"] for variable in container.get("env") or ()}
    for source in container.get("envFrom") or ():
        if "configMapRef" in source:
            names |= configs[source["configMapRef"]["name"]]
        else:
            names |= secret_keys()[source["secretRef"]["name"]]
    return names


def test_secrets_have_the_keys_that_the_manifests_speak_of() -> None:
    assert secret_keys()["loop"] == {"MCQA_DATABASE_URL"}
    assert secret_keys()["webhook"] == {"MCQA_WEBHOOK_SECRET"}
    assert secret_keys()["notify"] == {"MCQA_NOTIFY_URLS"}
    assert secret_keys()["registry"] == {
        "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
    }  # fmt: skip
    assert secret_keys()["postgres"] == {"POSTGRES_PASSWORD", "LOOP_PASSWORD", "MLFLOW_PASSWORD", "UI_PASSWORD"}
    assert secret_keys()["ui"] == {"MCQA_DATABASE_URL"}
    assert secret_keys()["mlflow-login"] == {
        "MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"
    }  # fmt: skip
    assert secret_keys()["mlflow"] >= {"MLFLOW_BACKEND_STORE_URI", "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("overlay", ["minikube", "production", "standard"])
def test_a_secret_goes_to_those_who_need_it(overlays, overlay) -> None:
    given_names: dict[str, set[str]] = {name: set() for name in SECRETS}
    for _, container in containers(overlays[overlay]):
        for source in container.get("envFrom") or ():
            if "secretRef" in source:
                given_names[source["secretRef"]["name"]].add(container["name"])
    functions = {"collect", "drift", "rollout", "retrain", "notify", "dead-letters"}
    if overlay == "standard":
        functions -= {"rollout"}
    assert given_names["loop"] == functions | {"migrate"}
    assert given_names["webhook"] == {"rollout", "bootstrap"} & (functions | {"bootstrap"})
    assert given_names["notify"] == {"notify"}
    others = {"bootstrap", "storage-initializer", "ui"}
    assert given_names["registry"] == functions & {"drift", "rollout", "retrain"} | others
    assert given_names["ui"] == {"ui"}


@pytest.mark.usefixtures("processes")
def test_every_secret_can_come_from_a_vault() -> None:
    documents = render(Target("x", DEPLOY / "production", DEPLOY / "components/external-secrets"))
    names = {
        source["secretRef"]["name"]
        for _, container in containers(documents)
        for source in container.get("envFrom") or ()
        if "secretRef" in source
    }
    login = (DEPLOY / "components/mlflow-login/kustomization.yaml").read_text()
    names |= set(re.findall(r"secretRef: \{name: ([a-z-]+)\}", login))
    names |= set(re.findall(r"'secretName': '([a-z-]+)'", str([d for d in documents if d["kind"] == "Deployment"])))
    external = [d for d in documents if d["kind"] == "ExternalSecret"]
    assert {d["spec"]["target"]["name"] for d in external} == names
    assert all(d["spec"]["dataFrom"][0]["extract"]["key"] == f"coding-mcqa/{d['metadata']['name']}" for d in external)
    # Those of the pipeline's steps can be put into another namespace: nothing ties them to this one.
    steps = render(Target("x", DEPLOY / "components/external-secrets/steps"))
    assert {d["metadata"]["name"] for d in steps} == {pod_spec.ClusterOptions().secret, pod_spec.REGISTRY_SECRET}
    assert not [d for d in steps if "namespace" in d["metadata"]]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("overlay", ["minikube", "production", "standard"])
def test_nothing_is_set_that_nothing_reads(overlays, overlay) -> None:
    documents = overlays[overlay]
    loop = next(set(d["data"]) for d in documents if d["kind"] == "ConfigMap" and d["metadata"]["name"] == "loop")
    everything = reads("pipelines")
    assert loop.union(*(secret_keys()[name] for name in ("loop", "webhook", "notify", "registry"))) <= everything
    for image, container in containers(documents):
        own = {variable["name"] for variable in container.get("env") or ()}
        if image in IMAGES:
            assert own <= FLAGS | reads(image), container["name"]


def test_nothing_is_read_that_nothing_sets(minikube) -> None:
    given_names = set().union(*(given(minikube, container) for _, container in containers(minikube)))
    read = reads("pipelines")
    assert read - given_names - FLAGS == OPTIONAL.keys() - given_names - FLAGS
    assert OPTIONAL.keys() <= read


@pytest.mark.usefixtures("processes")
def test_what_mlflow_is_told_it_reads(overlays) -> None:
    outside = render(Target("x", DEPLOY / "minikube", DEPLOY / "components/mlflow-ingress"))
    source = Path(mlflow.environment_variables.__file__).parent
    command_line = (source / "cli" / "__init__.py").read_text()
    variables = (source / "environment_variables.py").read_text()
    others = {"HOME", "DO_NOT_TRACK", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    for documents in (*overlays.values(), outside):
        for image, container in containers(documents):
            if image == "mlflow":
                names = given(documents, container)
                assert "MLFLOW_BACKEND_STORE_URI" in names
                for name in names - others:
                    assert f'"{name}"' in command_line or f'"{name}"' in variables, name


def filters(trigger: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(dialect, event type) of each filter on the type."""
    for entry in trigger["spec"]["filters"]:
        for item in entry.get("any", [entry]):
            for dialect, attributes in item.items():
                if "type" in attributes:
                    yield dialect, attributes["type"]


def test_event_types_are_the_codes(minikube) -> None:
    types = {
        name: value
        for name, value in vars(event_types).items()
        if name.isupper() and str(value).startswith(("dev.", "org."))
    }
    assert len(types) >= 16
    wanted = [item for d in minikube if d["kind"] == "Trigger" for item in filters(d)]
    heard = set()
    for dialect, wish in wanted:
        matching = {
            name for name, value in types.items() if (value == wish if dialect == "exact" else value.startswith(wish))
        }
        assert matching, f"no event of the code has the type {wish}"
        heard |= matching
    assert types.keys() - heard == UNHEARD.keys()
