"""Whether a version's letter prior helps: estimated on some questions, judged on others.

PriDe assumes that a letter's prior and the belief in a choice are independent. Where they are not, dividing the prior
out makes answers worse, so it is kept only if it lowers the negative log-likelihood of the right answers to unseen
questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.evaluation.metrics import nll
from predictor.calibration import Calibration

if TYPE_CHECKING:
    from common.question import Debias
    from pipelines.bank import LabelledQuestion
    from predictor.scorer import Scorer


@dataclass(frozen=True, slots=True)
class PriorTrial:
    """The prior, and the mean negative log-likelihood (nats) of `questions` right answers without and with it."""

    prior: Calibration
    without: float
    with_prior: float
    questions: int

    @property
    def helps(self) -> bool:
        return self.with_prior < self.without


def try_prior(scorer: Scorer, estimate: Sequence[LabelledQuestion], judge: Sequence[LabelledQuestion]) -> PriorTrial:
    """Estimates the letter prior on `estimate` and judges it on `judge`: neither empty, no question in both."""
    prior = scorer.estimate_prior([labelled.question for labelled in estimate])
    candidate = scorer.with_calibration(prior)
    return PriorTrial(prior, _nll(candidate, judge, "none"), _nll(candidate, judge, "prior"), len(judge))


def write_prior_if_better(folder: Path, by_choices: Sequence[Sequence[LabelledQuestion]]) -> PriorTrial:
    """Tries a prior for the version in `folder`, and writes it (calibration.json) only if it helps.

    `by_choices` holds the questions of each number of choices: the first half estimates, the second judges.
    """
    from predictor.scorer import Scorer

    estimate = [item for group in by_choices for item in group[: len(group) // 2]]
    judge = [item for group in by_choices for item in group[len(group) // 2 :]]
    trial = try_prior(Scorer.load(folder), estimate, judge)
    if trial.helps:
        trial.prior.write(folder)
    return trial


def _nll(scorer: Scorer, labelled: Sequence[LabelledQuestion], debias: Debias) -> float:
    answers = scorer.score([scorer.encode(item.question) for item in labelled], debias)
    return nll([answer.probabilities for answer in answers], [item.answer for item in labelled])
