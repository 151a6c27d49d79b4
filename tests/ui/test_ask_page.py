"""The page Ask by its branches: what is filled in, what is asked, what is shown of answers and of failures."""

from __future__ import annotations

from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import pytest
from ask_model import HOSTILE, Model, Show, ask, click, field_key, type_in
from loop_parts import sink

from common.event_types import FEEDBACK, SOURCE_UI
from functions.database import engine
from functions.migrate import migrate
from mcqa.readmodels import evaluations
from ui.ask import exchange as exchanges
from ui.pages import ask as ask_page


def test_an_answer_shows_what_gave_it(show_page: Show, model: Model) -> None:
    page = show_page("ask", {"MCQA_URL": model.url})
    ask(page, "1", HOSTILE, "3", stem=HOSTILE, code="print(1)")
    (asked,) = model.asked
    assert asked == {"instances": [{"question": HOSTILE, "choices": ["1", HOSTILE, "3"], "code": "print(1)"}]}
    assert [heading.value for heading in page.app.header][1] == "The model answers B"
    (rows,) = page.tables.values()
    assert rows == [["A", "1", "5.0%"], ["B chosen", HOSTILE, "90.0%"], ["C", "3", "5.0%"]]
    figures = page.details
    assert (figures["Letter mass"], figures["Version"]) == ("98.0%", "7")
    assert figures["Role"] == "not known: no rollout has looked at it"
    trace = figures["Trace"]
    assert {"k": "link", "text": trace, "href": f"/events?trace={trace}"} in [
        value for node in page.nodes("dl") for _, value in node["items"]
    ]
    assert "No broker takes right answers here" in page.paragraphs[-1]
    assert HOSTILE not in [block.value for block in (*page.app.markdown, *page.app.caption)]


def measured(*bins: tuple[float, float, int, float]) -> Any:
    shown = [{"low": b[0], "high": b[1], "count": b[2], "confidence": b[1], "accuracy": b[3]} for b in bins]
    return {"source": "folder", "mixes": [{"mix": "bank", "bins": shown}]}


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (measured((0.8, 0.9, 0, 1.0), (0.9, 1.0, 200, 0.99)), []),
        (measured((0.8, 0.9, 49, 0.8)), []),
        (measured((0.8, 0.9, 120, 0.8)), ["were right about 80% of the time, in 120 questions of version 7's"]),
        (None, []),
    ],
)
def test_what_a_confidence_is_worth_is_said_where_it_was_measured(
    show_page: Show, model: Model, monkeypatch: pytest.MonkeyPatch, found: Any, says: list[str]
) -> None:
    monkeypatch.setattr(evaluations, "read", lambda environ, version: found if version == "7" else None)
    page = show_page("ask", {"MCQA_URL": model.url})
    ask(page)
    told = [text for text in page.paragraphs if text.startswith("Answers this sure")]
    assert [part in text for part, text in zip(says, told, strict=True)] == [True] * len(says)
    assert "The model is 90.0% sure. Version 7 answered." in page.paragraphs


def test_an_answer_to_what_was_changed_since_says_so(show_page: Show, model: Model) -> None:
    page = show_page("ask", {"MCQA_URL": model.url})
    ask(page)
    assert not page.notices
    page.app.text_area(field_key(page, "choice 1 1")).set_value("3")
    page.app.run()
    assert page.notices[0] == ("info", "This answers the question as you asked it; the fields have changed since.")


def test_nothing_is_promised_of_a_question_of_another_kind(
    show_page: Show, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluations, "read", lambda *_: measured((0.8, 0.9, 120, 0.8)))
    model.card = CARD
    page = show_page("ask", {"MCQA_URL": model.url})
    ask(page, stem="Who wrote Faust?")
    assert not any(text.startswith("Answers this sure") for text in page.paragraphs)


