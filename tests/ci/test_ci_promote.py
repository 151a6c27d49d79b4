"""Production's door: when a version may become challenger, and how its canary is followed. With a real registry."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator

import httpx2
import pytest
from tool import invoke

from common.mlflow.registry import ModelRegistry
from tools.ci.promotion import ObservedState, RefusedError, judge, may_start, observe, promote

BACK = "rolled back from 6: accuracy is worse"


@pytest.mark.parametrize(
    ("observed", "start"),
    [
        (ObservedState("6", None), True),
        (ObservedState(None, None), True),
        (ObservedState("6", "7"), False),  # asked for before: this run follows it
        (ObservedState("7", None), False),  # serves already
        (ObservedState("6", "6"), True),  # what a promotion leaves behind
        (ObservedState("6", "5", challenger_tag="rolled back from 6: slow"), True),  # the last one is out
    ],
)
def test_may_start(observed: ObservedState, start: bool) -> None:
    assert may_start("7", observed) is start


@pytest.mark.parametrize(
    ("observed", "why"),
    [
        (ObservedState("6", "8"), "version 8 is under rollout"),
        (ObservedState("6", None, BACK), "was rolled back"),
        (ObservedState("6", "7", BACK), "was rolled back"),
    ],
)
def test_may_not_start(observed: ObservedState, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        may_start("7", observed)


@pytest.mark.parametrize(
    ("observed", "state"),
    [
        (ObservedState("6", "7"), "under way"),
        (ObservedState("6", "7", "passed over 6"), "under way"),
        (ObservedState("7", "7", "promoted over 6"), "promoted"),
        (ObservedState("7", None, "promoted over 6"), "promoted"),
        (ObservedState("6", "7", BACK), "not promoted"),
        (ObservedState("6", "8"), "not promoted"),
        (ObservedState("6", None), "not promoted"),
    ],
)
def test_verdicts(observed: ObservedState, state: str) -> None:
    assert judge("7", observed).state == state


@pytest.fixture
def registry(mlflow_url: str, processes: None) -> Iterator[ModelRegistry]:
    """A registered model with versions 1 (champion) and 2."""
    name = f"ci-{uuid.uuid4().hex[:8]}"
    with httpx2.Client(base_url=f"{mlflow_url}/api/2.0/mlflow", timeout=30) as client:
        client.post("/registered-models/create", json={"name": name}).raise_for_status()
        run = client.post("/runs/create", json={"experiment_id": "0"}).raise_for_status().json()["run"]["info"]
        for _ in range(2):
            body = {"name": name, "source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
            client.post("/model-versions/create", json=body).raise_for_status()
    with ModelRegistry({"MLFLOW_TRACKING_URI": mlflow_url}, name) as result:
        result.set_alias("champion", "1")
        yield result


def later(act: object) -> threading.Thread:
    """What the rollout function does, after the alias is there."""

    def run() -> None:
        time.sleep(0.3)
        act()  # type: ignore[operator]

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.usefixtures("processes")
def test_a_promotion_is_followed_to_its_end(registry: ModelRegistry) -> None:
    lines: list[str] = []
    thread = later(lambda: registry.set_alias("champion", "2"))
    assert promote(registry, "2", 30, lines.append, pause=0.1).state == "promoted"
    thread.join()
    assert lines[0].startswith("version 2 is challenger now")
    assert promote(registry, "2", 5, lines.append, pause=0.1).state == "promoted"  # and again


@pytest.mark.usefixtures("processes")
def test_a_rollback_fails_the_build(registry: ModelRegistry) -> None:
    thread = later(lambda: registry.set_tag("2", "rollout", BACK))
    verdict = promote(registry, "2", 30, lambda _: None, pause=0.1)
    thread.join()
    assert (verdict.state, verdict.reason) == ("not promoted", BACK)
    with pytest.raises(RefusedError, match="remove its tag"):
        promote(registry, "2", 5, lambda _: None)


def test_patience_ends(registry: ModelRegistry) -> None:
    assert promote(registry, "2", 0.3, lambda _: None, pause=0.1).state == "under way"
    assert observe(registry, "2").challenger == "2"


def test_a_version_that_is_not_there(registry: ModelRegistry) -> None:
    with pytest.raises(RefusedError, match="no version '99'"):
        promote(registry, "99", 1, lambda _: None)


@pytest.mark.parametrize("version", ["", "latest", "1; rm", "7@challenger"])
def test_only_a_number_is_a_version(version: str) -> None:
    result = invoke("promote", version)
    assert result.exit_code == 2
    assert "must be a version's number" in result.stderr


@pytest.mark.usefixtures("processes")
def test_without_a_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    result = invoke("promote", "7")
    assert result.exit_code == 1
    assert result.stderr.startswith("promote: the MLflow server http://127.0.0.1:9 does not answer")
