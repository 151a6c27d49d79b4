"""Numbers in a page's address that are none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from shown_page import ShownPage

from ui import query

Show = Callable[..., ShownPage]
NOTHING = {
    "MCQA_DATABASE_URL": "sqlite:////proc/nowhere/loop.db",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    "K_SINK": "http://127.0.0.1:9",
}


@pytest.mark.parametrize("given", ["x", "-1", "0", "12.5", "1e3", " 7", "٣", "9" * 10, "1'; drop", "None"])
def test_what_is_no_number(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlit.query_params", {"check": given})
    found = query.number("check")
    assert (found.value, found.is_strange) == (None, True)


@pytest.mark.parametrize(("given", "value"), [("7", 7), ("007", 7), ("9" * 9, 999_999_999), ("", None), ("open", None)])
def test_what_is_one_or_nothing(given: str, value: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlit.query_params", {"check": given})
    found = query.number("check", words=("open",))
    assert (found.value, found.is_strange) == (value, False)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("page", "name", "given"),
    [
        ("versions", "version", "zzz"),
        ("versions", "against", "<b>"),
        ("events", "event", "abc"),
        ("drift", "check", "-1"),
    ],
)
def test_each_page_says_so(page: str, name: str, given: str, show_page: Show) -> None:
    shown = show_page(page, NOTHING, **{name: given})
    assert [text for kind, text in shown.notices if kind == "warning" and f"names {name} {given}," in text]
