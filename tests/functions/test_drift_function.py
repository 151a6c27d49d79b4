"""The drift function as a process, on a real registry and both databases: what it stores, sends and survives."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from function_server import FunctionServer
from loop_parts import Sent, Sink, answer, kill_all, killable, reference, register, set_champion, sink
from sqlalchemy import Engine, insert, select

from common.errors import SettingError
from common.event_types import DRIFT_CHECKED, DRIFT_DETECTED, PING
from common.mlflow.registry import ModelRegistry
from functions.collect.tables import GivenAnswer
from functions.drift.checker import DriftChecker, due
from functions.drift.decision import Config
from functions.drift.reference import summarise
from functions.drift.settings import read_settings
from functions.drift.tables import DriftCheck
from functions.events import Event
from functions.retrain.decision import read_drift

pytestmark = pytest.mark.usefixtures("processes")

TICK = {"type": PING, "source": "/apis/v1/namespaces/coding-mcqa/pingsources/drift"}
NOW = time.time()


@pytest.fixture
def out(processes: None) -> Iterator[Sink]:
    with sink() as made:
        yield made


@pytest.fixture
def model() -> str:
    return f"drift-{uuid4().hex[:8]}"


@pytest.fixture
def env(database_url: str, out: Sink, mlflow_url: str, model: str) -> dict[str, str]:
    return {
        "MCQA_DATABASE_URL": database_url,
        "K_SINK": out.url,
        "MLFLOW_TRACKING_URI": mlflow_url,
        "MCQA_REGISTERED_MODEL": model,
        "MCQA_DRIFT_SETTLE_SECONDS": "0",
        "MCQA_DRIFT_MIN_SAMPLE": "200",
        "MCQA_DRIFT_ENOUGH": "1000",
        "MCQA_DRIFT_CONSECUTIVE": "2",
    }


def checks(database: Engine) -> list[Any]:
    with database.connect() as connection:
        return list(connection.execute(select(DriftCheck.__table__).order_by(DriftCheck.sequence)))


def tick(function: FunctionServer, status: int = 204) -> str:
    answered = function.post({}, id=uuid4().hex, **TICK)
    assert answered.status_code == status, answered.text
    return answered.text


def test_no_drift_and_drift_in_two_windows(
    env: dict[str, str], database: Engine, out: Sink, mlflow_url: str, model: str, tmp_path: Path
) -> None:
    with killable("drift", tmp_path / "drift.log", env) as process:
        function = process.start()

        def said() -> str:
            return str(process.lines()[-1]["message"])

        tick(function)
        assert said() == f"insufficient: {model} has no champion, it is not registered"
        bare = register(mlflow_url, model, {})
        set_champion(mlflow_url, model, bare)
        for _ in range(2):
            tick(function)
        assert "has no reference.json" in said()
        assert [(row.verdict, row.version) for row in checks(database)] == [("insufficient", bare)]  # once

        version = register(mlflow_url, model, {"reference.json": reference()})
        set_champion(mlflow_url, model, version)
        tick(function)
        answer(database, version, 1000, time.time() - 100, time.time())
        answer(database, bare, 1000, time.time() - 100, time.time(), shift=3.0)  # another version's are not ours
        tick(function)
        assert [row.verdict for row in checks(database)][1:] == ["insufficient", "no-drift"]
        tick(function)
        assert said() == "nothing new: 0 answers in the window, 0 at the last check"
        for seed in (2, 3, 4):
            answer(database, version, 300, time.time() - 0.01, time.time(), seed=seed, shift=0.8)
            tick(function)
    stored = [row for row in checks(database) if row.verdict not in ("insufficient", "no-drift")]
    assert [(row.verdict, row.alarm) for row in stored] == [("suspect", False), ("drift", True), ("drift", False)]
    assert all(row.sent_at is not None for row in checks(database))
    assert len(out.of(DRIFT_CHECKED)) == len(checks(database))
    (alarm,) = out.of(DRIFT_DETECTED)
    assert alarm.data["alarm"] is True
    moved = [e["feature"] for e in alarm.data["evidence"] if e["rejected"]]
    assert moved == ["confidence"]
    assert alarm.data["drift_since"] == stored[0].window_start
    assert alarm.data["champion"] == alarm.data["version"] == version
    trace = alarm.attributes["traceparent"]
    assert [s.attributes["traceparent"] for s in out.of(DRIFT_CHECKED) if s.data["alarm"]] == [trace]
    drift = read_drift(alarm.data)  # what retrain takes
    assert (drift.model, drift.version, drift.since) == (model, version, stored[0].window_start)


def test_float_noise_is_no_drift_and_a_real_move_is(
    env: dict[str, str], database: Engine, out: Sink, mlflow_url: str, model: str, tmp_path: Path
) -> None:
    """A model that is always certain, served where rounding differs; then one that is no longer certain."""
    certain = {"confidence": 1.0, "margin": 1.0, "letter_mass": 1.0, "entropy": 0.0, "prompt_tokens": 50.0}
    still = summarise({name: [value] * 1000 for name, value in certain.items()}, list("ABCD" * 250)).to_json()
    version = register(mlflow_url, model, {"reference.json": still})
    set_champion(mlflow_url, model, version)

    def window(function: FunctionServer, off: float) -> tuple[str, bool]:
        """The verdict on 1,000 answers that are all `off` in what is measured, and whether it is an alarm."""
        now = time.time()
        rows = [
            {
                "source": "/logger",
                "id": f"{now}-{i}",
                "place": 0,
                "version": version,
                "answered_at": now,
                "letter": "ABCD"[i % 4],
                **certain,
                **{name: certain[name] - off for name in ("confidence", "margin", "letter_mass")},
                "entropy": off,
            }
            for i in range(1000)
        ]
        with database.begin() as connection:
            connection.execute(insert(GivenAnswer), rows)
        tick(function)
        return checks(database)[-1].verdict, checks(database)[-1].alarm

    with killable("drift", tmp_path / "drift.log", env) as process:
        function = process.start()
        assert [window(function, 1e-7) for _ in range(3)] == [("no-drift", False)] * 3
        assert [window(function, 0.05) for _ in range(2)] == [("suspect", False), ("drift", True)]
    assert len(checks(database)) == 5
    assert len(out.of(DRIFT_DETECTED)) == 1


def test_the_settling_time_keeps_young_answers_for_later(
    env: dict[str, str], database: Engine, mlflow_url: str, model: str, tmp_path: Path
) -> None:
    version = register(mlflow_url, model, {"reference.json": reference()})
    set_champion(mlflow_url, model, version)
    answer(database, version, 400, NOW - 1000, NOW - 500)
    answer(database, version, 300, time.time() - 20, time.time())
    with killable("drift", tmp_path / "drift.log", {**env, "MCQA_DRIFT_SETTLE_SECONDS": "60"}) as process:
        tick(process.start())
    (row,) = checks(database)
    assert (row.n, row.window_start) == (400, pytest.approx(NOW - 1000, abs=1e-3))
    assert row.window_end < time.time() - 59


@pytest.mark.parametrize("ahead", [3600.0, 70 * 365 * 86_400.0])
def test_a_clock_that_was_set_back_leaves_drift_seeing(
    env: dict[str, str], database: Engine, mlflow_url: str, model: str, ahead: float
) -> None:
    """The last window was closed an hour, or a lifetime, ahead of what the clock says now."""
    version = register(mlflow_url, model, {"reference.json": reference()})
    set_champion(mlflow_url, model, version)
    drift = DriftChecker(read_settings(env), database, ModelRegistry(env, model))
    ping = Event("1", "/ping", PING)
    answer(database, version, 1000, NOW - 100, NOW)
    drift.check(ping, NOW + ahead)
    drift.check(ping, NOW)
    assert "nothing new" in drift.check(ping, NOW + 10)
    for window in (1, 2):
        begin = NOW + 100 * window
        answer(database, version, 300, begin - 50, begin, seed=window, shift=0.8)
        drift.check(ping, begin)
    assert [row.verdict for row in checks(database)] == ["no-drift", "insufficient", "suspect", "drift"]
    alarm = checks(database)[-1]
    assert alarm.alarm
    assert alarm.document["drift_since"] == NOW, "both windows, and nothing before the clock was set back"


def test_of_looks_at_the_same_time_one_is_stored(
    env: dict[str, str], database: Engine, out: Sink, mlflow_url: str, model: str, tmp_path: Path
) -> None:
    version = register(mlflow_url, model, {"reference.json": reference()})
    set_champion(mlflow_url, model, version)
    with killable("drift", tmp_path / "a.log", env) as a, killable("drift", tmp_path / "b.log", env) as b:
        functions = [a.start(), b.start()]
        for _ in range(2):
            begin = time.time()
            answer(database, version, 600, begin - 0.01, begin, seed=int(begin * 1e3), shift=1.0)
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda i: tick(functions[i % 2]), range(8)))
    rows = checks(database)
    assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
    closing = [row for row in rows if row.n >= 200]
    assert [(row.verdict, row.alarm) for row in closing] == [("suspect", False), ("drift", True)]
    assert len(out.of(DRIFT_DETECTED)) == 1


def test_a_sink_that_is_away_gets_the_alarm_later(
    env: dict[str, str], database: Engine, out: Sink, mlflow_url: str, model: str, tmp_path: Path
) -> None:
    version = register(mlflow_url, model, {"reference.json": reference()})
    set_champion(mlflow_url, model, version)
    out.status = 503
    with killable("drift", tmp_path / "drift.log", env) as process:
        function = process.start()
        for seed in (1, 2):
            answer(database, version, 300, time.time() - 0.01, time.time(), seed=seed, shift=1.0)
            assert "the sink answered 503" in tick(function, 503)
        assert out.events == []
        out.status = 202
        tick(function)
    assert [s.data["verdict"] for s in out.of(DRIFT_CHECKED)][:2] == ["suspect", "drift"]
    assert len(out.of(DRIFT_DETECTED)) == 1
    assert len(out.events) == len({s.key for s in out.events})


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_the_alarm_is_sent_exactly_once_by_id(
    env: dict[str, str], database: Engine, out: Sink, mlflow_url: str, model: str, tmp_path: Path, seed: int
) -> None:
    version = register(mlflow_url, model, {"reference.json": reference()})
    set_champion(mlflow_url, model, version)
    rng = random.Random(seed)
    with killable("drift", tmp_path / "drift.log", env) as process:
        for round in range(2):
            begin = time.time()
            answer(database, version, 400, begin - 0.01, begin, seed=seed * 10 + round, shift=1.0)
            for moment in (DRIFT_CHECKED, "some time", DRIFT_DETECTED, "quiet"):
                function = process.start()
                victim = process.process
                assert victim is not None
                if moment == "quiet":
                    out.on_event = lambda _: None
                    tick(function)
                    process.kill()
                    continue

                def on_event(sent: Sent, victim: Any = victim, wanted: str = moment) -> None:
                    # The event is accepted, the function never hears of it.
                    if sent.attributes["type"] == wanted:
                        kill_all(victim)

                out.on_event = on_event
                timer = threading.Timer(rng.uniform(0.0, 0.25) if moment == "some time" else 20.0, kill_all, [victim])
                timer.start()
                with contextlib.suppress(httpx2.TransportError):  # it was killed
                    function.post({}, id=uuid4().hex, **TICK)
                timer.cancel()
                timer.join()
                process.kill()
    assert [row.alarm for row in checks(database) if row.n >= 200] == [False, True]
    assert len(out.of(DRIFT_DETECTED)) == 1
    assert {row.sent_at is None for row in checks(database)} == {False}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_champion_that_comes_again_is_not_judged_by_what_was_judged(
    env: dict[str, str], database: Engine, mlflow_url: str, model: str, tmp_path: Path
) -> None:
    first, second = (register(mlflow_url, model, {"reference.json": reference()}) for _ in range(2))
    answer(database, first, 400, NOW - 2000, NOW - 1500, shift=1.0)
    with killable("drift", tmp_path / "drift.log", env) as process:
        function = process.start()
        for champion in (first, second, first):
            set_champion(mlflow_url, model, champion)
            tick(function)
    rows = checks(database)
    assert [(row.version, row.verdict, row.n) for row in rows] == [
        (first, "suspect", 400),
        (second, "insufficient", 0),
        (first, "insufficient", 0),
    ]
    assert rows[2].window_start == rows[0].window_end
    assert rows[2].document["state"]["streaks"] == {}


@pytest.mark.parametrize(
    ("judged", "seen", "n", "wanted"),
    [
        (False, 0, 0, True),  # the first look tells that there is nothing
        (True, 0, 0, False),
        (True, 0, 1, True),
        (True, 150, 180, False),
        (True, 150, 188, True),
        (True, 190, 200, True),  # now there are enough to say something
        (True, 200, 249, False),
        (True, 200, 250, True),
        (True, 900, 1000, True),
    ],
)
def test_when_a_growing_window_is_looked_at_again(judged: bool, seen: int, n: int, wanted: bool) -> None:
    assert due(judged, seen, n, Config()) is wanted


def test_settings_are_the_cores_unless_told() -> None:
    assert read_settings({}).config == Config()
    settings = read_settings({"MCQA_DRIFT_ALPHA": "0.05", "MCQA_DRIFT_MIN_SAMPLE": "50", "MCQA_REGISTERED_MODEL": "m"})
    assert (settings.model, settings.config) == ("m", Config(alpha=0.05, min_sample=50))
    for wrong in ({"MCQA_DRIFT_ALPHA": "2"}, {"MCQA_DRIFT_MIN_SAMPLE": "2000"}, {"MCQA_DRIFT_CONSECUTIVE": "x"}):
        with pytest.raises(SettingError, match="MCQA_DRIFT_"):
            read_settings(wrong)
