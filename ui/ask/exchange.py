"""A question on its way and what came back: requests run in the background, and the page says what it waits for.

Threads, because Streamlit runs a page's script from top to bottom; they touch nothing of Streamlit's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Generic, TypeVar

import streamlit as st

from common.question import Question
from functions.collect.feedback import FeedbackOutcome
from mcqa import asking, right_answers
from mcqa.asking import Answered

T = TypeVar("T")

_STATE = "ask exchange"
PATIENCE = 0.8
"""Seconds for which the page waits before it says that it does: most answers take less."""
EXPLANATION_PATIENCE = 0.2
"""Only for explanations that are there at once: the others are shown while they are written."""
EXPLANATION_TOKENS = 256
UNSEEN_SECONDS = 15.0
"""Browsers let a page that is not in front run once a second."""
OUTCOME_SECONDS = 20.0
"""How long the page looks for the outcome of a right answer: a function that is scaled to zero takes some to start."""
_threads = ThreadPoolExecutor(32, "ask")


@dataclass(slots=True)
class Work(Generic[T]):
    """Something that runs in the background, since `started` in Unix seconds: its result or its error."""

    future: Future[tuple[T | None, Exception | None]]
    started: float = field(default_factory=time.time)

    @property
    def running(self) -> bool:
        return not self.future.done()

    @property
    def seconds(self) -> float:
        return time.time() - self.started

    @property
    def error(self) -> Exception | None:
        return None if self.running else self.future.result()[1]

    @property
    def result(self) -> T | None:
        return None if self.running else self.future.result()[0]

    def wait(self, seconds: float) -> None:
        futures.wait([self.future], seconds)


def begin(work: Callable[[], T]) -> Work[T]:
    return Work(_threads.submit(_done, work))


def _done(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:  # noqa: BLE001 - it is shown
        return None, error


class Explanation:
    """An explanation that is written, or was. Whoever stops it does not wait: the server stops a moment later.

    One that nobody has looked at for a while is stopped too: the page was closed, or another one opened.
    """

    def __init__(self, question: Question) -> None:
        environ = dict(os.environ)
        self._pieces: list[str] = []
        self._stop = Event()
        self._looked = time.monotonic()
        self.work = begin(
            lambda: asking.explain(
                environ, question, EXPLANATION_TOKENS, on_text=self._pieces.append, stopped=self._is_unwanted
            )
        )

    def look(self) -> None:
        """Somebody sees it now."""
        self._looked = time.monotonic()

    def _is_unwanted(self) -> bool:
        if time.monotonic() - self._looked > UNSEEN_SECONDS:
            self._stop.set()
        return self.stopped

    @property
    def text(self) -> str:
        """What is written so far."""
        return "".join(self._pieces)

    @property
    def running(self) -> bool:
        return self.work.running and not self.stopped

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        if self.work.running:
            self._stop.set()


@dataclass(slots=True)
class RightAnswer:
    """That `letter` was right, sent as `event`; `outcome` is the latest that was seen, None: none can be seen."""

    letter: str
    event: str
    sent_at: float = field(default_factory=time.time)
    outcome: FeedbackOutcome | None = None

    @property
    def final(self) -> bool:
        return self.outcome is None or self.outcome.reason in right_answers.FINAL

    @property
    def looked_for(self) -> bool:
        """Whether it is still worth a look."""
        return not self.final and time.time() - self.sent_at < OUTCOME_SECONDS


@dataclass(slots=True)
class Exchange:
    """One question of the session. `right` is its right choice, where an example or a pasted text named it."""

    question: Question
    answer: Work[Answered]
    right: int | None = None
    explanation: Explanation | None = None
    told: RightAnswer | None = None


def current() -> Exchange | None:
    found: Exchange | None = st.session_state.get(_STATE)
    return found


def ask(question: Question, right: int | None) -> Exchange:
    """Asks, and waits for as long as most answers take. Nobody reads the last answer's explanation any more."""
    if (last := current()) is not None and last.explanation is not None:
        last.explanation.stop()
    environ = dict(os.environ)
    exchange = Exchange(question, begin(lambda: asking.ask(environ, question)), right)
    st.session_state[_STATE] = exchange
    exchange.answer.wait(PATIENCE)
    return exchange


def explain(exchange: Exchange) -> None:
    """Asks for an explanation; what was written of another one is gone."""
    exchange.explanation = Explanation(exchange.question)
    exchange.explanation.work.wait(EXPLANATION_PATIENCE)


def tell(exchange: Exchange, answer_id: str, letter: str) -> None:
    """Sends the right answer, once; CommandError, SettingError."""
    if exchange.told is None:
        event = right_answers.send_from_page(os.environ, answer_id, letter)
        exchange.told = RightAnswer(letter, event)
        look(exchange, answer_id)


def look(exchange: Exchange, answer_id: str) -> None:
    """What became of the right answer so far; UnavailableError."""
    if (told := exchange.told) is not None:
        told.outcome = right_answers.outcome_of_page(os.environ, told.event, answer_id, told.letter)
