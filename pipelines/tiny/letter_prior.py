"""The letter prior of a freshly made version, stored beside its weights where it helps (predictor/calibration.py)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipelines.bank.generate import generate
from pipelines.evaluation.letter_prior import PriorTrial, try_prior

# The numbers of choices it was trained on; PriDe needs some dozens of questions of each.
CHOICES = (2, 3, 4, 5, 6)
QUESTIONS = 60


def write_prior(folder: Path, seed: int, subjects: Sequence[str]) -> PriorTrial:
    """Tries the prior on questions of the validation split, and writes `calibration.json` only where it helps."""
    from predictor.scorer import Scorer

    scorer = Scorer.load(folder)
    asked = [generate(seed, 2 * QUESTIONS, subjects, split="validation", choices=k) for k in CHOICES]
    trial = try_prior(
        scorer,
        [question for questions in asked for question in questions[:QUESTIONS]],
        [question for questions in asked for question in questions[QUESTIONS:]],
    )
    if trial.helps:
        trial.prior.write(folder)
    return trial
