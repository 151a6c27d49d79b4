"""Asks a model version every question and reports. The answers come from the scorer that serves, or from a server."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from common.proportions import Proportion
from common.question import Answer, Debias, Question, QuestionError
from pipelines.evaluation import metrics
from pipelines.evaluation.answer_records import AnswerRecord, SkippedQuestion, answer_record, question_id
from pipelines.evaluation.report import EvaluatedModel, EvaluationError, QuestionSource, Report

if TYPE_CHECKING:
    from pipelines.bank import LabelledQuestion
    from predictor.scorer import Scorer

BATCH = 64

Progress = Callable[[str, int, int], None]
"""Called with the phase ('questions' or 'rotations'), how many are answered, how many there are."""


class Answerer(Protocol):
    """A model version that answers questions: in this process, or behind a URL."""

    @property
    def model(self) -> EvaluatedModel: ...

    @property
    def default_debias(self) -> str:
        """What `debias` None means, for the report."""
        ...

    def answer(self, questions: Sequence[Question], debias: Debias | None) -> list[Answer]:
        """One answer per question, in order; QuestionError when one of them cannot be asked."""
        ...


class InProcessAnswerer:
    """The scorer, in this process."""

    def __init__(self, scorer: Scorer, source: str) -> None:
        self.scorer = scorer
        self.default_debias: str = scorer.default_debias
        self.model = EvaluatedModel(
            scorer.model_version,
            source,
            device=str(scorer.device),
            dtype=str(scorer.dtype),
            parameters=scorer.parameters,
        )

    def answer(self, questions: Sequence[Question], debias: Debias | None) -> list[Answer]:
        return self.scorer.score([self.scorer.encode(q) for q in questions], debias)


def evaluate(
    answerer: Answerer,
    labelled: Sequence[LabelledQuestion],
    questions: QuestionSource,
    *,
    debias: Debias | None = None,
    rotations: int = 0,
    batch: int = BATCH,
    progress: Progress = lambda phase, done, total: None,
) -> Report:
    """Answers every question and, for a seeded sample of `rotations` of them, every cyclic rotation of its choices.

    `questions` says where they come from and goes into the report. `debias` None leaves the choice to the model
    version. A question that cannot be asked is skipped and listed with its reason; EvaluationError when none could be.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    clock = time.perf_counter()
    asked = [item.question for item in labelled]
    outcomes = _answer_all(answerer, asked, debias, batch, lambda done: progress("questions", done, len(asked)))
    seconds = time.perf_counter() - clock
    records: list[AnswerRecord] = []
    skipped: list[SkippedQuestion] = []
    answered: list[tuple[Question, Answer]] = []
    for item, outcome in zip(labelled, outcomes, strict=True):
        if isinstance(outcome, QuestionError):
            skipped.append(SkippedQuestion(question_id(item.question), f"{outcome.field}: {outcome.message}"))
        else:
            records.append(answer_record(item.question, item.answer, outcome))
            answered.append((item.question, outcome))
    flips = None
    if rotations and answered:
        sample = random.Random(questions.seed).sample(answered, min(rotations, len(answered)))
        flips = _rotation_study(answerer, sample, debias, batch, progress)
    return Report(
        _answering_model(answerer.model, [answer for _, answer in answered]),
        questions,
        debias or answerer.default_debias,
        tuple(records),
        seconds,
        started,
        tuple(skipped),
        flips,
    )


def _answering_model(model: EvaluatedModel, answers: Sequence[Answer]) -> EvaluatedModel:
    """`model` with the version and revision that the answers name; EvaluationError when they name several."""
    versions = sorted({a.model_version for a in answers})
    if len(versions) > 1:
        raise EvaluationError(
            f"the answers came from several model versions ({', '.join(versions)}): give one revision's own URL"
        )
    return replace(model, version=versions[0], revision=answers[0].revision) if answers else model


def _answer_all(
    answerer: Answerer,
    questions: Sequence[Question],
    debias: Debias | None,
    batch: int,
    progress: Callable[[int], None],
) -> list[Answer | QuestionError]:
    # Questions of similar length share a batch, so little is computed on padding; answers go back to their places.
    order = sorted(range(len(questions)), key=lambda i: _length(questions[i]))
    outcomes: dict[int, Answer | QuestionError] = {}
    progress(0)
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        outcomes.update(zip(places, _answer_some(answerer, [questions[i] for i in places], debias), strict=True))
        progress(len(outcomes))
    return [outcomes[i] for i in range(len(questions))]


def _answer_some(
    answerer: Answerer, questions: Sequence[Question], debias: Debias | None
) -> list[Answer | QuestionError]:
    """Halves a batch until every question that cannot be asked is alone in one."""
    try:
        return list(answerer.answer(questions, debias))
    except QuestionError as error:
        if len(questions) == 1:
            return [error]
    half = len(questions) // 2
    return [
        *_answer_some(answerer, questions[:half], debias),
        *_answer_some(answerer, questions[half:], debias),
    ]


def _rotation_study(
    answerer: Answerer,
    sample: Sequence[tuple[Question, Answer]],
    debias: Debias | None,
    batch: int,
    progress: Progress,
) -> Proportion:
    rotated = [(i, q.rotated(by)) for i, (q, _) in enumerate(sample) for by in range(1, len(q.choices))]
    outcomes = _answer_all(
        answerer, [q for _, q in rotated], debias, batch, lambda done: progress("rotations", done, len(rotated))
    )
    texts: list[list[str]] = [[q.choices[answer.index]] for q, answer in sample]
    for (i, question), outcome in zip(rotated, outcomes, strict=True):
        if isinstance(outcome, Answer):
            texts[i].append(question.choices[outcome.index])
    return metrics.flips(texts)


def _length(question: Question) -> int:
    return len(question.stem) + len(question.code or "") + sum(map(len, question.choices))
