"""The engine with a scorer that does as it is told, to provoke slow and failing batches at will."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from typing import Any

import pytest

from common.question import LETTERS, Answer, Explanation, Question, QuestionError
from predictor.engine import (
    DeadlineExceededError,
    Engine,
    EngineStoppedError,
    Limits,
    QueueFullError,
    RequestTooLargeError,
    ScoringError,
)


@dataclass(frozen=True)
class Prompt:
    question: Question
    tokens: int = 10


@dataclass
class ScriptedScorer:
    """Answers the choice its question names; `gate` holds every batch back, stems name what shall fail."""

    default_debias: str = "none"
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    batches: list[list[str]] = field(default_factory=list)
    written: list[str] = field(default_factory=list)

    def passes(self, prompt: Prompt, debias: str) -> int:
        return len(prompt.question.choices) if debias == "cyclic" else 1

    def score(self, prompts: Sequence[Prompt], debias: str | None = None) -> list[Answer]:
        stems = [prompt.question.stem for prompt in prompts]
        self.batches.append(stems)
        self.entered.release()
        self.gate.wait(20)
        if "poison" in stems:
            raise RuntimeError("cannot be scored")
        if "exit" in stems:
            raise SystemExit
        if "too long" in stems and len(stems) == 1:
            raise QuestionError("question", "has too many tokens")
        if "too long" in stems:
            raise RuntimeError("one of them")
        return [answer(prompt.question) for prompt in prompts]

    def explain(
        self,
        prompt: Prompt,
        answer: Answer,
        *,
        max_new_tokens: int = 256,
        should_stop: Callable[[], bool],
        on_text: Callable[[str], None] | None = None,
    ) -> Explanation:
        if prompt.question.stem == "poison":
            raise RuntimeError("cannot be explained")
        for count in range(max_new_tokens):
            if should_stop():
                return Explanation(answer, "cut", count, "length")
            self.written.append(f"{prompt.question.stem}:{len(self.batches)}")
            if on_text:
                on_text(str(count))
            time.sleep(0.002)
        return Explanation(answer, prompt.question.stem, max_new_tokens, "length")


def question(stem: str) -> Prompt:
    return Prompt(Question(stem, ("yes", "no")))


def answer(asked: Question) -> Answer:
    index = 0 if len(asked.stem) % 2 else 1
    return Answer(LETTERS[index], index, asked.stem, (0.5, 0.5), 0.5, 0.0, 0.69, 1.0, 10, "scripted")


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


@dataclass
class Seen:
    batches: list[tuple[int, int]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    lost: int = 0

    def on_batch(self, questions: int, tokens: int, seconds: float) -> None:
        self.batches.append((questions, tokens))

    def on_wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    def on_drop(self, questions: int) -> None:
        self.lost += questions


@pytest.fixture
def scorer() -> ScriptedScorer:
    return ScriptedScorer()


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def engine(scorer: ScriptedScorer, seen: Seen) -> Iterator[Engine]:
    engine = Engine(scorer, Limits(queue_questions=8, queue_tokens=200, batch_tokens=40), seen)  # type: ignore[arg-type]
    engine.start()
    yield engine
    scorer.gate.set()
    engine.close()


@pytest.fixture
def held(engine: Engine, scorer: ScriptedScorer) -> Future[Any]:
    """A question that keeps the thread busy until the gate opens."""
    future = engine.submit([question("held")], None, soon()).future
    assert scorer.entered.acquire(timeout=10)
    return future


def test_answers_come_in_the_order_asked(engine: Engine, scorer: ScriptedScorer) -> None:
    scorer.gate.set()
    job = engine.submit([question(stem) for stem in ("a", "bb", "ccc", "d", "ee")], None, soon())
    assert [item.choice for item in job.future.result(10)] == ["a", "bb", "ccc", "d", "ee"]
    assert 0 < job.queued_ns <= job.started_ns <= job.finished_ns


def test_what_waits_is_scored_together(engine: Engine, scorer: ScriptedScorer, held: Future[Any], seen: Seen) -> None:
    futures = [engine.submit([question(f"q{i}")], None, soon()).future for i in range(6)]
    scorer.gate.set()
    wait_for(futures, 10)
    assert scorer.batches == [["held"], ["q0", "q1", "q2", "q3"], ["q4", "q5"]]
    engine.close()
    assert seen.batches == [(1, 10), (4, 40), (2, 20)]
    assert len(seen.waits) == 7


def test_a_large_request_does_not_starve_a_small_one(engine: Engine, scorer: ScriptedScorer, held: Future[Any]) -> None:
    large = engine.submit([question(f"large{i}") for i in range(7)], None, soon()).future
    small = engine.submit([question("small")], None, soon()).future
    scorer.gate.set()
    small.result(10)
    assert "small" in scorer.batches[1]
    assert len(large.result(10)) == 7


def test_a_full_queue_refuses_and_says_when_to_return(
    engine: Engine, scorer: ScriptedScorer, held: Future[Any]
) -> None:
    accepted = engine.submit([question("q")] * 8, None, soon()).future
    with pytest.raises(QueueFullError) as refused:
        engine.submit([question("q")], None, soon())
    assert refused.value.retry_after >= 1
    with pytest.raises(QueueFullError):
        engine.check_room(1)
    scorer.gate.set()
    accepted.result(10)
    assert engine.submit([question("q")], None, soon()).future.result(10)


def test_the_queue_is_bounded_in_tokens_too_every_pass_counted(
    engine: Engine, scorer: ScriptedScorer, held: Future[Any]
) -> None:
    ninety = Prompt(Question("long", ("yes", "no")), 90)
    engine.submit([ninety], "cyclic", soon())
    with pytest.raises(QueueFullError):
        engine.submit([question("q")] * 3, None, soon())
    assert engine.queued_tokens == 180


def test_what_would_never_fit_is_refused_for_good(engine: Engine) -> None:
    with pytest.raises(RequestTooLargeError, match="9 questions"):
        engine.submit([question("q")] * 9, None, soon())
    with pytest.raises(RequestTooLargeError, match="300 prompt tokens"):
        engine.submit([Prompt(Question("q", ("yes", "no")), 300)], None, soon())


def test_the_retry_time_follows_the_measured_rate(scorer: ScriptedScorer) -> None:
    class Slow(ScriptedScorer):
        def score(self, prompts: Sequence[Prompt], debias: str | None = None) -> list[Answer]:
            time.sleep(0.05 * len(prompts))  # 200 tokens a second at most
            return [answer(prompt.question) for prompt in prompts]

    engine = Engine(Slow(), Limits(queue_questions=100, queue_tokens=10_000, batch_tokens=40))  # type: ignore[arg-type]
    engine.start()
    engine.submit([question("q")], None, soon()).future.result(10)
    waiting = engine.submit([question("q")] * 100, None, soon()).future
    with pytest.raises(QueueFullError) as refused:
        engine.submit([question("q")] * 8, None, soon())
    waiting.cancel()
    engine.close()
    assert 5 <= refused.value.retry_after <= 60


def test_late_work_costs_no_pass(engine: Engine, scorer: ScriptedScorer, held: Future[Any], seen: Seen) -> None:
    late = engine.submit([question("late"), question("late")], None, soon(0.05)).future
    time.sleep(0.1)
    scorer.gate.set()
    with pytest.raises(DeadlineExceededError):
        late.result(10)
    engine.close()
    assert scorer.batches == [["held"]]
    assert seen.lost == 2


def test_cancelled_work_leaves_the_queue_at_once(
    engine: Engine, scorer: ScriptedScorer, held: Future[Any], seen: Seen
) -> None:
    gone = engine.submit([question("gone")] * 8, None, soon()).future
    assert gone.cancel()
    assert engine.queued_questions == 0
    assert engine.queued_tokens == 0
    stayed = engine.submit([question("stayed")] * 8, None, soon()).future
    scorer.gate.set()
    assert len(stayed.result(10)) == 8
    assert not any("gone" in batch for batch in scorer.batches)
    assert seen.lost == 8


def test_one_bad_question_does_not_fail_its_batch_mates(
    engine: Engine, scorer: ScriptedScorer, held: Future[Any]
) -> None:
    good = [engine.submit([question(f"good{i}")], None, soon()).future for i in range(3)]
    bad = engine.submit([question("fine"), question("poison")], None, soon()).future
    scorer.gate.set()
    assert [future.result(10)[0].choice for future in good] == ["good0", "good1", "good2"]
    with pytest.raises(ScoringError) as failed:
        bad.result(10)
    assert failed.value.index == 1
    assert isinstance(failed.value.__cause__, RuntimeError)
    assert engine.accepting


def test_a_question_error_while_scoring_names_the_question(engine: Engine, scorer: ScriptedScorer) -> None:
    scorer.gate.set()
    with pytest.raises(QuestionError, match="question 1: question: has too many tokens"):
        engine.submit([question("fine"), question("too long")], None, soon()).future.result(10)


def test_a_dead_thread_fails_everything_and_is_told(
    engine: Engine, scorer: ScriptedScorer, held: Future[Any], caplog: pytest.LogCaptureFixture
) -> None:
    doomed = engine.submit([question("exit")], None, soon()).future
    waiting = engine.submit([Prompt(Question("w", ("yes", "no")), 150)], None, soon()).future
    scorer.gate.set()
    for future in (doomed, waiting):
        with pytest.raises(EngineStoppedError):
            future.result(10)
    engine._thread.join(10)
    assert not engine.alive
    assert not engine.accepting
    with pytest.raises(EngineStoppedError):
        engine.submit([question("q")], None, soon())
    assert "the inference thread died" in caplog.text


def test_draining_finishes_what_was_accepted(engine: Engine, scorer: ScriptedScorer, held: Future[Any]) -> None:
    accepted = engine.submit([question("q")] * 5, None, soon()).future
    engine.drain()
    with pytest.raises(EngineStoppedError):
        engine.submit([question("q")], None, soon())
    assert not engine.idle
    scorer.gate.set()
    assert len(accepted.result(10)) == 5
    deadline = soon(10)
    while not engine.idle:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_closing_fails_what_waits(engine: Engine, scorer: ScriptedScorer, held: Future[Any]) -> None:
    waiting = engine.submit([question("q")] * 8, None, soon()).future
    threading.Timer(0.1, scorer.gate.set).start()
    engine.close()
    assert held.result(0)
    with pytest.raises(EngineStoppedError):
        waiting.result(0)


def explanation(engine: Engine, stem: str, tokens: int = 20, seconds: float = 20.0) -> Future[Any]:
    asked = question(stem)
    return engine.submit_explanation(asked, answer(asked.question), tokens, soon(seconds)).future


def test_questions_are_scored_between_two_tokens_of_an_explanation(engine: Engine, scorer: ScriptedScorer) -> None:
    scorer.gate.set()
    long = explanation(engine, "why", 400)
    while not scorer.written:
        time.sleep(0.001)
    assert engine.submit([question("q")], None, soon()).future.result(10)[0].choice == "q"
    assert not long.done()
    assert long.result(20).completion_tokens == 400
    assert {"why:0", "why:1"} <= set(scorer.written)


def test_a_cancelled_explanation_stops_between_two_tokens(engine: Engine, scorer: ScriptedScorer) -> None:
    scorer.gate.set()
    long = explanation(engine, "why", 100_000)
    while not scorer.written:
        time.sleep(0.001)
    assert long.cancel()
    assert explanation(engine, "next", 2).result(10).text == "next"
    with pytest.raises(CancelledError):
        long.result(0)


def test_explanations_that_wait_leave_room_for_questions(
    engine: Engine, scorer: ScriptedScorer, held: Future[Any]
) -> None:
    waiting = [explanation(engine, stem, 2) for stem in ("why", "how")]  # of 8
    with pytest.raises(QueueFullError) as refused:
        explanation(engine, "when")
    assert refused.value.retry_after >= 1
    answers = engine.submit([question("q")] * 6, None, soon()).future
    scorer.gate.set()
    assert len(answers.result(10)) == 6
    assert [each.result(10).text for each in waiting] == ["why", "how"]
    assert explanation(engine, "when", 2).result(10).text == "when"


def test_long_explanations_leave_room_for_questions_too(
    engine: Engine, scorer: ScriptedScorer, held: Future[Any]
) -> None:
    long = Prompt(Question("long", ("yes", "no")), 60)  # of 200 tokens
    alone = engine.submit_explanation(long, answer(long.question), 2, soon()).future
    with pytest.raises(QueueFullError):
        explanation(engine, "why")
    scorer.gate.set()
    assert alone.result(10).text == "long"


def test_the_text_is_handed_over_as_it_is_written(engine: Engine, scorer: ScriptedScorer) -> None:
    scorer.gate.set()
    asked, pieces = question("why"), list[str]()
    job = engine.submit_explanation(asked, answer(asked.question), 100_000, soon(), pieces.append)
    while len(pieces) < 3:
        time.sleep(0.001)
    assert engine.submit([question("q")], None, soon()).future.result(10)[0].choice == "q"
    assert job.future.cancel()
    assert explanation(engine, "next", 2).result(10).text == "next"
    assert pieces == [str(count) for count in range(len(pieces))]
    assert len(pieces) < 100_000


def test_who_fails_to_take_the_text_fails_alone(engine: Engine, scorer: ScriptedScorer) -> None:
    scorer.gate.set()
    asked = question("why")
    job = engine.submit_explanation(asked, answer(asked.question), 5, soon(), lambda piece: [][0])
    with pytest.raises(ScoringError):
        job.future.result(10)
    assert explanation(engine, "fine", 2).result(10).completion_tokens == 2


def test_an_explanation_ends_at_its_deadline(engine: Engine, scorer: ScriptedScorer) -> None:
    scorer.gate.set()
    with pytest.raises(DeadlineExceededError):
        explanation(engine, "why", 100_000, seconds=0.1).result(10)


def test_a_failing_explanation_fails_alone(engine: Engine, scorer: ScriptedScorer) -> None:
    scorer.gate.set()
    with pytest.raises(ScoringError):
        explanation(engine, "poison").result(10)
    assert explanation(engine, "fine", 2).result(10).completion_tokens == 2


def test_many_threads_lose_nothing(scorer: ScriptedScorer) -> None:
    scorer.gate.set()
    engine = Engine(scorer, Limits(10_000, 1_000_000, 100))  # type: ignore[arg-type]
    engine.start()
    wrong: list[str] = []

    def client(name: int) -> None:
        for turn in range(50):
            stems = [f"{name}-{turn}-{i}" for i in range(turn % 7 + 1)]
            future = engine.submit([question(stem) for stem in stems], None, soon()).future
            if turn % 9 == 8:
                future.cancel()
            elif [item.choice for item in future.result(20)] != stems:
                wrong.append(f"{name}-{turn}")

    threads = [threading.Thread(target=client, args=(name,)) for name in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    engine.close()
    assert (engine.queued_questions, engine.queued_tokens) == (0, 0)
