"""The work that waits for the model: fair between requests, batched by length. Not thread-safe.

A request's questions wait as one Job. Each batch starts with the job whose turn it is and takes one question from each
job in turn; jobs that were in a batch go behind those that were not. So behind a request of 1,000 questions, a request
with a single question waits at most for the running batch.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from common.question import Answer, Debias, Question


class Prompt(Protocol):
    """A tokenised question (predictor.scorer.Prompt)."""

    @property
    def question(self) -> Question: ...

    @property
    def tokens(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ExplanationTask:
    """The answer to argue for, and the text's longest length in tokens.

    `on_text` gets every piece of the text once it is written, on the engine's thread: it must be quick.
    """

    answer: Answer
    max_new_tokens: int
    on_text: Callable[[str], None] | None = None


@dataclass(eq=False, slots=True)
class Job:
    """The questions of one request, or one explanation.

    `costs` are the tokens that each prompt costs, counting every pass. `waiting` holds the indices of the prompts still
    in the queue, by length class. `deadline` is a time.monotonic() value; the other times are time.time_ns(), 0
    until then.
    """

    future: Future[Any]
    deadline: float
    prompts: Sequence[Prompt]
    costs: Sequence[int]
    debias: Debias = "none"
    explain: ExplanationTask | None = None
    results: list[Answer | None] = field(default_factory=list)
    unanswered: int = 0
    waiting: OrderedDict[int, deque[int]] = field(default_factory=OrderedDict)
    queued_ns: int = 0
    started_ns: int = 0
    finished_ns: int = 0

    def __post_init__(self) -> None:
        self.results = [None] * len(self.prompts)
        self.unanswered = len(self.prompts)
        for index, prompt in enumerate(self.prompts):
            self.waiting.setdefault(length_class(prompt.tokens), deque()).append(index)


class RequestQueue:
    """Jobs in fair order; explanations apart from questions, because they are taken one at a time."""

    def __init__(self) -> None:
        self.questions = 0
        self.tokens = 0
        self._scoring: OrderedDict[Job, None] = OrderedDict()
        self._explaining: OrderedDict[Job, None] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._scoring or self._explaining)

    @property
    def explanations(self) -> int:
        return len(self._explaining)

    @property
    def explanation_tokens(self) -> int:
        return sum(sum(job.costs) for job in self._explaining)

    def jobs(self) -> list[Job]:
        return [*self._scoring, *self._explaining]

    def add(self, job: Job) -> None:
        (self._explaining if job.explain else self._scoring)[job] = None
        self.questions += len(job.costs)
        self.tokens += sum(job.costs)

    def remove(self, job: Job) -> int:
        """Removes what still waits of a job; the number of questions removed."""
        queue = self._explaining if job.explain else self._scoring
        if job not in queue:
            return 0
        del queue[job]
        indices = [index for indices in job.waiting.values() for index in indices]
        job.waiting.clear()
        self.questions -= len(indices)
        self.tokens -= sum(job.costs[index] for index in indices)
        return len(indices)

    def take_batch(self, room: int) -> list[tuple[Job, int]]:
        """The next questions to score together, as (job, index of its prompt): about `room` tokens, at least one.

        All have the first job's next length class and debiasing.
        """
        if not self._scoring:
            return []
        head = next(iter(self._scoring))
        length, debias = next(iter(head.waiting)), head.debias
        batch: list[tuple[Job, int]] = []
        turn = deque(job for job in self._scoring if job.debias == debias and length in job.waiting)
        while turn:
            job = turn.popleft()
            indices = job.waiting[length]
            cost = job.costs[indices[0]]
            if batch and cost > room:
                break
            batch.append((job, indices.popleft()))
            room -= cost
            self.questions -= 1
            self.tokens -= cost
            if indices:
                turn.append(job)
            else:
                del job.waiting[length]
        for job in dict.fromkeys(job for job, _ in batch):
            if job.waiting:
                self._scoring.move_to_end(job)
            else:
                del self._scoring[job]
        return batch

    def take_explanation(self) -> Job | None:
        """The oldest explanation."""
        if not self._explaining:
            return None
        job = next(iter(self._explaining))
        self.remove(job)
        return job


def length_class(tokens: int) -> int:
    """Prompts of one class differ in length by at most a factor of √2."""
    return round(2 * math.log2(max(tokens, 1)))
