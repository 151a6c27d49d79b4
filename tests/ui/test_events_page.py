"""The page Events by its branches, with a real broker and a real Kubernetes API."""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loop_parts import sink
from shown_page import ShownPage
from small_loop import SmallLoop, small_loop

from common.event_types import FEEDBACK, PING
from functions.database import engine, transaction
from functions.dead_letters import store as letters
from functions.dead_letters.parsing import DeadLetter, dead_letter_key
from mcqa import dead_letter_actions
from mcqa.readmodels import rollout_history
from ui import facts
from ui.events import data as event_data
from ui.events import letters as letters_view
from ui.events import search

pytestmark = pytest.mark.usefixtures("processes")

TRACE = "0af7651916cd43dd8448eb211c80319c"
SHORT = TRACE[:8]
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
HOSTILE = "**bold** <img src=x onerror=alert(1)>"

Show = Callable[..., ShownPage]


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLoop]:
    folder = tmp_path_factory.mktemp("loop")
    with small_loop(folder / "loop") as running, running.serve_triggers(), sink() as taking, sink() as refusing:
        refusing.status = 422
        running.apply("Trigger", "all", {"broker": "default", "subscriber": {"uri": taking.url}})
        picky = {"broker": "default", "subscriber": {"uri": refusing.url}, "filters": [{"exact": {"type": "refused"}}]}
        running.apply("Trigger", "picky", picky)
        running.send(str(uuid.UUID(TRACE)), "asked", {"question": f"Where is the needle? {HOSTILE}"})
        running.send("2", "refused", {"half": "\ud83d"}, traceparent=PARENT)
        running.send("3", "other")
        running.send("tick", PING)
        running.settle()
        yield running


def table(page: ShownPage, caption: str) -> list[list[str]]:
    rows: list[list[str]] = page.tables[caption]
    return rows


FOUND = "Events, the newest first"


def test_events_are_listed_and_searched(show_page: Show, loop: SmallLoop) -> None:
    page = show_page("events", loop.environ)
    rows = table(page, FOUND)
    assert [row[0] for row in rows] == ["3", "2", "1"]  # without the timers'
    assert (rows[0][2:], rows[1][2:4], rows[1][4], rows[2][4]) == (
        ["other", "/test", "—"],
        ["refused", "/test"],
        TRACE[:8],
        TRACE[:8],
    )
    page = show_page("events", loop.environ, text="NEEDLE")
    assert [row[0] for row in table(page, FOUND)] == ["1"]
    page = show_page("events", loop.environ, type="other")
    assert [row[0] for row in table(page, FOUND)] == ["3"]
    page = show_page("events", loop.environ, before="3", type="asked")
    assert [row[0] for row in table(page, FOUND)] == ["1"]
    assert "No such events." in show_page("events", loop.environ, text="absent").paragraphs


def test_the_events_of_timers_are_shown_to_who_wants_them(show_page: Show, loop: SmallLoop) -> None:
    page = show_page("events", loop.environ)
    page.app.checkbox("events en ticks").check().run()
    assert [row[0] for row in table(page, FOUND)] == ["4", "3", "2", "1"]
    assert page.app.query_params["ticks"] in ("1", ["1"])
    assert [row[0] for row in table(show_page("events", loop.environ, ticks="1"), FOUND)] == ["4", "3", "2", "1"]
    assert [row[0] for row in table(show_page("events", loop.environ, type=PING), FOUND)] == ["4"]


def test_older_events_are_a_link_away(show_page: Show, loop: SmallLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "LIMIT", 1)
    page = show_page("events", loop.environ, type="asked", text="a & b?")
    assert not [node for node in page.nodes("p") if "before=" in str(node)]
    page = show_page("events", loop.environ, type="asked", text="needle?")
    (link,) = [part for node in page.nodes("p") for part in node["parts"] if "before=" in str(part)]
    assert link["href"] == "/events?type=asked&text=needle%3F&before=1"


def test_a_search_is_in_the_address(show_page: Show, loop: SmallLoop) -> None:
    page = show_page("events", loop.environ)
    page.app.text_input[0].set_value(" needle & more ")
    page.app.button[0].click()
    page.app.run()
    assert page.app.query_params["text"] == "needle & more"
    page.app.text_input[1].set_value(TRACE)
    page.app.button[0].click()
    page.app.run()
    assert page.app.query_params["trace"] == TRACE
    assert "One trace, from its beginning" in [heading.value for heading in page.app.header]


