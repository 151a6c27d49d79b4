"""A letter prior is kept only where it makes unseen answers likelier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from common.question import Question
from pipelines.bank import LabelledQuestion
from pipelines.evaluation.letter_prior import try_prior
from predictor.scorer import Scorer


@pytest.fixture(scope="module")
def scorer(version: Path) -> Scorer:
    return Scorer.load(version, dtype="float32")


def labelled(count: int, start: int = 0) -> list[LabelledQuestion]:
    """Questions whose right answers the scorer itself gives when asked in every order: there the prior must help."""
    return [
        LabelledQuestion(Question(f"Question {i}?", tuple(f"{i} {c}" for c in "wxyz")).rotated(i), 0)
        for i in range(start, start + count)
    ]


def unbiased(scorer: Scorer, questions: Sequence[LabelledQuestion]) -> list[LabelledQuestion]:
    """The same questions, labelled with what the scorer answers over all rotations."""
    answers = scorer.score([scorer.encode(item.question) for item in questions], "cyclic")
    return [LabelledQuestion(q.question, a.index) for q, a in zip(questions, answers, strict=True)]


def test_a_prior_that_is_only_bias_helps(scorer: Scorer) -> None:
    trial = try_prior(scorer, labelled(30), unbiased(scorer, labelled(80, start=30)))
    assert trial.helps
    assert trial.questions == 80
    assert math.fsum(trial.prior.priors[4]) == pytest.approx(1)


def test_a_prior_that_carries_the_answer_does_not(scorer: Scorer) -> None:
    """Labels that follow the scorer's own biased answers: taking the bias out takes the answers away."""
    questions = labelled(80, start=30)
    answers = scorer.score([scorer.encode(item.question) for item in questions], "none")
    judged = [LabelledQuestion(q.question, a.index) for q, a in zip(questions, answers, strict=True)]
    trial = try_prior(scorer, labelled(30), judged)
    assert not trial.helps
    assert trial.with_prior > trial.without
