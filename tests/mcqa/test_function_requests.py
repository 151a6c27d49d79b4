"""Verbs that ask a function for something: they wait for its answer, print it, and end accordingly.

Functions and Broker are played by the functions' own code on a real database, called as the events arrive.
"""

from __future__ import annotations

import base64
import getpass
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from loop_parts import Sent, Sink, sink
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from common.event_types import FEEDBACK, INFERENCE_REQUEST, INFERENCE_RESPONSE, RETRAINING_REQUESTED
from functions.clocks import event_times
from functions.collect import feedback
from functions.collect.parsing import FeedbackEvent, parse_event
from functions.collect.store import record
from functions.database import engine, transaction
from functions.dead_letters import store as letters
from functions.dead_letters.parsing import dead_letter
from functions.events import BadEventError, Event
from functions.migrate import migrate
from functions.reasons import InitiatedBy
from functions.retrain import store as runs
from functions.retrain.decision import read_request
from functions.rollout import store as rollout_store
from mcqa import pipeline_run
from mcqa.verbs import app

pytestmark = pytest.mark.usefixtures("processes")

MODEL = "coding-mcqa"


@dataclass
class Loop:
    database: Engine
    sink: Sink
    url: str

    def run(self, *words: str, **env: str | None) -> Result:
        environment = {"MCQA_DATABASE_URL": self.url, "K_SINK": self.sink.url, "MCQA_REGISTERED_MODEL": MODEL, **env}
        return CliRunner().invoke(app, [*words], env=environment)

    def logged(self, id: str, choices: int = 3, letter: str = "A", **parameters: str) -> None:
        """A question and its answer, as the payload logger copies them."""
        instance = {"question": "?", "choices": [str(i) for i in range(choices)]}
        asked = {"instances": [instance], **({"parameters": parameters} if parameters else {})}
        answered = {"predictions": [{"letter": letter}], "model_version": "7", **parameters}
        for type, body in ((INFERENCE_REQUEST, asked), (INFERENCE_RESPONSE, answered)):
            version = {"annotations": '{"coding-mcqa/model-version": "7"}'}
            self.record(Event(id, "/logger", type, extensions=version, data=json.dumps(body).encode()))

    def record(self, event: Event) -> None:
        facts = parse_event(event, time.time())
        with transaction(self.database) as connection:
            record(connection, facts)
            if isinstance(facts, FeedbackEvent):
                feedback.check(connection, facts)


@pytest.fixture
def loop(tmp_path: Path, processes: None) -> Iterator[Loop]:
    url = f"sqlite:///{tmp_path}/loop.db"
    made = engine(url)
    migrate(made)
    with sink() as broker:
        yield Loop(made, broker, url)
    made.dispose()


def delivered(loop: Loop) -> Callable[[Sent], None]:
    def deliver(sent: Sent) -> None:
        known = {name: sent.attributes[name] for name in ("id", "source", "type")}
        try:
            data = json.dumps(sent.data).encode()
            loop.record(Event(known["id"], known["source"], known["type"], sent.attributes.get("time"), data=data))
        except BadEventError as error:
            keep(loop, known["id"], known["type"], json.dumps(sent.data).encode(), str(error))

    return deliver


# feedback


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["known", "b"], 0, "✓ counted: B was right; the model of version 7 answered A"),
        (["known/0", "A"], 0, "✓ counted: A was right; the model of version 7 answered the same"),
        (["known", "D"], 1, "error: the question has the letters A to C, found D"),
        (["tested", "A"], 0, "noted: A was right. The question was a test and does not count"),
        (["unheard-of", "A"], 1, "error: the loop has no answer 'unheard-of': give the id that `mcqa ask`"),
        (["known/3", "A"], 1, "error: the loop has no answer 'known/3'"),
        (["known", "K"], 2, "must be one letter of ABCDEFGHIJ, found 'K'"),
        (["known", ""], 2, "must be one letter of ABCDEFGHIJ, found ''"),
    ],
)
def test_feedback_says_what_came_of_it(words: list[str], code: int, says: str, loop: Loop) -> None:
    loop.logged("known")
    loop.logged("tested", purpose="test")
    loop.sink.on_event = delivered(loop)
    result = loop.run("feedback", *words, "--wait", "0")
    assert (result.exit_code, says in result.output) == (code, True), result.output
    # What would be refused for good is not even sent: it would become a dead letter.
    assert len(loop.sink.events) == (0 if code == 2 or "letters" in says else 1)


