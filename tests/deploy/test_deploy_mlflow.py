"""MLflow as the manifests start it: its tables, and with the components mlflow-login and mlflow-ingress its login.

The server is a real one, on a PostgreSQL, with the Deployment's arguments, ConfigMap and probes, and the Secrets of
`make secrets`; its clients are the loop's own.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from function_server import free_port, postgresql
from mlflow_server import serving
from tool import TOOL, invoke

from common.errors import UnavailableError
from common.mlflow.registry import ModelRegistry
from tools.manifests.render import Target, render
from tools.manifests.validate import problems
from tools.project import DEPLOY

pytestmark = pytest.mark.usefixtures("processes")

ROOT = Path(__file__).resolve().parents[2]
PREPARE = ROOT / "deploy/mlflow/prepare.py"
Document = dict[str, Any]


def deployment(documents: list[Document]) -> Document:
    (result,) = (item for item in documents if (item["kind"], item["metadata"]["name"]) == ("Deployment", "mlflow"))
    return result["spec"]["template"]["spec"]


def config(documents: list[Document]) -> dict[str, str]:
    (result,) = (item for item in documents if (item["kind"], item["metadata"]["name"]) == ("ConfigMap", "mlflow"))
    return result["data"]


def with_component(name: str, overlay: str = "minikube") -> list[Document]:
    return render(Target(name, DEPLOY / overlay, DEPLOY / "components" / name))


@pytest.fixture(scope="module")
def outside(processes: None) -> list[Document]:
    """minikube with the component mlflow-ingress."""
    return with_component("mlflow-ingress")


@pytest.mark.parametrize("overlay", ["minikube", "production", "standard"])
@pytest.mark.parametrize("component", ["mlflow-login", "mlflow-ingress"])
def test_nobody_has_the_ingress_without_the_login(overlays, component, overlay) -> None:
    documents = with_component(component, overlay)
    pod = deployment(documents)
    for container in (pod["initContainers"][0], pod["containers"][0]):
        assert {"secretRef": {"name": "mlflow-login"}} in container["envFrom"]
    assert "--app-name=basic-auth" in pod["containers"][0]["args"]
    assert config(documents)["MLFLOW_BASIC_AUTH_FAIL_CLOSED"] == "true"
    assert [item for item in documents if item["kind"] == "Ingress"] == [
        item for item in documents if item["kind"] == "Ingress" and component == "mlflow-ingress"
    ]
    assert not [item for item in overlays[overlay] if item["kind"] == "Ingress"]


def test_the_login_may_be_named_beside_the_ingress() -> None:
    """As COMPONENTS="mlflow-login mlflow-ingress" has it: named twice, and still one valid whole."""
    with_both = DEPLOY / f".render-both-{os.getpid()}"
    with_both.mkdir()
    try:
        layers = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": ["../minikube"],
            "components": ["../components/mlflow-login", "../components/mlflow-ingress"],
        }
        (with_both / "kustomization.yaml").write_text(yaml.safe_dump(layers))
        documents = render(Target("both", with_both))
    finally:
        (with_both / "kustomization.yaml").unlink(missing_ok=True)
        with_both.rmdir()
    assert [problem for document in documents for problem in problems(document)] == []
    assert config(documents) == config(with_component("mlflow-ingress"))


def test_the_host_is_written_once(outside, minikube) -> None:
    (ingress,) = (item["spec"] for item in outside if item["kind"] == "Ingress")
    (rule,) = ingress["rules"]
    assert ingress["tls"] == [{"secretName": "mlflow-tls", "hosts": [rule["host"]]}]
    allowed = config(minikube)["MLFLOW_SERVER_ALLOWED_HOSTS"]
    assert config(outside)["MLFLOW_SERVER_ALLOWED_HOSTS"] == f"{rule['host']},{allowed}"
    assert config(outside)["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == f"https://{rule['host']}"
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": "mlflow", "port": {"name": "http"}}


def program() -> Any:
    spec = importlib.util.spec_from_file_location("mlflow_prepare", PREPARE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # of mlflow's own migrations
def test_a_database_of_an_older_mlflow_is_upgraded(tmp_path) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils
    from mlflow.store.tracking.dbmodels.initial_models import Base as First

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    engine = utils.create_sqlalchemy_engine_with_retry(uri)
    First.metadata.create_all(engine)
    settings = utils._get_alembic_config(uri)
    head = ScriptDirectory.from_config(settings).get_current_head()
    assert head
    before = ScriptDirectory.from_config(settings).get_revision(head).down_revision
    assert isinstance(before, str)
    with engine.begin() as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, before)
    assert utils._get_schema_version(engine) == before
    for _ in range(2):
        program().prepare({"MLFLOW_BACKEND_STORE_URI": uri})
        assert utils._get_schema_version(engine) == head


def test_prepare_knows_what_is_not_set() -> None:
    missing = program().missing
    assert missing({}) == ["MLFLOW_BACKEND_STORE_URI"]
    assert missing({"MLFLOW_BACKEND_STORE_URI": "sqlite://"}) == []
    login = {"MLFLOW_BACKEND_STORE_URI": "sqlite://", "MLFLOW_AUTH_CONFIG_PATH": "/x", "MLFLOW_AUTH_ADMIN_PASSWORD": ""}
    assert missing(login) == ["MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD"]


@dataclass(frozen=True)
class Server:
    """An MLflow with its login. `registry`: what the Secret of that name says. `told`: the container's environment."""

    url: str
    registry: dict[str, str]
    told: dict[str, str]

    @property
    def auth(self) -> tuple[str, str]:
        return self.registry["MLFLOW_TRACKING_USERNAME"], self.registry["MLFLOW_TRACKING_PASSWORD"]


