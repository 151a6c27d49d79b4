"""The explanation on the page Ask by its branches: while it is written, stopped, broken off, of another version."""

from __future__ import annotations

import pytest
from ask_model import HOSTILE, Model, Show, ask, click, until
from shown_page import ShownPage

from ui.ask import exchange as exchanges


def test_an_explanation_is_asked_for_as_a_test(show_page: Show, model: Model) -> None:
    page = show_page("ask", {"MCQA_URL": model.url})
    ask(page)
    click(page, "ask why")
    tokens = exchanges.EXPLANATION_TOKENS
    assert model.asked[-1]["parameters"] == {"purpose": "test", "max_new_tokens": tokens, "stream": True}
    assert page.writings == [(f"Because.\n\n{HOSTILE}", "The explanation is written.")]
    assert HOSTILE not in [block.value for block in (*page.app.markdown, *page.app.caption)]
    assert [
        text
        for text in page.paragraphs
        if text.endswith("It argues for the answer; it is not how the answer came about.")
    ]
    assert [text for _, text in page.notices] == [
        "It was cut at the longest length.",
        "It was written by version 8, which answers B: another one than gave the answer, as happens while a "
        "canary runs and after a promotion.",
    ]


def begun(show_page: Show, model: Model) -> tuple[ShownPage, exchanges.Explanation]:
    """An explanation whose end is not there yet."""
    model.more.clear()
    page = show_page("ask", {"MCQA_URL": model.url})
    ask(page)
    click(page, "ask why")
    return page, page.app.session_state["ask exchange"].explanation


def test_an_explanation_is_shown_while_it_is_written_and_can_be_stopped(
    show_page: Show, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanges, "EXPLANATION_PATIENCE", 0.0)
    page, explanation = begun(show_page, model)
    until(lambda: explanation.text.endswith(HOSTILE))
    page.app.run()
    assert page.writings == [(f"Because.\n\n{HOSTILE}", "")], "nothing is said yet"
    assert any(text.startswith("The model is writing, for ") for text in page.paragraphs)
    click(page, "ask stop")
    assert page.writings == [(f"Because.\n\n{HOSTILE}", "The explanation was stopped.")]
    assert [text for _, text in page.notices] == ["It was stopped."]
    model.more.set()
    click(page, "ask why")  # another one
    page.app.session_state["ask exchange"].explanation.work.wait(20)
    page.app.run()
    assert page.writings[0][1] == "The explanation is written."


def test_explanations_leave_room_for_answers(show_page: Show, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "EXPLANATION_PATIENCE", 0.0)
    monkeypatch.setattr(exchanges, "MOST", 2)
    mine, other = (show_page("ask", {"MCQA_URL": model.url}) for _ in range(2))
    ask(mine)
    ask(other)
    model.more.clear()
    click(mine, "ask why")
    click(other, "ask why")
    assert any("too many people wait for answers" in text for _, text in other.notices)
    ask(other, stem="And 2 + 2?")
    assert "The model answers B" in [heading.value for heading in other.app.header]
    model.more.set()
    mine.app.session_state["ask exchange"].explanation.work.wait(20)
    click(other, "ask why")
    other.app.session_state["ask exchange"].explanation.work.wait(20)
    other.app.run()
    assert other.writings[0][1] == "The explanation is written."


def test_an_explanation_that_nobody_looks_at_is_stopped(
    show_page: Show, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanges, "UNSEEN_SECONDS", 0.0)
    _, explanation = begun(show_page, model)
    assert explanation.work.result is not None
    assert explanation.work.result.stopped
    model.more.set()


def test_an_explanation_that_breaks_off_keeps_its_text(show_page: Show, model: Model) -> None:
    model.breaks_off = True
    page = show_page("ask", {"MCQA_URL": model.url})
    ask(page)
    click(page, "ask why")
    assert page.writings == [(f"Because.\n\n{HOSTILE}", "The explanation broke off.")]
    ((kind, text),) = page.notices
    assert (kind, "the server could not go on: the server is stopping" in text) == ("error", True)
    assert page.app.button("ask why")