def test_one_event_with_its_way(show_page: Show, loop: SmallLoop) -> None:
    page = show_page("events", loop.environ, event="2")
    way = {row[0]: row for row in table(page, "Its way through the Triggers")}
    assert way["all"][1:4] == ["delivered", "1", "202"]
    assert way["picky"][1:4] == ["refused, kept by the broker", "1", "422"]
    assert "the broker keeps it as a dead letter." in way["picky"][5]
    assert page.details["Id"] == "2"
    assert page.app.code[0].value == '{\n  "half": "?"\n}'
    attributes = {row[0]: row[1] for row in table(page, "All attributes")}
    assert attributes["traceparent"] == PARENT
    assert HOSTILE in show_page("events", loop.environ, event="1").app.code[0].value


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        ({"data": {"a": "é" * 9}}, event_data.ShownData('{\n  "a": ', 18, cut=True)),
        ({"data": [[[0]]]}, event_data.ShownData("[\n  [\n   ", 7, cut=True)),
        ({"data": [1]}, event_data.ShownData("[\n  1\n]", 7)),
        ({"data": "short"}, event_data.ShownData("short", 5)),
        ({"data": None}, event_data.ShownData("null", 4)),
        ({"data_base64": "AP/+"}, event_data.ShownData(None, 3)),
        ({"data_base64": "w6nDqcOpw6nDqcOpw6nDqcOpw6nDqcOp"}, event_data.ShownData("é" * 9, 12, cut=True)),
        ({}, None),
    ],
)
def test_no_more_of_an_event_is_kept_than_is_shown(
    data: dict[str, Any], kept: event_data.ShownData | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_data, "MAX_DATA", 9)
    stored = event_data.with_shown_data({"seq": 1, "event": {"id": "7", "subject": "s" * 20, **data}})
    assert stored == {"seq": 1, "event": {"id": "7", "subject": "s" * 9}, "data": kept}


def test_a_large_event_is_cut_and_says_so(
    show_page: Show, loop: SmallLoop, letter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_data, "MAX_DATA", 5)
    for query in ({"event": "1"}, {"letter": letter}):
        page = show_page("events", loop.environ, **query)
        assert len(page.app.code[0].value) == 5
        assert [text for text in page.paragraphs if text.startswith("Only the beginning is shown, of ")]


def test_an_event_that_is_not_there(show_page: Show, loop: SmallLoop) -> None:
    assert show_page("events", loop.environ, event="999").notices[0][1].startswith("There is no event 999")


def test_a_trace_has_its_events_in_their_order(show_page: Show, loop: SmallLoop) -> None:
    for form in (TRACE, PARENT, str(uuid.UUID(TRACE))):
        page = show_page("events", loop.environ, trace=form)
        assert [row[0] for row in table(page, "Its events, in the order of their arrival")] == ["1", "2"]
    ((kind, notice),) = show_page("events", loop.environ, trace=HOSTILE).notices
    assert (kind, HOSTILE in notice) == ("error", True)


def test_who_gets_what_is_drawn_and_in_a_table(show_page: Show, loop: SmallLoop) -> None:
    page = show_page("events", loop.environ, view="flow")
    rows = {row[0]: row for row in table(page, "Who sends events of which type, and which function gets them")}
    assert rows[FEEDBACK][1:] == ["the right answer of a question", "clients, cli, ui, demo", "collect"]
    assert rows["dev.cdeventsx.mcqa-drift.detected"][3] == "notify, retrain"
    assert rows["dev.cdeventsx.mcqa-drift.checked"][3] == "nobody"
    assert "drift (some of them)" in rows["dev.knative.sources.ping"][3]


def test_a_cluster_has_no_history_and_says_so(show_page: Show, loop: SmallLoop) -> None:
    page = show_page("events", {**loop.environ, "MCQA_LOCAL_DIR": ""})
    assert page.notices[0] == ("info", "A cluster's broker keeps no history of its events.")
    facts.forget()
    page = show_page("events", {**loop.environ, "MCQA_LOCAL_DIR": "", "KUBECONFIG": "/nowhere"}, view="flow")
    assert any("The Triggers cannot be read" in text for _, text in page.notices)


def test_a_loop_that_is_down_and_a_database_that_is_gone(show_page: Show, tmp_path: Path, loop: SmallLoop) -> None:
    environ = {**loop.environ, "MCQA_LOCAL_DIR": str(tmp_path), "MCQA_DATABASE_URL": f"sqlite:///{tmp_path}/none/x.db"}
    page = show_page("events", environ)
    assert page.notices[0][1].startswith("The loop is not running, so its broker cannot be asked.")
    assert [text.startswith("The loop's database cannot be read now") for _, text in page.notices].count(True) == 1


@pytest.fixture
def letter(loop: SmallLoop) -> str:
    """A dead letter in the database, as the function dead-letters stores it."""
    attributes = {"id": "7", "source": "/test", "type": FEEDBACK, "traceparent": PARENT}
    key = dead_letter_key("/test", "7", FEEDBACK, "http://collect.coding-mcqa.svc/")
    stored = DeadLetter(
        key, "/test", "7", FEEDBACK, "http://collect.coding-mcqa.svc/", 400, HOSTILE, attributes, b'{"a": 1}'
    )
    made = engine(loop.environ["MCQA_DATABASE_URL"])
    with transaction(made) as connection:
        letters.record(connection, stored, 1_790_000_000.0)
        letters.mark(connection, key, "open")
    made.dispose()
    return key[:12]


