"""The engine: a bounded queue in front of the one thread that runs the model.

1. `submit` and `submit_explanation` accept work or refuse it with an EngineError: the queue is bounded in questions
   and in tokens, so that memory and waiting time are bounded too. Explanations, which take long, get a part of it.
2. The thread takes what is waiting as one batch and never waits for more (see request_queue.py for which).
3. Work whose caller has left or whose deadline has passed leaves the queue before it costs a forward pass.
4. A question that fails is isolated by halving its batch; the rest of the batch is answered.
5. Explanations run one at a time, one token after each batch of questions: neither starves the other.

Nothing here depends on a protocol, a metric or asyncio: results are `concurrent.futures.Future`s.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Any, Protocol

from common.question import Answer, Debias, Explanation, QuestionError
from predictor.request_queue import ExplanationTask, Job, Prompt, RequestQueue

log = logging.getLogger(__name__)

MAX_RETRY_AFTER = 60
EXPLANATIONS = 1 / 4
"""The part of the queue that explanations may fill: the rest is for questions."""


class EngineError(Exception):
    """The engine cannot answer."""


class QueueFullError(EngineError):
    """No room for this work now; `retry_after` seconds are estimated until there is."""

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(f"the queue is full; try again in {retry_after} s")


class RequestTooLargeError(EngineError):
    """The work does not fit even an empty queue: retrying cannot help."""


class EngineStoppedError(EngineError):
    """The engine accepts no new work: it is draining, has stopped, or its thread has died."""

    def __init__(self) -> None:
        super().__init__("the server is stopping")


class DeadlineExceededError(EngineError):
    """The work's deadline passed before it was done."""


class ScoringError(EngineError):
    """The model failed on one question; `index` is its place in the request, `__cause__` the error."""

    def __init__(self, index: int) -> None:
        self.index = index
        super().__init__(f"question {index} could not be scored")


class Scorer(Protocol):
    """What the engine needs of predictor.scorer.Scorer; only the engine's thread scores and explains."""

    @property
    def default_debias(self) -> Debias: ...

    def passes(self, prompt: Any, debias: Debias) -> int: ...

    def score(self, prompts: Sequence[Any], debias: Debias | None = None) -> list[Answer]: ...

    def explain(
        self,
        prompt: Any,
        answer: Answer,
        *,
        max_new_tokens: int = 256,
        should_stop: Callable[[], bool],
        on_text: Callable[[str], None] | None = None,
    ) -> Explanation: ...


