"""compose.yaml: the schema, what every service must have, names it shares with the code; a real Prometheus scrapes."""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
import servers
import yaml
from prometheus_client import CollectorRegistry

from predictor.serving.metrics import Metrics
from predictor.serving.settings import Settings
from tools import compose

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "deploy/compose"
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
ENDS = {"folders", "migrate", "prepare"}  # before what waits for them starts
OURS = {name for name, item in SERVICES.items() if "dev.local/coding-mcqa" in item["image"]}


def errors(document: Any) -> list[str]:
    place = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    return [
        error.message for error in jsonschema.Draft202012Validator(json.loads(place.read_text())).iter_errors(document)
    ]


def test_schema() -> None:
    assert errors(DOCUMENT) == []


def test_a_misspelt_key_would_be_seen() -> None:
    assert errors({**DOCUMENT, "services": {"api": {**SERVICES["api"], "read_onyl": True}}})


@pytest.mark.usefixtures("processes")
def test_docker_compose_accepts_it(tmp_path: Path) -> None:
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose plugin here; the schema is checked above")
    command = ["docker", "compose", "--env-file", str(COMPOSE / "env.example"), "config", "--quiet"]
    env = {**os.environ, "POSTGRES_PASSWORD": "test", "GRAFANA_PASSWORD": "test"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_fenced_in(name: str) -> None:
    item = SERVICES[name]
    assert item["read_only"] is True
    assert item["cap_drop"] == ["ALL"]
    assert item["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "cpus", "pids_limit"} <= item.keys()
    assert not {"privileged", "pid", "ipc", "devices"} & item.keys()
    if name == "folders":  # root, and then nothing else: one capability, no network, ends at once
        assert (item["user"], item["cap_add"], item["network_mode"]) == ("0:0", ["CHOWN"], "none")
        assert "restart" not in item
    else:
        assert re.fullmatch(r"[1-9]\d*:\d+", item["user"])
        assert "cap_add" not in item
    tag = re.sub(r"\$\{TAG:-(.+)\}", r"\1", item["image"]).rpartition(":")[2]
    assert re.fullmatch(r"v?\d+\.\d+.*", tag), "a version, never latest"
    assert all(port.startswith("127.0.0.1:") for port in item.get("ports", ()))
    assert "/var/run/docker.sock" not in json.dumps(item)


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - ENDS))
def test_what_keeps_running_tells_its_health(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_nothing_waits_for_what_cannot_come() -> None:
    for name, item in SERVICES.items():
        for other, wanted in item.get("depends_on", {}).items():
            ends = other in ENDS
            assert wanted["condition"] == ("service_completed_successfully" if ends else "service_healthy"), (
                name,
                other,
            )


def test_the_database_is_reached_from_within_alone() -> None:
    assert SERVICES["postgres"]["networks"] == ["data"]
    assert DOCUMENT["networks"]["data"] == {"internal": True}
    assert "ports" not in SERVICES["postgres"]


def test_every_variable_is_known_to_what_is_told_it() -> None:
    """A variable of ours that nothing reads would be a misspelt one."""
    (loop,) = [d for d in yaml.safe_load_all((ROOT / "knative/config.yaml").read_text()) if d["kind"] == "ConfigMap"]
    functions = {*loop["data"], "MCQA_DATABASE_URL", "MCQA_WEBHOOK_SECRET", "MCQA_NOTIFY_URLS"}
    predictor = {f"MCQA_{item.name.upper()}" for item in fields(Settings)} | {"MCQA_CACHE", "HF_HOME", "HF_TOKEN"}
    predictor |= {"MLFLOW_TRACKING_URI", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME"}
    for name in OURS - {"mlflow", "prepare", "folders"}:
        known = {"api": predictor, "ui": functions | {"MCQA_URL", "MCQA_ALLOWED_HOSTS"}}.get(name, functions)
        assert set(SERVICES[name]["environment"]) <= known, name


def test_the_images_run_what_the_manifests_run() -> None:
    for name in ("collect", "drift", "notify"):
        (service,) = [
            d for d in yaml.safe_load_all((ROOT / f"knative/{name}.yaml").read_text()) if d["kind"] == "Service"
        ]
        (container,) = service["spec"]["template"]["spec"]["containers"]
        assert SERVICES[name]["command"] == [*container["command"], *container["args"]]
        image = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", SERVICES[name]["image"])
        assert image == container["image"]


def test_the_page_is_run_as_in_a_cluster_and_acts_on_nothing() -> None:
    deployment = yaml.safe_load((ROOT / "deploy/ui/deployment.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert SERVICES["ui"]["command"] == [*container["command"], *container["args"]]
    assert re.sub(r"\$\{\w+:-(.*?)\}", r"\1", SERVICES["ui"]["image"]) == container["image"]
    assert container["readinessProbe"]["httpGet"]["path"] in SERVICES["ui"]["healthcheck"]["test"][-1]
    assert "MCQA_UI_ACTIONS" not in SERVICES["ui"]["environment"]  # whoever reaches 127.0.0.1 could


def test_mlflow_is_prepared_as_in_a_cluster() -> None:
    deployment = next(
        d for d in yaml.safe_load_all((ROOT / "deploy/mlflow/deployment.yaml").read_text()) if d["kind"] == "Deployment"
    )
    (init,) = deployment["spec"]["template"]["spec"]["initContainers"]
    assert SERVICES["prepare"]["command"] == init["command"]
    assert SERVICES["prepare"]["image"] == SERVICES["mlflow"]["image"]
    assert SERVICES["prepare"]["environment"] == SERVICES["mlflow"]["environment"]
    assert "prepare" in SERVICES["mlflow"]["depends_on"]


def test_mounted_files_are_there_and_read_only() -> None:
    for name, item in SERVICES.items():
        for volume in item.get("volumes", ()):
            if volume["type"] == "bind":
                assert (ROOT / volume["source"]).exists(), (name, volume["source"])
                assert volume["read_only"] is True
            else:
                assert volume["source"] in DOCUMENT["volumes"]


def test_no_secret_is_in_the_files() -> None:
    text = (ROOT / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+):\?", text)) == {"POSTGRES_PASSWORD", "GRAFANA_PASSWORD"}
    example = dict(line.split("=", 1) for line in (COMPOSE / "env.example").read_text().splitlines() if line[0] != "#")
    assert example["POSTGRES_PASSWORD"] == example["GRAFANA_PASSWORD"] == ""
    assert set(example) <= set(re.findall(r"\$\{(\w+)", text))


def test_compose_env_makes_passwords_once(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    compose.write_env(env)
    first = env.read_text()
    compose.write_env(env)
    assert env.read_text() == first
    assert [path.name for path in tmp_path.iterdir()] == [".env"]
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    values = dict(line.split("=", 1) for line in first.splitlines() if line[0] != "#")
    assert re.fullmatch(r"[0-9a-f]{48}", values["POSTGRES_PASSWORD"])
    assert values["POSTGRES_PASSWORD"] != values["GRAFANA_PASSWORD"]


def metrics() -> set[str]:
    """Every sample name the predictor has."""
    registry = CollectorRegistry()
    Metrics(registry)
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",), "info": ("_info",)}
    return {family.name + suffix for family in registry.collect() for suffix in suffixes.get(family.type, ("",))}


def test_the_dashboard_shows_metrics_that_exist() -> None:
    dashboard = json.loads((COMPOSE / "grafana/dashboards/predictor.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = {name for query in queries for name in re.findall(r"mcqa_\w+", query)}
    assert len(queries) >= 10
    assert used
    assert used <= metrics()
    (source, _) = yaml.safe_load((COMPOSE / "grafana/provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="prometheus is not installed (apt install prometheus)",
)


@needs_prometheus
@pytest.mark.usefixtures("processes")
def test_promtool_accepts_the_configuration() -> None:
    command = ["promtool", "check", "config", str(COMPOSE / "prometheus.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def prometheus(version: Path, tmp_path: Path, processes: None) -> Iterator[str]:
    """A Prometheus with the configuration of compose.yaml, its `api:8080` a model server that answered a question."""
    with servers.running(version) as server:
        assert server.ask(servers.QUESTION).status_code == 200
        text = (COMPOSE / "prometheus.yaml").read_text()
        assert "api:8080" in text
        (tmp_path / "prometheus.yaml").write_text(text.replace("api:8080", f"127.0.0.1:{server.port}"))
        port = servers.free_port()
        command = ["prometheus", f"--config.file={tmp_path}/prometheus.yaml", f"--storage.tsdb.path={tmp_path}/data"]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


@needs_prometheus
def test_a_real_prometheus_reads_a_real_predictor(prometheus: str) -> None:
    dashboard = json.loads((COMPOSE / "grafana/dashboards/predictor.json").read_text())
    queries = {
        target["expr"].replace("$__rate_interval", "1m") for panel in dashboard["panels"] for target in panel["targets"]
    }

    def ask(query: str) -> list[dict[str, Any]]:
        answer = httpx2.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=10)
        assert answer.status_code == 200, (query, answer.text)
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result

    deadline = time.monotonic() + 60
    while True:
        try:
            if sum(float(item["value"][1]) for item in ask("mcqa_answers_total")) == 1:
                break
        except httpx2.TransportError:
            pass
        assert time.monotonic() < deadline, "Prometheus has not scraped the predictor"
        time.sleep(0.5)
    assert [item["value"][1] for item in ask('up{job="predictor"}')] == ["1"]
    assert [item["value"][1] for item in ask('mcqa_requests_total{method="predict", status="200"}')] == ["1"]
    for query in queries:  # that they parse; a rate needs two scrapes to have a value
        ask(query)