def test_where_many_look_nothing_is_promised(show_page: Show, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluations, "read", lambda *_: measured((0.8, 0.9, 120, 0.8)))
    monkeypatch.setattr(exchanges, "_looking", (looking := BoundedSemaphore(1)))
    looking.acquire()
    page = show_page("ask", {"MCQA_URL": model.url})
    ask(page)
    assert not any(text.startswith("Answers this sure") for text in page.paragraphs)
    looking.release()
    for _ in range(2):  # whoever has looked makes room
        ask(page)
        assert any(text.startswith("Answers this sure") for text in page.paragraphs)


def test_one_viewer_does_not_hold_the_page_against_others(
    show_page: Show, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanges, "MOST_OF_ONE", 1)
    mine = show_page("ask", {"MCQA_URL": model.url})
    ask(mine)
    monkeypatch.setattr(exchanges, "PATIENCE", 0.05)
    monkeypatch.setattr(exchanges, "EXPLANATION_PATIENCE", 0.05)
    model.awake.clear()
    click(mine, "ask why")
    ask(mine, stem="And 2 + 2?")
    assert "two of your requests are still on their way" in mine.notices[0][1]
    monkeypatch.setattr(exchanges, "MOST", 2)
    ask(other := show_page("ask", {"MCQA_URL": model.url}))
    assert any(text.startswith("Asking… ") for text in other.paragraphs)
    ask(late := show_page("ask", {"MCQA_URL": model.url}), stem="Mine?")
    assert "too many people wait for answers" in late.notices[0][1]
    assert late.app.text_area(field_key(late, "stem")).value == "Mine?"
    model.awake.set()
    other.app.session_state["ask exchange"].answer.wait(20.0)
    monkeypatch.setattr(exchanges, "PATIENCE", 20.0)
    click(late, "ask now")
    assert "The model answers B" in [heading.value for heading in late.app.header]


def test_the_requests_to_copy_name_the_public_address(show_page: Show, model: Model) -> None:
    page = show_page("ask", {"MCQA_URL": model.url, "MCQA_PUBLIC_URL": "https://mcqa.example"})
    ask(page)
    curl, python = [block.value for block in page.app.code][-2:]
    assert curl.startswith("curl https://mcqa.example/v1/models/coding-mcqa:predict")
    assert '"https://mcqa.example/v1/models/coding-mcqa:predict"' in python


@pytest.mark.parametrize(
    ("status", "error", "headers", "says"),
    [
        (503, "the queue is full", {"retry-after": "7"}, "has no room for this question now"),
        (504, "too slow", {}, "took too long; the question was cancelled"),
        (400, HOSTILE, {}, "The model refuses this question"),
        (404, "no model", {}, "does not serve the model"),
        (500, "internal error", {}, "failed with status 500"),
    ],
)
def test_an_error_is_a_sentence_and_nothing_is_lost(
    show_page: Show, model: Model, status: int, error: str, headers: dict[str, str], says: str
) -> None:
    model.status, model.error, model.headers = status, error, headers
    page = show_page("ask", {"MCQA_URL": model.url})
    ask(page, "one", "two", stem="Mine?")
    ((kind, notice),) = page.notices
    assert (kind, says in notice, error in notice) == ("error", True, True)
    assert ("Try again in 7 s." in notice) is bool(headers)
    assert page.app.text_area(field_key(page, "stem")).value == "Mine?"
    assert page.app.text_area(field_key(page, "choice 1 1")).value == "two"
    model.status = 200
    click(page, "ask now")
    assert page.notices == []


def test_a_sleeping_model_is_said_to_wake_up(show_page: Show, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "PATIENCE", 0.05)
    monkeypatch.setattr(ask_page, "WAKING_SECONDS", 0.0)
    model.awake.clear()
    page = show_page("ask", {"MCQA_URL": model.url})
    ask(page)
    assert any(text.startswith("Asking… ") for text in page.paragraphs)
    assert [kind for kind, text in page.notices if "it is waking up now" in text] == ["info"]
    model.awake.set()
    exchange = page.app.session_state["ask exchange"]
    exchange.answer.wait(20.0)
    page.app.run()
    assert "The model answers B" in [heading.value for heading in page.app.header]