def test_feedback_that_nobody_takes_is_told_as_waiting(loop: Loop) -> None:
    loop.logged("known")
    result = loop.run("feedback", "known", "B", "--wait", "0.3")
    assert result.exit_code == 1
    assert "error: the function collect has not received it yet: it waits at the broker" in result.stderr


def test_feedback_waits_for_an_answer_that_is_logged_late(loop: Loop) -> None:
    def late(sent: Sent) -> None:
        delivered(loop)(sent)
        loop.logged("late")

    loop.sink.on_event = late
    result = loop.run("feedback", "late", "C", "--wait", "60")
    assert (result.exit_code, result.stdout.startswith("✓ counted: C was right")) == (0, True), result.output


def test_feedback_without_a_database_says_that_nothing_is_known(loop: Loop) -> None:
    result = loop.run("feedback", "x", "A", MCQA_DATABASE_URL=None)
    assert result.exit_code == 0
    assert "the result cannot be seen from here: set MCQA_DATABASE_URL" in result.stderr


def test_feedback_that_the_broker_refuses_is_an_error(loop: Loop) -> None:
    loop.sink.status = 503
    result = loop.run("feedback", "x", "A")
    assert (result.exit_code, "the broker answered 503" in result.stderr) == (1, True)


# pipeline run


def retrained(loop: Loop, **values: Any) -> Callable[[Sent], None]:
    """The retrain function: it notes the request, and decides as `values` say."""

    def note(sent: Sent) -> None:
        assert sent.attributes["type"] == RETRAINING_REQUESTED
        source, id = sent.attributes["source"], sent.attributes["id"]
        at = Event(id, source, "t", sent.attributes["time"])
        asked = read_request(sent.data, MODEL, event_times(at, time.time()).at, f"{source} {id}")
        with transaction(loop.database) as connection:
            runs.insert_waiting(connection, asked, InitiatedBy.OPERATOR, source, id, "", time.time())
            row = runs.find(connection, asked.key)
            assert row is not None
            if values:
                runs.update_unchanged(connection, row, time.time(), **values)

    return note


