"""A question on its way and what came back: requests run in the background, and the page says what it waits for.

Threads, because Streamlit runs a page's script from top to bottom; they touch nothing of Streamlit's.
"""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Event, Lock
from typing import Any, Generic, TypeVar

import streamlit as st

from common.question import Question
from functions.collect.feedback import FeedbackOutcome
from mcqa import asking, right_answers
from mcqa.asking import Answered, AskError
from mcqa.readmodels import evaluations
from mcqa.readmodels.evaluations import Bin, EvaluationFacts
from ui import facts
from ui.settings import read_settings

T = TypeVar("T")

_STATE, _VIEWER = "ask exchange", "ask viewer"
PATIENCE = 0.8
"""Seconds for which the page waits before it says that it does: most answers take less."""
BESIDE = 0.3
"""Seconds that an answer waits for what is shown next to it."""
EVALUATION_SECONDS = 30.0
EXPLANATION_PATIENCE = 0.2
"""Only for explanations that are there at once: the others are shown while they are written."""
EXPLANATION_TOKENS = 256
UNSEEN_SECONDS = 15.0
"""Browsers let a page that is not in front run once a second."""
OUTCOME_SECONDS = 20.0
"""How long the page looks for the outcome of a right answer: a function that is scaled to zero takes some to start."""
MOST, MOST_OF_ONE = 32, 2
"""Requests that wait at once, of everybody and of one viewer: a model that wakes up holds each for minutes."""
EXPLANATIONS = 1 / 2
"""The part of MOST that explanations may take: they take long, and answers go first."""
MOST_BESIDE = 16
"""Looks next to answers that wait at once, of everybody."""
_threads = ThreadPoolExecutor(MOST, "ask")
_beside = ThreadPoolExecutor(4, "ask beside")
_waiting: Counter[str] = Counter()
_explaining: Counter[str] = Counter()
_looking = BoundedSemaphore(MOST_BESIDE)
_guard = Lock()


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


def begin(work: Callable[[], T], *, explains: bool = False) -> Work[T]:
    """Runs it in the background. Where there is no room, it is over at once, with an AskError that says so."""
    viewer = _viewer()
    counted = (_waiting, _explaining) if explains else (_waiting,)
    with _guard:
        own = _waiting[viewer]
        full = _waiting.total() >= MOST or (explains and _explaining.total() >= EXPLANATIONS * MOST)
        if own >= MOST_OF_ONE or full:
            return Work(_finished(AskError("still-waiting" if own >= MOST_OF_ONE else "page-full")))
        for counts in counted:
            counts[viewer] += 1
    return Work(_threads.submit(_done, work, viewer, counted))


def _viewer() -> str:
    """Who waits: an account, which may have several sessions, or a session."""
    if read_settings(os.environ).login == "oidc" and (account := st.user.get("sub")):
        return f"account {account}"
    name: str = st.session_state.setdefault(_VIEWER, uuid.uuid4().hex)
    return name


def _done(work: Callable[[], T], viewer: str, counted: Iterable[Counter[str]]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:  # noqa: BLE001 - it is shown
        return None, error
    finally:
        with _guard:
            for counts in counted:
                counts[viewer] -= 1
                if not counts[viewer]:
                    del counts[viewer]


def _finished(error: Exception | None) -> Future[tuple[Any, Exception | None]]:
    future: Future[tuple[Any, Exception | None]] = Future()
    future.set_result((None, error))
    return future


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
            ),
            explains=True,
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
    """One question of the session. `right` is its right choice, where an example or a pasted text named it.

    `reliability`: how often the version was right when it was as sure as of this answer.
    """

    question: Question
    answer: Work[Answered]
    right: int | None = None
    explanation: Explanation | None = None
    reliability: Work[Bin | None] | None = None
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


def compare(exchange: Exchange, answered: Answered) -> Work[Bin | None]:
    """Looks, once, how often the version was right when it was as sure as of this answer; nothing where many look."""
    if exchange.reliability is None:
        version, confidence = answered.answer.model_version, answered.answer.confidence
        exchange.reliability = Work(_beside_answer(version, confidence))
        exchange.reliability.wait(BESIDE)
    return exchange.reliability


def _beside_answer(version: str, confidence: float) -> Future[tuple[Bin | None, Exception | None]]:
    if not _looking.acquire(blocking=False):
        return _finished(None)

    def look_up() -> tuple[Bin | None, Exception | None]:
        try:
            return _reliability(version, confidence), None
        finally:
            _looking.release()

    return _beside.submit(look_up)


def _reliability(version: str, confidence: float) -> Bin | None:
    if not version.isascii() or not version.isdigit():  # a server without a registry
        return None
    measured = facts.read(_evaluation, version, seconds=EVALUATION_SECONDS).value
    return None if measured is None else evaluations.as_sure_as(measured, confidence)


def _evaluation(version: str) -> EvaluationFacts | None:
    return evaluations.read(os.environ, version)


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