def test_nobody_at_the_address_and_no_address(show_page: Show, processes: None) -> None:
    page = show_page("ask", {"MCQA_URL": "http://127.0.0.1:9"})
    ask(page)
    assert "Nothing answers at http://127.0.0.1:9" in page.notices[0][1]
    page = show_page("ask", {"MCQA_URL": "", "MCQA_LOCAL_DIR": ""})
    ask(page)
    assert "No setting says where the model answers" in page.notices[0][1]


@pytest.mark.parametrize(
    ("stem", "choices", "says"),
    [
        ("", ("1", "2"), "The question is empty."),
        ("x", ("1",), "A question needs at least two choices."),
        ("x", ("1", "", "3"), "Choice B is empty: fill it in or remove it."),
        ("x", ("1", "2", " 1"), "Two choices are the same text: A, C."),
    ],
)
def test_what_cannot_be_asked(show_page: Show, stem: str, choices: tuple[str, ...], says: str) -> None:
    page = show_page("ask")
    type_in(page, stem, *choices)
    click(page, "ask now")
    ((kind, notice),) = page.notices
    assert (kind, notice.startswith(says)) == ("error", True)


CARD = {
    "schema": 1, "title": "tiny demonstration model", "subjects": ["lists", HOSTILE], "stems": ["What is 1 + 1?"],
    "accuracy": {"value": 0.69, "low": 0.674, "high": 0.703, "questions": 4000},
}  # fmt: skip


def test_a_demonstration_model_says_so_and_what_it_knows(show_page: Show, model: Model) -> None:
    model.card = CARD
    page = show_page("ask", {"MCQA_URL": model.url})
    ask(page)
    assert page.notices == [
        ("info", "This is a tiny demonstration model, not a model for real questions. It learned 2 subjects. "
         "On those it is right about 69% of the time (67.4% to 70.3%).")
    ]  # fmt: skip
    ask(page, stem="Who wrote Faust?")
    assert page.notices[0][0] == "warning"
    assert page.notices[0][1].endswith("This question is outside of them: expect a guess.")
    assert f"Subjects that it learned: lists, {HOSTILE}." in page.paragraphs


def test_letters_that_the_model_did_not_want(show_page: Show, model: Model) -> None:
    model.mass = 0.0004
    page = show_page("ask", {"MCQA_URL": model.url})
    ask(page)
    ((kind, notice),) = page.notices
    assert (kind, "only < 0.05% of the probability" in notice) == ("warning", True)


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/loop.db"
    migrate(made := engine(url))
    made.dispose()
    return url


def test_a_right_answer_is_sent_once(show_page: Show, model: Model, database: str) -> None:
    with sink() as broker:
        page = show_page("ask", {"MCQA_URL": model.url, "K_SINK": broker.url, "MCQA_DATABASE_URL": database})
        ask(page)
        answer_id = page.details["Trace"]
        page.app.selectbox(
            next(str(box.key) for box in page.app.selectbox if "right letter" in str(box.key))
        ).set_value("A").run()
        click(page, "ask right send")
        (sent,) = broker.events
        assert (sent.attributes["source"], sent.attributes["type"]) == (SOURCE_UI, FEEDBACK)
        assert (sent.data["answer"], sent.data["answer_id"].replace("-", "")) == ("A", answer_id)
        assert "waiting until the loop has counted it" in page.paragraphs[-1]
        assert not [button for button in page.app.button if "right" in str(button.key)]


