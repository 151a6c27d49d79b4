"""Versions, aliases and the webhook in a real MLflow server, also after a kill between any two writes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from common.gate_tag import GateTag
from common.mlflow.registry import ModelRegistry
from common.mlflow.runs import BOOTSTRAP_KEY
from functions.drift.reference import parse
from pipelines.bootstrap import bootstrap, main
from pipelines.registration import versions, webhooks
from pipelines.registration.tracking import KIND, KIND_TAG, Tracking, step_run, tags_of
from pipelines.retraining.steps.register import offer
from pipelines.retraining.steps.report import outcome
from pipelines.run_context import RunContext
from predictor.storage.resolver import resolve

pytestmark = pytest.mark.usefixtures("processes")

_names = (f"registration-test-{n}" for n in itertools.count())


class Killed(BaseException):
    """What a test raises where a process would be killed."""


@pytest.fixture
def environ(mlflow_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    values = {
        "MLFLOW_TRACKING_URI": mlflow_url,
        "MCQA_REGISTERED_MODEL": next(_names),
        "MCQA_WEBHOOK_SECRET": "a secret",
        "MCQA_CACHE": str(tmp_path / "cache"),
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def tracking(environ: dict[str, str]) -> Iterator[Tracking]:
    with Tracking(environ, environ["MCQA_REGISTERED_MODEL"]) as registry:
        assert isinstance(registry, Tracking)
        yield registry


@pytest.fixture(scope="module")
def source(version: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small random version, with a reference that was measured elsewhere."""
    folder = tmp_path_factory.mktemp("source")
    for path in version.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "reference.json").write_text('{"schema": 1, "features": {}, "letters": {}}')
    (folder / "notes.py").write_text("print('never uploaded')")
    return folder


def candidate(source: Path, key: str = "k1") -> versions.Candidate:
    return versions.Candidate(source, key, tags={"champion": "1"}, description="a test")


def test_a_registered_version_is_its_folder_again(environ: dict[str, str], tracking: Tracking, source: Path) -> None:
    made = versions.register(tracking, environ["MLFLOW_TRACKING_URI"], candidate(source))
    assert (made.version, made.tags) == ("1", {"champion": "1", "run_key": "k1"})
    folder = resolve(f"mlflow://{tracking.model_name}/1")
    assert versions.content_digest(folder) == versions.content_digest(source)
    assert not (folder / "notes.py").exists()
    client = MlflowClient(environ["MLFLOW_TRACKING_URI"])
    registered = client.get_model_version(tracking.model_name, "1")
    model = client.get_logged_model(str(registered.source).removeprefix("models:/"))
    assert model.status.value == "READY"
    assert model.model_type == "coding-mcqa"


def test_the_signature_is_in_the_registry(environ: dict[str, str], tracking: Tracking, source: Path) -> None:
    from mlflow.models import get_model_info

    versions.register(tracking, environ["MLFLOW_TRACKING_URI"], candidate(source))
    import mlflow

    mlflow.set_tracking_uri(environ["MLFLOW_TRACKING_URI"])
    signature = get_model_info(f"models:/{tracking.model_name}/1").signature
    assert signature is not None
    assert [c.name for c in signature.inputs] == ["question", "choices", "code", "id", "subject"]
    assert "probabilities" in [c.name for c in signature.outputs]


def test_a_run_key_is_registered_once(environ: dict[str, str], tracking: Tracking, source: Path) -> None:
    uri = environ["MLFLOW_TRACKING_URI"]
    assert [versions.register(tracking, uri, candidate(source, key)).version for key in ("a", "b", "a", "b")] == [
        "1", "2", "1", "2",
    ]  # fmt: skip


@pytest.mark.parametrize("killed_in", ["log_model_artifacts", "finalize_logged_model", "create_model_version"])
def test_a_kill_in_the_middle_leaves_nothing_that_serves(
    environ: dict[str, str], tracking: Tracking, source: Path, killed_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, key = environ["MLFLOW_TRACKING_URI"], f"{tracking.model_name}-key"

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, killed_in, die)
        with pytest.raises(Killed):
            versions.register(tracking, uri, candidate(source, key))
    assert versions.find(tracking, key) is None
    client = MlflowClient(uri)
    left = client.search_logged_models([tracking.experiment()], filter_string=f"tags.run_key = '{key}'")
    assert len(left) == 1
    made = versions.register(tracking, uri, candidate(source, key))
    assert made.version == "1"
    now = client.search_logged_models([tracking.experiment()], filter_string=f"tags.run_key = '{key}'")
    assert [m.status.value for m in now] == ["READY"], "the torn one is gone"
    assert (now[0].model_id == left[0].model_id) == (killed_in == "create_model_version"), "a whole one is taken"
    resolve(f"mlflow://{tracking.model_name}/1")