@pytest.mark.parametrize(
    ("values", "code", "says"),
    [
        ({"state": "queued", "run_id": "r-1"}, 0, "is queued, run r-1"),
        ({"state": "running", "run_id": "r-1"}, 0, "is running, run r-1"),
        ({"state": "void", "error": "3 answers got feedback"}, 1, "is not started: 3 answers got feedback"),
        ({"state": "failed", "error": "no such pipeline"}, 1, "failed: no such pipeline"),
        ({}, 0, "is accepted and waits"),
    ],
)
def test_a_run_that_is_asked_for_says_what_becomes_of_it(
    values: dict[str, Any], code: int, says: str, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_run, "SETTLED_SECONDS", 0.1)
    loop.sink.on_event = retrained(loop, **values)
    result = loop.run("pipeline", "run", "--reason", "new subject", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert (result.exit_code, says in result.output) == (code, True), result.output


def test_a_run_that_nobody_answers_is_told_as_waiting(loop: Loop) -> None:
    result = loop.run("pipeline", "run", "--reason", "new subject", "--wait", "0.3")
    assert (result.exit_code, "the retrain function has not answered yet" in result.stderr) == (1, True), result.output


def test_the_same_period_asked_for_again_is_said_to_be_known(loop: Loop) -> None:
    loop.sink.on_event = retrained(loop, state="queued", run_id="r-1")
    assert loop.run("pipeline", "run", "--reason", "weekly").exit_code == 0
    second = loop.run("pipeline", "run", "--reason", "weekly")
    assert (second.exit_code, "already requested with this reason" in second.stderr) == (0, True), second.output


# dead letters


def keep(loop: Loop, id: str, type: str = FEEDBACK, data: bytes = b"{", reason: str = "the data is not JSON") -> str:
    """As the function dead-letters keeps it; its name."""
    errors = {
        "knativeerrordest": "http://collect.ns.svc.cluster.local",
        "knativeerrorcode": "400",
        "knativeerrordata": base64.b64encode(reason.encode()).decode(),
    }
    result = dead_letter(Event(id, "/test", type, extensions={**errors, "traceparent": "00-x"}, data=data))
    with transaction(loop.database) as connection:
        letters.record(connection, result, time.time())
    return result.key[:12]


def states(loop: Loop) -> dict[str, str]:
    with transaction(loop.database) as connection:
        return {row.id: row.state for row in letters.letters(connection, None)}


def logged_as_decided(loop: Loop) -> list[tuple[str, int, str]]:
    """What the decision log has of dead letters, the oldest first: the code, of how many, who."""
    with transaction(loop.database) as connection:
        rows = rollout_store.decisions(connection, MODEL, 100)
        assert rollout_store.last_decision(connection, MODEL) is None, "no rollout has decided anything"
    assert {(row["action_type"], row["initiated_by"]) for row in rows} <= {("dead-letters", "operator")}
    return [(row["reason_code"], row["reason_params"]["n"], row["reason_params"]["by"]) for row in reversed(rows)]


def test_dead_letters_are_listed_and_shown_from_the_database(loop: Loop) -> None:
    assert "no dead letters" in loop.run("dead-letters", "list").stderr
    name = keep(loop, "one")
    listed = loop.run("dead-letters", "list").stdout
    assert name in listed
    assert "collect: 400 the data is not JSON" in listed
    (line,) = loop.run("dead-letters", "list", "--json").stdout.splitlines()
    assert (json.loads(line)["name"], json.loads(line)["code"], json.loads(line)["state"]) == (name, 400, "open")
    shown = json.loads(loop.run("dead-letters", "show", name[:6]).stdout)
    assert (shown["event"]["id"], shown["event"]["data_base64"]) == ("one", "ew==")
    missing = loop.run("dead-letters", "show", "ffff")
    assert (missing.exit_code, "there is no dead letter 'ffff'" in missing.stderr) == (1, True)


def test_a_replay_sends_the_same_event_once_and_is_noted(loop: Loop) -> None:
    loop.logged("known")
    name = keep(loop, "one", data=b'{"answer_id": "known", "answer": "B"}')
    loop.sink.on_event = delivered(loop)
    first = loop.run("dead-letters", "replay", name, "--wait", "0")
    assert (first.exit_code, f"✓ {name} was sent again" in first.stdout) == (0, True), first.output
    (sent,) = loop.sink.events
    assert sent.key == ("/test", "one", FEEDBACK)
    assert sent.attributes["traceparent"] == "00-x"
    assert not [attribute for attribute in sent.attributes if attribute.startswith("knative")]
    assert states(loop) == {"one": "replayed"}
    second = loop.run("dead-letters", "replay", name)
    assert (second.exit_code, "was already replayed, and has not come back" in second.stdout) == (0, True)
    assert len(loop.sink.events) == 1
    assert loop.run("dead-letters", "replay", "--all").exit_code == 0
    assert logged_as_decided(loop) == [("dead-letters-replayed", 1, getpass.getuser())]


def test_what_is_refused_again_is_open_again_and_an_error(loop: Loop) -> None:
    name = keep(loop, "one")
    # It comes back before the replay is noted: the later note must not hide it.
    loop.sink.on_event = lambda sent: None
    data = b'{"answer_id": "", "answer": "B"}'
    name = keep(loop, "two", data=data)
    loop.sink.on_event = delivered(loop)
    result = loop.run("dead-letters", "replay", name, "--wait", "60")
    assert (result.exit_code, "1 of 1 came back" in result.stderr) == (1, True), result.output
    assert states(loop) == {"one": "open", "two": "open"}


def test_a_replay_that_cannot_be_sent_changes_nothing(loop: Loop) -> None:
    name = keep(loop, "one", data=b"{}")
    loop.sink.status = 503
    result = loop.run("dead-letters", "replay", name)
    assert (result.exit_code, f"{name} was not replayed" in result.stderr) == (1, True)
    assert states(loop) == {"one": "open"}


def test_discarding_is_noted_and_done_once(loop: Loop) -> None:
    names = [keep(loop, item) for item in ("one", "two", "three")]
    assert f"✓ {names[0]} is discarded" in loop.run("dead-letters", "discard", names[0], names[0]).stdout
    assert "was already discarded: nothing to discard" in loop.run("dead-letters", "discard", names[0]).stdout
    assert loop.run("dead-letters", "discard", "--all").exit_code == 0
    assert set(states(loop).values()) == {"discarded"}
    who = getpass.getuser()
    assert logged_as_decided(loop) == [("dead-letters-discarded", 1, who), ("dead-letters-discarded", 2, who)]
    assert loop.run("dead-letters", "list", "--json").stdout == ""
    assert len(loop.run("dead-letters", "list", "--all", "--json").stdout.splitlines()) == 3
    keep(loop, "one")  # it arrives again: somebody has to look at it again
    assert states(loop)["one"] == "open"


@pytest.mark.parametrize("verb", ["replay", "discard"])
@pytest.mark.parametrize("words", [[], ["x", "--all"]])
def test_what_to_do_it_with_must_be_said(verb: str, words: list[str], loop: Loop) -> None:
    result = loop.run("dead-letters", verb, *words)
    assert (result.exit_code, "give names, or --all" in result.stderr) == (2, True)