def test_what_came_of_it_is_not_known_without_a_database(show_page: Show, model: Model) -> None:
    with sink() as broker:
        page = show_page("ask", {"MCQA_URL": model.url, "K_SINK": broker.url, "MCQA_DATABASE_URL": ""})
        ask(page)
        click(page, "ask right yes")
    assert page.notices == [("success", "Sent that B was right. What became of it cannot be seen from here.")]


def test_a_right_answer_that_is_not_taken_can_be_sent_again(show_page: Show, model: Model) -> None:
    with sink() as broker:
        broker.status = 503
        page = show_page("ask", {"MCQA_URL": model.url, "K_SINK": broker.url, "MCQA_DATABASE_URL": ""})
        ask(page)
        click(page, "ask right yes")
        assert page.notices == [("error", "It was not sent: the broker answered 503:")]
        broker.status = 202
        click(page, "ask right yes")
    assert len(broker.events) == 1


def test_an_example_names_its_subject_and_its_right_answer(show_page: Show, model: Model) -> None:
    with sink() as broker:
        page = show_page("ask", {"MCQA_URL": model.url, "K_SINK": broker.url})
        page.app.selectbox(field_key(page, "subject")).set_value("slicing")
        click(page, "ask example")
        click(page, "ask now")
        assert model.asked[-1]["instances"][0]["subject"] == "slicing"
        known = [text for text in page.paragraphs if "is right, according to" in text]
        assert len(known) == 1
        # Changed, it is somebody's own question.
        page.app.text_area(field_key(page, "stem")).set_value("Mine?")
        click(page, "ask now")
    assert "subject" not in model.asked[-1]["instances"][0]
    assert not [text for text in page.paragraphs if "is right, according to" in text]


def test_a_pasted_question_fills_the_fields(show_page: Show) -> None:
    page = show_page("ask")
    text = "Q: What is 1 + 1?\n```js\n1 + 1\n```\nA) 1\nB) 2\nC) 3"
    page.app.text_area(field_key(page, "pasted")).set_value(text)
    click(page, "ask fill")
    assert page.notices == [("success", "Filled in below, with 3 choices. Look it over, then ask.")]
    fields = {
        name: page.app.text_area(field_key(page, name)).value for name in ("stem", "code", "choice 2 2", "pasted")
    }
    assert fields == {"stem": "What is 1 + 1?", "code": "1 + 1", "choice 2 2": "3", "pasted": text}
    assert page.app.selectbox(field_key(page, "language")).value == "javascript"


def test_a_text_that_is_no_question_says_why_and_stays(show_page: Show) -> None:
    page = show_page("ask")
    page.app.text_area(field_key(page, "pasted")).set_value('{"question": ')
    click(page, "ask fill")
    assert page.notices[0][1].startswith("This begins like JSON, but is not:")
    assert page.app.text_area(field_key(page, "pasted")).value == '{"question": '


def test_choices_are_added_and_removed_between_two_and_ten(show_page: Show) -> None:
    page = show_page("ask")
    type_in(page, "x", "a", "b", "c", "d")
    click(page, "ask remove 1 1")
    letters = [area.label for area in page.app.text_area if area.label.startswith("Choice")]
    values = [area.value for area in page.app.text_area if area.label.startswith("Choice")]
    assert (letters, values) == (["Choice A", "Choice B", "Choice C"], ["a", "c", "d"])
    for _ in range(7):
        click(page, "ask add")
    assert page.app.button("ask add").disabled
    assert len([area for area in page.app.text_area if area.label.startswith("Choice")]) == 10
    click(page, "ask clear")
    assert [area.value for area in page.app.text_area] == [""] * 7


def test_another_language_keeps_what_was_typed(show_page: Show, model: Model) -> None:
    page = show_page("ask", {"MCQA_URL": model.url})
    ask(page)
    page.app.session_state["language"] = "vi"
    page.app.run()
    assert page.app.text_area(field_key(page, "stem")).value == "What is 1 + 1?"
    assert [heading.value for heading in page.app.header][1] == "Mô hình trả lời B"