def test_the_alias_is_offered_once_and_only_against_the_champion_it_beat(
    environ: dict[str, str], tracking: Tracking, source: Path
) -> None:
    uri = environ["MLFLOW_TRACKING_URI"]
    for key in ("champion", "challenger", "late"):
        versions.register(tracking, uri, candidate(source, key))
    tracking.set_alias("champion", "1")
    assert offer(tracking, "2", "1") == "is challenger"
    tracking.delete_alias("challenger")
    assert offer(tracking, "2", "1") == "was offered before, nothing changed"
    tracking.set_alias("champion", "2")
    assert offer(tracking, "3", "1") == "not offered: compared with version 1, but the champion is 2"
    late, model = tracking.version("3"), tracking.model()
    assert late is not None
    assert model is not None
    assert late.tags["not_offered"] == "compared with version 1, but the champion is 2"
    assert model.aliases == {"champion": "2"}


def test_a_version_that_the_rollout_has_decided_on_is_not_offered(
    environ: dict[str, str], tracking: Tracking, source: Path
) -> None:
    for key in ("a", "b"):
        versions.register(tracking, environ["MLFLOW_TRACKING_URI"], candidate(source, key))
    tracking.set_alias("champion", "1")
    tracking.set_tag("2", "rollout", "rolled back from 1: too many errors")
    assert offer(tracking, "2", "1") == "was offered before, nothing changed"


def test_bootstrap_makes_what_is_missing_and_nothing_twice(
    environ: dict[str, str], tracking: Tracking, source: Path
) -> None:
    url = "http://127.0.0.1:9/hook"
    first = bootstrap(environ, str(source), url)
    assert first[-1] == f"{tracking.model_name} version 1 is champion now"
    second = bootstrap(environ, str(source), url)
    assert second[-1] == f"{tracking.model_name} version 1 is champion"
    assert [v.version for v in tracking.versions()] == ["1"]
    assert [h["url"] for h in webhooks.list_webhooks(tracking) if h["name"] == "rollout"] == [url]


def test_bootstrap_goes_on_where_it_was_killed(environ: dict[str, str], tracking: Tracking, source: Path) -> None:
    versions.register(tracking, environ["MLFLOW_TRACKING_URI"], candidate(source, BOOTSTRAP_KEY))
    assert bootstrap(environ, str(source))[-1] == f"{tracking.model_name} version 1 is champion now"
    assert [v.version for v in tracking.versions()] == ["1"]


def test_bootstrap_does_not_touch_a_champion(environ: dict[str, str], tracking: Tracking, source: Path) -> None:
    for key in ("a", "b"):
        versions.register(tracking, environ["MLFLOW_TRACKING_URI"], candidate(source, key))
    tracking.set_alias("champion", "2")
    bootstrap(environ, str(source))
    model = tracking.model()
    assert model is not None
    assert model.aliases == {"champion": "2"}


