"""`mcqa pipeline` and the client under it against the embedded pipeline server, plain and as a multi-user Kubeflow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import stub_pipeline
from kfp import compiler
from kfp_multi_user import multi_user_kubeflow
from kfp_server import ENVIRON, HEADERS, kfp_server
from loop_parts import sink
from typer.testing import CliRunner

from common.event_types import RETRAINING_REQUESTED
from common.kubeflow import KubeflowClient
from mcqa.errors import CommandError
from mcqa.pipeline import pipeline_app

pytestmark = pytest.mark.usefixtures("processes")

NAMESPACE = "team-a"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[str]:
    with kfp_server(tmp_path_factory.mktemp("cluster-kfp")) as server:
        yield server.url


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "pipeline.yaml"
    compiler.Compiler().compile(stub_pipeline.retraining, str(path))
    return path


@pytest.fixture(autouse=True)
def environ(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NAMESPACE", "EXPERIMENT", "SERVICE_ACCOUNT", "TOKEN_PATH"):
        monkeypatch.delenv(f"MCQA_KFP_{name}", raising=False)
    monkeypatch.delenv("MCQA_RETRAIN_PARAMETERS", raising=False)
    monkeypatch.setenv("KFP_ENDPOINT", url)
    monkeypatch.setenv("MCQA_KFP_TOKEN_PATH", ENVIRON["MCQA_KFP_TOKEN_PATH"])


def mcqa(*arguments: str) -> str:
    done = CliRunner().invoke(pipeline_app, list(arguments))
    if isinstance(done.exception, CommandError):
        raise done.exception
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.output.replace("\n", " ")


def test_compile_takes_the_compilers_options(tmp_path: Path) -> None:
    out = tmp_path / "p.yaml"
    mcqa("compile", str(out), "--image", "registry.example.org/p:1")
    assert "registry.example.org/p:1" in out.read_text()
    assert "--cache-claim" in mcqa("compile", "-h")


def test_upload_makes_a_version_once(package: Path, tmp_path: Path) -> None:
    assert "uploaded as version" in mcqa("upload", str(package))
    assert "is already version" in mcqa("upload", str(package))
    other = tmp_path / "other.yaml"
    other.write_text(package.read_text() + "# changed\n")
    assert "uploaded as version" in mcqa("upload", str(other))
    listed = json.loads(mcqa("list", "--json"))
    first, second = (version["name"].split("-")[-2] for version in listed["versions"])
    assert (first, second) == ("2", "1")
    with pytest.raises(CommandError, match="mcqa pipeline compile"):
        mcqa("upload", str(tmp_path / "none.yaml"))


def test_a_schedule_that_was_made_at_the_server_is_listed(package: Path, tmp_path: Path) -> None:
    mcqa("upload", str(package))
    texts = ("run_key", "model_name", "champion", "reason", "traceparent", "drift_event")
    parameters = {**dict.fromkeys(texts, ""), "since": 0, "until": 0, "marks": str(tmp_path / "marks")}
    client = KubeflowClient({"KFP_ENDPOINT": _url(), **ENVIRON})
    pipeline = client.find_pipeline()
    assert pipeline is not None
    body = {
        "display_name": "nightly",
        "pipeline_version_reference": {"pipeline_id": pipeline["pipeline_id"]},
        "runtime_config": {"parameters": parameters},
        "trigger": {"cron_schedule": {"cron": "0 0 3 * * *"}},
        "max_concurrency": "1",
        "mode": "ENABLE",
    }
    api = f"{_url()}/apis/v2beta1/recurringruns"
    made = httpx2.post(api, json=body, headers=HEADERS).raise_for_status().json()
    try:
        assert [schedule["display_name"] for schedule in client.schedules()] == ["nightly"]
        assert "0 0 3 * * *" in mcqa("list")
        listed = json.loads(mcqa("list", "--json"))
        assert [schedule["recurring_run_id"] for schedule in listed["schedules"]] == [made["recurring_run_id"]]
    finally:
        httpx2.delete(f"{api}/{made['recurring_run_id']}", headers=HEADERS)
    assert "no schedules" in mcqa("list")


def test_a_multi_user_server_is_asked_with_a_token_and_a_namespace(package: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    with multi_user_kubeflow(_url(), "first", NAMESPACE) as gate:
        own = ("--url", gate.url, "--token-file", str(token), "--namespace", NAMESPACE)
        mcqa("upload", str(package), *own)
        listed = json.loads(mcqa("list", "--json", *own))
        assert listed["versions"]
        assert gate.refused == []
        with pytest.raises(CommandError, match="answered 403: not allowed"):
            mcqa("list", "--url", gate.url, "--token-file", str(token), "--namespace", "team-b")
        gate.token = "second"
        with pytest.raises(CommandError, match="answered 401"):
            mcqa("list", *own)
        token.write_text("second")  # the kubelet replaces it
        mcqa("list", *own)
        with pytest.raises(CommandError, match="no token file"):
            mcqa("list", "--url", gate.url, "--token-file", str(tmp_path / "none"))


def test_a_server_that_is_away_is_one_line() -> None:
    with pytest.raises(CommandError, match="does not answer"):
        mcqa("list", "--url", "http://127.0.0.1:9")


def test_run_asks_the_retrain_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sink() as out:
        monkeypatch.delenv("MCQA_DATABASE_URL", raising=False)
        monkeypatch.setenv("K_SINK", out.url)
        assert "for a retraining: new questions" in mcqa("run", "--reason", "new\nquestions")
    (sent,) = out.of(RETRAINING_REQUESTED)
    assert sent.data == {"reason": "new questions"}
    with pytest.raises(CommandError, match="must not be empty"):
        mcqa("run", "--reason", " ")


def _url() -> str:
    import os

    return os.environ["KFP_ENDPOINT"]