def secret(cluster: dict[str, str], name: str) -> dict[str, str]:
    command = ("kubectl", "get", "secret", name, "--namespace", "coding-mcqa", "--output", "json")
    done = subprocess.run(command, env=cluster, capture_output=True, text=True, timeout=60, check=True)
    return {key: base64.b64decode(value).decode() for key, value in json.loads(done.stdout)["data"].items()}


def prepare(env: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, PREPARE], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]


@contextmanager
def running(pod: Document, env: dict[str, str], folder: Path) -> Iterator[str]:
    """The Deployment's container as a process; it is ready when its probe is."""
    port = free_port()
    own = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=5000": f"--port={port}"}
    (container,) = pod["containers"]
    command = [sys.executable, *container["command"][1:], *(own.get(item, item) for item in container["args"])]
    url = f"http://127.0.0.1:{port}"
    # As the kubelet asks: by the pod's address, which no list of hosts has.
    probe, headers = url + container["startupProbe"]["httpGet"]["path"], {"host": "10.0.0.7:5000"}
    with serving(command, env, folder, probe, headers):
        yield url


@pytest.fixture(scope="module")
def server(
    outside: list[Document], cluster: dict[str, str], tmp_path_factory: pytest.TempPathFactory, processes: None
) -> Iterator[Server]:
    if importlib.util.find_spec("flask_wtf") is None:
        pytest.skip("Flask-WTF is not installed, which MLflow's login needs: pip install 'flask-wtf<2'")
    folder = tmp_path_factory.mktemp("mlflow-login")
    for _ in range(2):
        done = subprocess.run(
            [*TOOL, "secrets"], cwd=ROOT, env={**cluster, "MLFLOW_LOGIN": "1"}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert {"mlflow-login is there and is kept", "registry is there and is kept"} <= {
        line.removeprefix("secrets: ") for line in done.stdout.splitlines()
    }
    try:
        database = postgresql()
        with database as address:
            kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
            environment = {
                **kept,
                **config(outside),
                **secret(cluster, "mlflow"),
                **secret(cluster, "mlflow-login"),
                "MLFLOW_BACKEND_STORE_URI": address.replace("postgresql://", "postgresql+psycopg://"),
                "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
                "MLFLOW_AUTH_CONFIG_PATH": str(folder / "basic_auth.ini"),
                "HOME": str(folder),
            }
            # Two replicas at once, on an empty database.
            with ThreadPoolExecutor() as pool:
                list(
                    pool.map(
                        prepare, [environment, environment | {"MLFLOW_AUTH_CONFIG_PATH": str(folder / "other.ini")}]
                    )
                )
            assert (folder / "basic_auth.ini").stat().st_mode & 0o777 == 0o600
            with running(deployment(outside), environment, folder) as url:
                yield Server(url, {"MLFLOW_TRACKING_URI": url, **secret(cluster, "registry")}, environment)
    except LookupError as missing:
        pytest.skip(str(missing))


PATHS = (
    "/",
    "/version",
    "/api/2.0/mlflow/experiments/search?max_results=1",
    "/ajax-api/2.0/mlflow/experiments/search?max_results=1",
    "/api/2.0/mlflow/registered-models/search",
    "/api/2.0/mlflow/webhooks",
    "/api/2.0/mlflow-artifacts/artifacts?path=x",
    "/api/2.0/mlflow/users/list",
)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_shown_without_the_password(server, path) -> None:
    assert httpx2.get(server.url + path, timeout=30).status_code == 401
    assert httpx2.get(server.url + path, auth=(server.auth[0], "wrong"), timeout=30).status_code == 401
    assert httpx2.get(server.url + path, auth=server.auth, timeout=30).status_code == 200


def test_nothing_is_changed_without_the_password(server) -> None:
    api = f"{server.url}/api/2.0/mlflow"
    for method, path in (
        ("POST", "registered-models/create"),
        ("POST", "registered-models/alias"),
        ("POST", "webhooks"),
        ("POST", "users/create"),
        ("PATCH", "users/update-password"),
        ("DELETE", "registered-models/delete"),
    ):
        assert httpx2.request(method, f"{api}/{path}", json={}, timeout=30).status_code == 401, path
    artifact = f"{server.url}/api/2.0/mlflow-artifacts/artifacts/x/y"
    assert httpx2.put(artifact, content=b"y", timeout=30).status_code == 401
    assert httpx2.put(artifact, content=b"y", auth=server.auth, timeout=30).status_code == 200


def test_only_its_own_hosts_are_answered(server, outside) -> None:
    (host,) = (item["spec"]["rules"][0]["host"] for item in outside if item["kind"] == "Ingress")
    for name, expected in ((host, 200), ("mlflow.coding-mcqa.svc.cluster.local:5000", 200), ("other.example.com", 403)):
        assert httpx2.get(server.url, headers={"host": name}, auth=server.auth, timeout=30).status_code == expected


def python(*module: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return subprocess.run(
        [sys.executable, "-m", *module], cwd=ROOT, env={**kept, **env}, capture_output=True, text=True, timeout=120
    )


def test_the_loop_goes_through_the_login(server, tmp_path) -> None:
    """Registration with its webhook, the storage initializer, the functions' registry."""
    hook = "--webhook-url=http://127.0.0.1:9/mlflow"
    bootstrap = ("pipelines.bootstrap", "--source=models/tiny", hook)
    known = {"MCQA_WEBHOOK_SECRET": "s" * 32, "MLFLOW_TRACKING_URI": server.url}
    refused = python(*bootstrap, **known)
    assert refused.returncode != 0
    assert "refuses access (401" in refused.stdout + refused.stderr
    done = python(*bootstrap, **{**known, **server.registry})
    assert done.returncode == 0, done.stderr[-3000:]
    assert "coding-mcqa version 1 is champion now" in done.stdout + done.stderr
    hooks = httpx2.get(f"{server.url}/api/2.0/mlflow/webhooks", auth=server.auth, timeout=30).json()["webhooks"]
    assert [item["url"] for item in hooks] == ["http://127.0.0.1:9/mlflow"]

    fetch = ("predictor.storage", "mlflow://coding-mcqa/1")
    refused = python(*fetch, str(tmp_path / "none"), MLFLOW_TRACKING_URI=server.url)
    assert refused.returncode != 0
    assert "refuses access (401" in refused.stderr
    done = python(*fetch, str(tmp_path / "model"), **server.registry)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "model" / "model.safetensors").is_file()

    with ModelRegistry(server.registry, "coding-mcqa") as registry:
        model = registry.model()
        assert model is not None
        assert model.aliases == {"champion": "1"}
        registry.set_tag("1", "seen", "yes")
    with (
        ModelRegistry({"MLFLOW_TRACKING_URI": server.url}, "coding-mcqa") as registry,
        pytest.raises(UnavailableError, match=r"refuses access \(401"),
    ):
        registry.model()


@pytest.fixture
def ci(server: Server, processes: None) -> dict[str, str]:
    """A user for CI, made by the two calls of docs/ci.md; the version 2 that it is to promote is there."""
    api = f"{server.url}/api/2.0/mlflow"
    with httpx2.Client(auth=server.auth, timeout=30) as client:
        if client.get(f"{api}/registered-models/get", params={"name": "ci-door"}).status_code == 404:
            client.post(f"{api}/registered-models/create", json={"name": "ci-door"}).raise_for_status()
            run = client.post(f"{api}/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]
            for _ in range(2):
                version = {"name": "ci-door", "source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
                client.post(f"{api}/model-versions/create", json=version).raise_for_status()
            client.post(f"{api}/users/create", json={"username": "ci", "password": "c" * 32}).raise_for_status()
    return {
        "MLFLOW_TRACKING_URI": server.url,
        "MLFLOW_TRACKING_USERNAME": "ci",
        "MLFLOW_TRACKING_PASSWORD": "c" * 32,
    }


def test_cis_user_may_change_the_model_and_not_the_loop(server, ci, monkeypatch) -> None:
    for name, value in ci.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN", raising=False)
    promote = ("promote", "2", "--model", "ci-door", "--minutes", "0")
    refused = invoke(*promote)
    assert refused.exit_code == 1
    (line,) = refused.stderr.splitlines()
    assert "refuses access (403 Permission denied)" in line
    assert "of a user who may change the model" in line

    grant = {"username": "ci", "resource_type": "registered_model", "resource_id": "ci-door", "permission": "EDIT"}
    granted = f"{server.url}/api/3.0/mlflow/users/permissions/grant"
    httpx2.post(granted, json=grant, auth=server.auth, timeout=30).raise_for_status()
    started = invoke(*promote)
    assert started.exit_code == 1  # under way after 0 minutes
    assert "version 2 is challenger now" in started.stdout
    assert "no verdict within 0 minutes" in started.stderr
    mine = ("ci", ci["MLFLOW_TRACKING_PASSWORD"])
    assert httpx2.get(f"{server.url}/api/2.0/mlflow/webhooks", auth=mine, timeout=30).status_code == 403
    gone = httpx2.request(
        "DELETE",
        f"{server.url}/api/2.0/mlflow/registered-models/delete",
        json={"name": "ci-door"},
        auth=mine,
        timeout=30,
    )
    assert gone.status_code == 403

    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    refused = invoke(*promote)
    assert refused.exit_code == 1
    (line,) = refused.stderr.splitlines()
    assert "refuses access (401" in line
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in line


def test_an_mlflow_that_is_not_reached_is_one_line(monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:secret@127.0.0.1:9")
    result = invoke("promote", "7")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "is http://127.0.0.1:9 what MLFLOW_TRACKING_URI should be, and reached from here?" in line


def test_the_secret_is_what_the_password_is(server) -> None:
    """Another password in the Secret, and a start: the old one's database goes on."""
    listing = f"{server.url}/api/2.0/mlflow/users/list"
    new = "n" * 48
    assert httpx2.get(listing, auth=("loop", new), timeout=30).status_code == 401
    prepare(server.told | {"MLFLOW_AUTH_ADMIN_PASSWORD": new})
    assert httpx2.get(listing, auth=("loop", new), timeout=30).status_code == 200
    update = listing.replace("list", "update-password")
    back = {"username": "loop", "password": server.auth[1], "current_password": new}
    assert httpx2.patch(update, json=back, auth=("loop", new), timeout=30).status_code == 200