def state(loop: SmallLoop, name: str) -> Any:
    made = engine(loop.environ["MCQA_DATABASE_URL"])
    found = dead_letter_actions.transact(made, lambda connection: letters.find(connection, name))
    made.dispose()
    return found and found.state


def press(page: ShownPage, *keys: str) -> None:
    for key in keys:
        page.app.button(key).click()
        page.app.run()
        assert not page.app.exception, page.app.exception


def test_dead_letters_are_listed_with_their_reason(show_page: Show, loop: SmallLoop, letter: str) -> None:
    rows = {row[0]: row for row in table(show_page("events", loop.environ, view="letters"), LETTERS)}
    assert rows[letter][3:] == ["open", FEEDBACK, "collect", f"400 {HOSTILE}"]
    assert rows["2-2"][3:6] == ["open", "refused", "picky"] or rows["2-2"][4] == "refused"


def noted(loop: SmallLoop) -> tuple[str, str, Any]:
    """The newest line of the decision log: why, who, and the letters."""
    (row, *_) = rollout_history.log(loop.environ, None, 1)["decisions"]
    assert row["reason_params"] is not None
    return row["reason_code"], str(row["by"]), row["reason_params"]["letters"]


LETTERS = "Events that a function could not use, the newest first"
ACTIONS = {"MCQA_UI_ACTIONS": "true", "MCQA_UI_LOGIN": "none"}


def test_nothing_is_sent_unless_changes_are_on(show_page: Show, loop: SmallLoop, letter: str) -> None:
    page = show_page("events", {**loop.environ, "MCQA_UI_ACTIONS": ""}, letter=letter)
    assert page.app.button(f"letter replay {letter} button").disabled
    assert any("Changes from this page are off" in text for _, text in page.notices)


def test_a_dead_letter_is_sent_again_after_a_question(
    show_page: Show, loop: SmallLoop, letter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters_view, "SETTLE_SECONDS", 0.0)
    page = show_page("events", {**loop.environ, **ACTIONS}, letter=letter)
    assert page.details["Reason"] == HOSTILE
    press(page, f"letter replay {letter} button")
    assert any("for every Trigger that wants such events" in text for text in page.paragraphs)
    assert state(loop, letter) == "open"
    press(page, f"letter replay {letter} confirm")
    assert ("success", "Sent again; nobody has refused it so far.") in page.notices
    assert state(loop, letter) == "replayed"
    assert noted(loop) == ("dead-letters-replayed", f"{getpass.getuser()} (page)", [letter])
    assert page.app.button(f"letter replay {letter} button").disabled


def test_a_dead_letter_is_discarded(show_page: Show, loop: SmallLoop, letter: str) -> None:
    page = show_page("events", {**loop.environ, **ACTIONS}, letter=letter)
    press(page, f"letter discard {letter} button", f"letter discard {letter} confirm")
    assert ("success", "Discarded.") in page.notices
    assert state(loop, letter) == "discarded"
    assert noted(loop) == ("dead-letters-discarded", f"{getpass.getuser()} (page)", [letter])
    rollout = show_page("rollout", loop.environ)
    (_, _, what, why, who) = next(iter(table(rollout, "Decisions, the newest first")))
    assert what == "an operator sees to dead letters"
    assert why.startswith(f"the operator gives dead letters up: 1: {getpass.getuser()} (page); {letter} (")
    assert "(page)" in who


def test_all_are_sent_again(show_page: Show, loop: SmallLoop, letter: str) -> None:
    page = show_page("events", {**loop.environ, **ACTIONS}, view="letters")
    press(page, "letters replay all button")
    assert any("2 events are sent to the broker again" in text for text in page.paragraphs)
    press(page, "letters replay all confirm")
    assert state(loop, letter) == "replayed"


def test_what_the_broker_keeps_is_tried_again(show_page: Show, loop: SmallLoop) -> None:
    loop.settle()
    page = show_page("events", {**loop.environ, **ACTIONS}, letter="2-2")
    assert page.details["Status"] == "422"
    press(page, "letter replay 2-2 button", "letter replay 2-2 confirm")
    assert ("success", "The broker tries it again.") in page.notices
    assert noted(loop) == ("dead-letters-replayed", f"{getpass.getuser()} (page)", ["2-2"])


def test_a_dead_letter_that_is_gone(show_page: Show, loop: SmallLoop) -> None:
    for name in ("ffffffffffff", "99-1"):
        assert show_page("events", loop.environ, letter=name).notices[0][1].startswith("There is no dead letter")
