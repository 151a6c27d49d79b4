"""`mcqa pipeline` and the client under it against the embedded pipeline server, plain and as a multi-user Kubeflow."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import stub_pipeline
from kfp import compiler
from kfp_multi_user import multi_user_kubeflow
from kfp_server import ENVIRON, HEADERS, kfp_server
from loop_parts import sink
from typer.testing import CliRunner

from common.errors import UnavailableError
from common.event_types import RETRAINING_REQUESTED
from common.kubeflow import KubeflowClient, Schedule
from mcqa.errors import CommandError
from mcqa.pipeline import pipeline_app

NAMESPACE = "team-a"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
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


def parameters(tmp_path: Path) -> dict[str, Any]:
    texts = ("run_key", "model_name", "champion", "reason", "traceparent", "drift_event")
    return {**dict.fromkeys(texts, ""), "since": 0, "until": 0, "marks": str(tmp_path / "marks")}


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


def test_a_schedule_is_made_kept_changed_and_deleted(package: Path, tmp_path: Path) -> None:
    mcqa("upload", str(package))
    given = ("--parameters", json.dumps(parameters(tmp_path)), "--name", "nightly")
    assert "made, 0 0 3 ? * MON" in mcqa("schedule", *given)
    assert "kept" in mcqa("schedule", *given)
    assert "changed, every 3600 s" in mcqa("schedule", *given, "--every", "3600")
    server = KubeflowClient({"KFP_ENDPOINT": _url(), **ENVIRON})
    (one,) = [s for s in server.schedules() if s["display_name"] == "nightly"]
    assert "pipeline_version_id" not in one["pipeline_version_reference"]
    httpx2.post(f"{_url()}/apis/v2beta1/recurringruns/{one['recurring_run_id']}:disable", headers=HEADERS)
    assert "kept" in mcqa("schedule", *given, "--every", "3600")
    assert server.schedules()[0]["status"] == "ENABLED"
    assert "nightly" in mcqa("list")
    assert "deleted" in mcqa("schedule", "--name", "nightly", "--delete")
    assert "there was none" in mcqa("schedule", "--name", "nightly", "--delete")
    with pytest.raises(CommandError, match="--cron or --every"):
        mcqa("schedule", "--cron", "@daily", "--every", "5")
    with pytest.raises(CommandError, match="six fields"):
        mcqa("schedule", *given, "--cron", "soon")


def test_a_scheduled_run_takes_the_newest_version(package: Path, tmp_path: Path) -> None:
    mcqa("upload", str(package))
    mcqa("schedule", "--every", "1", "--name", "often", "--parameters", json.dumps(parameters(tmp_path)))
    server = KubeflowClient({"KFP_ENDPOINT": _url(), **ENVIRON})
    try:
        deadline = time.monotonic() + 60
        while not (
            runs := [r for r in server.latest_runs() if r.get("recurring_run_id") and r["state"] == "SUCCEEDED"]
        ):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        mcqa("schedule", "--name", "often", "--delete")
    newest = server.versions()[0]["pipeline_version_id"]
    assert runs[0]["pipeline_version_reference"]["pipeline_version_id"] == newest


def test_a_multi_user_server_is_asked_with_a_token_and_a_namespace(package: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    with multi_user_kubeflow(_url(), "first", NAMESPACE) as gate:
        own = ("--url", gate.url, "--token-file", str(token), "--namespace", NAMESPACE)
        mcqa("upload", str(package), *own)
        mcqa("schedule", "--parameters", json.dumps(parameters(tmp_path)), *own, "--service-account", "default-editor")
        listed = json.loads(mcqa("list", "--json", *own))
        (weekly,) = [s for s in listed["schedules"] if s["display_name"] == "weekly"]
        assert weekly["service_account"] == "default-editor"
        assert weekly["experiment_id"]
        assert gate.refused == []
        mcqa("schedule", "--delete", *own)
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
    with pytest.raises(UnavailableError, match="mcqa pipeline upload"):
        KubeflowClient({"KFP_ENDPOINT": _url(), **ENVIRON}).schedule(Schedule("x", every=5), "no-such-pipeline")


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
