"""Every server of the embedded platform, as it runs in a loop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from access_servers import EVENT, NAMED, Served, process, until_it_listens
from kfp_server import TOKEN, kfp_server
from mlflow_server import mlflow_server

from local.ports import free_ports
from local.tokens import read_token


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[Served]:
    folder, (port,) = tmp_path_factory.mktemp("broker"), free_ports(1)
    log = folder / "log"
    with process(log, "local.broker", "--database", str(folder / "broker.db"), "--port", str(port)) as running:
        until_it_listens(port, running, log)
        token = read_token(folder / "token")
        json = [("Content-Type", "application/json")]
        apply = ("PUT", "/-/objects", json, b'{"kind": "Broker", "metadata": {"name": "default"}, "spec": {}}')
        served = Served("broker", f"http://127.0.0.1:{port}", token, "/-/events", apply, log=log)
        assert served.ask(*apply[:2], [("Host", served.host), *served.bearer, *json], apply[3]).status == 204
        yield served


@pytest.fixture(scope="session")
def events(broker: Served) -> Served:
    """The broker's door for events, which has no token; there is nothing to read."""
    return Served("events", broker.url, "", "/healthz", ("POST", "/default/default", EVENT, b""))


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[Served]:
    with kfp_server(tmp_path_factory.mktemp("kfp"), {"MCQA_ALLOWED_HOSTS": NAMED}) as server:
        write = ("POST", "/apis/v2beta1/experiments", [("Content-Type", "application/json")], b"{}")  # 400: no name
        yield Served("pipelines", server.url, TOKEN, "/apis/v2beta1/runs", write, log=server.log)


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[Served]:
    folder, (port,) = tmp_path_factory.mktemp("kube"), free_ports(1)
    log = folder / "log"
    with process(log, "local.kube", "--dir", str(folder), "--port", str(port)) as running:
        until_it_listens(port, running, log)
        write = ("POST", "/api/v1/namespaces", [("Content-Type", "application/json")], b"{}")  # 400: no name
        token = read_token(folder / "kube" / "token")
        yield Served("kube", f"https://127.0.0.1:{port}", token, "/api/v1/namespaces", write, tls=True, log=log)


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("mlflow")
    with mlflow_server(folder, [NAMED]) as url:
        search = "/api/2.0/mlflow/experiments/search?max_results=1"
        write = ("POST", "/api/2.0/mlflow/experiments/create", [("Content-Type", "application/json")], b"{}")  # 400
        yield Served("mlflow", url, "", search, write, log=folder / "mlflow.log")