def test_bootstrap_does_not_choose_among_versions_of_others(
    environ: dict[str, str], tracking: Tracking, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    versions.register(tracking, environ["MLFLOW_TRACKING_URI"], candidate(source, "a"))
    assert main(["--source", str(source)], environ) == 1
    assert "set the alias 'champion'" in capsys.readouterr().err
    assert main(["--source", str(source), "--webhook-url", "http://x/"], {**environ, "MCQA_WEBHOOK_SECRET": ""}) == 1
    assert capsys.readouterr().err == "bootstrap: MCQA_WEBHOOK_SECRET is not set and has no default\n"
    assert main(["--source", str(source)], {**environ, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_bootstrap_measures_a_reference_where_there_is_none(
    environ: dict[str, str], tracking: Tracking, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.drift_reference.bank_questions.__defaults__", (20, ("complexity",), 1))
    bootstrap(environ, str(version))
    assert not (version / "reference.json").exists()
    assert parse(tracking.read("1", "reference.json") or b"").n == 20


def test_the_webhook_follows_its_address_and_has_no_double(environ: dict[str, str], tracking: Tracking) -> None:
    name = tracking.model_name
    assert webhooks.ensure(tracking, name, "http://127.0.0.1:9/a", "one") == "created"
    client = MlflowClient(environ["MLFLOW_TRACKING_URI"])
    client.create_webhook(name, "http://127.0.0.1:9/double", ["model_version.created"])
    assert webhooks.ensure(tracking, name, "http://127.0.0.1:9/b", "two") == "updated"
    [hook] = [h for h in client.list_webhooks() if h.name == name]
    assert hook.url == "http://127.0.0.1:9/b"
    assert hook.status.value == "ACTIVE"
    assert {str(e) for e in hook.events} == {
        "model_version.created",
        "model_version_tag.set",
        "model_version_tag.deleted",
        "model_version_alias.created",
        "model_version_alias.deleted",
    }


def test_a_step_writes_into_the_run_it_has(tracking: Tracking) -> None:
    run = RunContext(run_key=f"{tracking.model_name}-run", pipeline_run="1")
    parent = tracking.start_run(run.run_key, "pipeline", "the pipeline", {})
    with pytest.raises(ZeroDivisionError), step_run(tracking, run, "evaluate") as first:
        raise ZeroDivisionError("no\nway")
    record = tracking.find_run(run.run_key, "evaluate")
    assert record is not None
    assert (record["info"]["status"], tags_of(record)["error"]) == ("FAILED", "ZeroDivisionError: no way")
    with step_run(tracking, replace(run, pipeline_run="2"), "evaluate") as second:
        tracking.log(second, {"accuracy": 0.5}, {"seed": 1})
        tracking.log(second, {"accuracy": 0.6}, {"seed": 2})
        tracking.upload(second, "verdict.md", "# pass")
    assert second == first
    record = tracking.find_run(run.run_key, "evaluate")
    assert record is not None
    assert (record["info"]["status"], tags_of(record)["error"]) == ("FINISHED", "")
    assert tags_of(record)["mlflow.parentRunId"] == parent
    assert [(m["key"], m["value"]) for m in record["data"]["metrics"]] == [("accuracy", 0.6)]
    assert [(p["key"], p["value"]) for p in record["data"]["params"]] == [("seed", "1")]


@pytest.mark.parametrize("maker", ["tracking", "versions"])
@pytest.mark.parametrize(("there", "kind"), [(None, KIND), ("", KIND), ("classification", "classification")])
def test_the_experiment_opens_as_what_it_is(
    tracking: Tracking, source: Path, monkeypatch: pytest.MonkeyPatch, maker: str, there: str | None, kind: str
) -> None:
    """Also one that is there without a kind; what somebody chose stays."""
    name = f"kind-{maker}-{there}"
    for module in ("tracking", "versions"):
        monkeypatch.setattr(f"pipelines.registration.{module}.EXPERIMENT", name)
    client = MlflowClient(tracking.uri)
    if there is not None:
        client.create_experiment(name, tags={KIND_TAG: there} if there else None)
    if maker == "tracking":
        tracking.experiment()
    else:
        versions.register(tracking, tracking.uri, candidate(source))
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    assert experiment.tags[KIND_TAG] == kind


def test_an_experiment_that_another_process_makes_meanwhile_is_found(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, call, asked = tracking.experiment(), tracking.call, []

    def call_before_it_was_there(method: str, path: str, **fields: str) -> dict[str, Any] | None:
        asked.append(path)
        return None if len(asked) == 1 else call(method, path, **fields)

    monkeypatch.setattr(tracking, "call", call_before_it_was_there)
    assert tracking.experiment() == there
    assert asked == ["experiments/get-by-name", "experiments/create", "experiments/get-by-name"]


def test_a_step_says_where_its_run_is_seen(tracking: Tracking, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunContext(run_key=f"{tracking.model_name}-seen", pipeline_run="1")
    with step_run(tracking, run, "evaluate") as run_id:
        pass
    page = f"{tracking.uri.rstrip('/')}/#/experiments/{tracking.experiment()}/runs/{run_id}"
    assert capsys.readouterr().out == f"MLflow: {page}\n"


@pytest.mark.parametrize(
    ("gate", "version", "failed", "state", "expected"),
    [
        (GateTag("pass", "improvement"), "2", {}, "SUCCEEDED", ("success", "")),
        (GateTag("fail", "improvement: 3 lost"), "", {}, "SUCCEEDED", ("failure", "gate fail: improvement: 3 lost")),
        (GateTag("inconclusive", "too few"), "", {}, "SUCCEEDED", ("failure", "gate inconclusive: too few")),
        (GateTag("fail", "passes like no other"), "", {}, "SUCCEEDED", ("failure", "gate fail: passes like no other")),
        (None, "", {"fine-tune": "ValueError: no"}, "FAILED", ("error", "fine-tune: ValueError: no")),
        (GateTag("pass", "x"), "", {"register": "was killed"}, "", ("error", "register: was killed")),
        # The guarded steps were skipped.
        (GateTag("pass", "fail: x"), "", {}, "SUCCEEDED", ("error", "the gate passed, but no version was registered")),
        (None, "", {}, "SUCCEEDED", ("error", "the run ended before the gate had decided")),
        (None, "", {}, "FAILED", ("error", "a step ended without saying why; see its log")),
    ],
)
def test_how_a_run_ended(
    gate: GateTag | None, version: str, failed: dict[str, str], state: str, expected: tuple[str, str]
) -> None:
    """The verdict decides, never the words of its reason."""
    assert outcome(gate, version, failed, state) == expected


def test_an_unreachable_registry_is_one_line(tmp_path: Path) -> None:
    registry = ModelRegistry({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, "m")
    with pytest.raises(Exception, match=r"the MLflow server http://127\.0\.0\.1:9 does not answer") as caught:
        versions.find(registry, "k")
    assert "\n" not in str(caught.value)