class Observer(Protocol):
    """Called by the engine's thread, so its methods must be quick and must not raise."""

    def on_batch(self, questions: int, tokens: int, seconds: float) -> None: ...

    def on_wait(self, seconds: float) -> None: ...

    def on_drop(self, questions: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the queue and of one batch. Tokens count every pass: cyclic debiasing counts a prompt K times."""

    queue_questions: int = 1024
    queue_tokens: int = 262_144
    batch_tokens: int = 1024


class Engine:
    """Runs a scorer on its own thread behind a bounded queue. Deadlines are time.monotonic() values."""

    def __init__(self, scorer: Scorer, limits: Limits | None = None, observer: Observer | None = None) -> None:
        self._scorer = scorer
        self._limits = limits or Limits()
        self._observer = observer
        self._changed = threading.Condition()
        self._queue = RequestQueue()
        self._running: set[Job] = set()
        self._running_tokens = 0
        self._tokens_per_second = 0.0
        self._accepting = False
        self._closing = False
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        self._accepting = True
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def accepting(self) -> bool:
        return self._accepting and self.alive

    @property
    def queued_questions(self) -> int:
        return self._queue.questions

    @property
    def queued_tokens(self) -> int:
        return self._queue.tokens

    @property
    def idle(self) -> bool:
        with self._changed:
            return not (self._busy or self._queue)

    def check_room(self, questions: int) -> None:
        """Raises what `submit` would if so many questions do not fit; spares a busy server the tokenising."""
        with self._changed:
            self._check_room(questions, 0)

    def submit(self, prompts: Sequence[Prompt], debias: Debias | None, deadline: float) -> Job:
        """Queues one request's prompts (at least one). `job.future` gives their answers in order.

        Raises QueueFullError, RequestTooLargeError or EngineStoppedError at once. The future may raise
        DeadlineExceededError, ScoringError, EngineStoppedError or a QuestionError with its index. Cancelling it removes
        the work from the queue.
        """
        mode = debias or self._scorer.default_debias
        costs = [prompt.tokens * self._scorer.passes(prompt, mode) for prompt in prompts]
        return self._enqueue(Job(Future(), deadline, prompts, costs, mode))

    def submit_explanation(
        self,
        prompt: Prompt,
        answer: Answer,
        max_new_tokens: int,
        deadline: float,
        on_text: Callable[[str], None] | None = None,
    ) -> Job:
        """Queues one explanation; raises and ends as `submit` does, `job.future` gives an Explanation.

        `on_text` gets the text piece by piece while it is written: see ExplanationTask. What it got is part of the
        text even where the job fails later. Cancelling the future ends the writing before its next token.
        """
        task = ExplanationTask(answer, max_new_tokens, on_text)
        return self._enqueue(Job(Future(), deadline, [prompt], [prompt.tokens], explain=task))

    def drain(self) -> None:
        """Accepts no new work from now on; what was accepted is finished."""
        with self._changed:
            self._accepting = False

    def close(self, timeout: float = 10.0) -> None:
        """Ends the thread after its current batch. Waiting work fails with EngineStoppedError."""
        with self._changed:
            self._accepting = False
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        self._fail_all()

    def fail_waiting(self) -> None:
        """Accepts no new work and fails all accepted work with EngineStoppedError, the running batch too."""
        self.drain()
        self._fail_all()

    def _enqueue(self, job: Job) -> Job:
        with self._changed:
            self._check_room(len(job.costs), sum(job.costs))
            if job.explain:
                self._check_explanations(sum(job.costs))
            job.queued_ns = time.time_ns()
            self._queue.add(job)
            self._changed.notify_all()
        job.future.add_done_callback(lambda _: self._forget(job))
        return job

    def _check_room(self, questions: int, tokens: int) -> None:
        limits = self._limits
        if not self.accepting:
            raise EngineStoppedError
        if questions > limits.queue_questions:
            raise RequestTooLargeError(
                f"{questions} questions in one request, the queue holds {limits.queue_questions}"
            )
        if tokens > limits.queue_tokens:
            raise RequestTooLargeError(f"{tokens} prompt tokens in one request, the queue holds {limits.queue_tokens}")
        queue = self._queue
        if queue.questions + questions > limits.queue_questions or queue.tokens + tokens > limits.queue_tokens:
            raise QueueFullError(self._retry_after())

    def _check_explanations(self, tokens: int) -> None:
        """One has room where no other waits, however large it is."""
        limits, queue = self._limits, self._queue
        too_many = queue.explanations + 1 > EXPLANATIONS * limits.queue_questions
        too_long = queue.explanation_tokens + tokens > EXPLANATIONS * limits.queue_tokens
        if queue.explanations and (too_many or too_long):
            raise QueueFullError(self._retry_after())

    def _retry_after(self) -> int:
        """Seconds until the waiting and running tokens are done at the measured rate, 1 to 60."""
        if not self._tokens_per_second:
            return 1
        seconds = (self._queue.tokens + self._running_tokens) / self._tokens_per_second
        return max(1, min(MAX_RETRY_AFTER, math.ceil(seconds)))

    def _forget(self, job: Job) -> None:
        """Frees the space of a job that is done, failed or cancelled."""
        with self._changed:
            dropped = self._queue.remove(job)
        if dropped and self._observer:
            self._observer.on_drop(dropped)

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except BaseException:
            log.critical("the inference thread died; the server is no longer ready", exc_info=True)
        finally:
            with self._changed:
                self._accepting = False
                self._busy = False
            self._fail_all()

    def _step(self) -> bool:
        """One batch, then one explanation; waits while there is neither. False when the thread should end."""
        with self._changed:
            self._busy = False
            while not (self._queue or self._closing):
                self._changed.wait()
            if self._closing:
                return False
            self._busy = True
        self._score_waiting()
        self._explain_next()
        return True

    def _score_waiting(self) -> None:
        """Scores one batch of the waiting questions."""
        self._expire()
        with self._changed:
            batch = self._queue.take_batch(self._limits.batch_tokens)
            tokens = sum(job.costs[index] for job, index in batch)
            jobs = {job for job, _ in batch}
            self._running |= jobs
            self._running_tokens = tokens
        if not batch:
            return
        start, now = time.perf_counter(), time.time_ns()
        for job in jobs:
            if not job.started_ns:
                job.started_ns = now
                if self._observer:
                    self._observer.on_wait((now - job.queued_ns) / 1e9)
        self._score(batch)
        seconds = time.perf_counter() - start
        rate = tokens / max(seconds, 1e-6)
        self._tokens_per_second = 0.7 * self._tokens_per_second + 0.3 * rate if self._tokens_per_second else rate
        with self._changed:
            self._running -= jobs
            self._running_tokens = 0
        if self._observer:
            self._observer.on_batch(len(batch), tokens, seconds)

    def _expire(self) -> None:
        now = time.monotonic()
        with self._changed:
            expired = [job for job in self._queue.jobs() if job.deadline <= now]
        for job in expired:
            _settle(job, DeadlineExceededError("the deadline passed while the question was waiting"))

    def _score(self, batch: list[tuple[Job, int]]) -> None:
        batch = [(job, index) for job, index in batch if not job.future.done()]
        if not batch:
            return
        try:
            answers = self._scorer.score([job.prompts[index] for job, index in batch], batch[0][0].debias)
            _require_all_answered(answers, batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to one question of the batch
            if len(batch) == 1:
                _settle(batch[0][0], _attributed_error(error, batch[0][1]))
                return
            half = len(batch) // 2
            self._score(batch[:half])
            self._score(batch[half:])
            return
        for (job, index), answer in zip(batch, answers, strict=True):
            job.results[index] = answer
            job.unanswered -= 1
            if not job.unanswered:
                _settle(job, job.results)

    def _explain_next(self) -> None:
        with self._changed:
            job = self._queue.take_explanation()
            if job is None or job.explain is None:
                return
            self._running.add(job)
        task = job.explain
        job.started_ns = time.time_ns()

        def should_stop() -> bool:
            if not self._closing:
                self._score_waiting()
            return self._closing or job.future.done() or job.deadline <= time.monotonic()

        result: object = None
        if not should_stop():
            try:
                result = self._scorer.explain(
                    job.prompts[0],
                    task.answer,
                    max_new_tokens=task.max_new_tokens,
                    should_stop=should_stop,
                    on_text=task.on_text,
                )
            except Exception as error:  # noqa: BLE001 - it is the job's result
                result = _attributed_error(error, 0)
        if self._closing:
            result = EngineStoppedError()
        elif job.deadline <= time.monotonic():
            result = DeadlineExceededError("the deadline passed before the explanation was written")
        _settle(job, result)
        with self._changed:
            self._running.discard(job)

    def _fail_all(self) -> None:
        with self._changed:
            jobs = [*self._queue.jobs(), *self._running]
        for job in jobs:
            _settle(job, EngineStoppedError())


def _require_all_answered(answers: Sequence[Answer], batch: Sequence[tuple[Job, int]]) -> None:
    if len(answers) != len(batch):
        raise RuntimeError(f"the scorer gave {len(answers)} answers to {len(batch)} questions")


def _attributed_error(error: Exception, index: int) -> Exception:
    if isinstance(error, QuestionError):
        return error.at(index)
    failed = ScoringError(index)
    failed.__cause__ = error
    return failed


def _settle(job: Job, result: object) -> None:
    """Ends a job with its result or its error, unless its caller has cancelled it."""
    job.finished_ns = time.time_ns()
    with contextlib.suppress(InvalidStateError):
        if isinstance(result, Exception):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)
