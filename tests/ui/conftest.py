"""The page in tests: its branches by Streamlit's AppTest, and itself in Debian's Chromium."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ask_model import Model, model_server
from shown_page import ShownPage, browser_context, running_chromium, show, ui_server

from ui import facts
from ui.ask import exchange as exchanges

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Show = Callable[..., ShownPage]


@pytest.fixture(autouse=True)
def _facts_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of another's; and AppTest, which does not look again by itself, waits for a part on a busy machine."""
    facts.forget()
    monkeypatch.setattr(facts, "PATIENCE", 30.0)


@pytest.fixture
def show_page(monkeypatch: pytest.MonkeyPatch) -> Show:
    """`show_page("drift", {"MCQA_DATABASE_URL": …}, check="5")`: the page as rendered in that environment."""

    def run(name: str, environ: Mapping[str, str] = {}, **query: str) -> ShownPage:
        for variable, value in environ.items():
            monkeypatch.setenv(variable, value)
        return show(name, query)

    return run


@pytest.fixture
def model(processes: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    """AppTest runs no live part again: the page waits for this model's answers instead."""
    for patience in ("PATIENCE", "EXPLANATION_PATIENCE", "BESIDE"):
        monkeypatch.setattr(exchanges, patience, 20.0)
    with model_server() as made:
        yield made


@pytest.fixture(scope="module")
def chromium(processes: None) -> Iterator[Browser]:
    """One browser for a file's tests, and no longer: Playwright keeps an event loop running in the main thread."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def page_at(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """`page_at(address, width=390, dark=True)`: a page of a new context. The test fails where the browser's console
    had an error or a warning of Vega, or where anything was requested from elsewhere than loopback.
    """
    with browser_context(chromium) as opened:
        yield opened


@pytest.fixture
def page_server(tmp_path: Path, processes: None) -> Iterator[Callable[[Mapping[str, str]], str]]:
    """`page_server({"MCQA_DATABASE_URL": …})` starts `python -m ui` in that environment and returns its address."""
    with ui_server(tmp_path, dict(os.environ)) as start:
        yield start
