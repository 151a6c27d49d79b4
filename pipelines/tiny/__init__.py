"""A tiny Qwen2 that really learned: everything runs offline through the same code path as the real model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.bank.labelled import LabelledQuestion
    from pipelines.tiny.make import TrainingSummary
    from pipelines.fine_tuning.full import FullResult


def make_tiny(
    out: Path,
    *,
    seed: int = 20,
    steps: int | None = None,
    minutes: float | None = None,
    quick: bool = False,
    subjects: Sequence[str] | None = None,
    progress: bool = True,
) -> TrainingSummary:
    """Train a tiny Qwen2 from nothing and write it to `out`: Hugging Face layout, model card, letter prior.

    `steps` fixes the run: with the same seed, thread count and library versions it gives the same weights. `minutes`
    chooses the number of steps by this machine's speed instead, and the card names it. `quick` learns one easy
    subject in about a minute. `subjects` replaces the training subjects (ValueError names an unknown one).
    Only questions of the train split are learned from; the scores are on the holdout split. A letter prior is tried
    on the validation split and stored only where it helps.
    """
    from pipelines.tiny.model_card import write_card
    from pipelines.tiny.make import make
    from pipelines.tiny.letter_prior import write_prior

    made = make(out, seed=seed, steps=steps, minutes=minutes, quick=quick, subjects=subjects, progress=progress)
    if not quick:
        write_prior(out, seed, made.learned)
    write_card(out, made)
    return made


def fine_tune(
    base: Path,
    out: Path,
    questions: Sequence[LabelledQuestion],
    *,
    steps: int | None = None,
    seconds: float | None = None,
    lr: float = 1.5e-3,
    seed: int = 0,
    progress: bool = True,
) -> FullResult:
    """Train every weight of the tiny version in `base` on the questions and write the result to `out`.

    About a minute by default. RetrainingDataset questions on the old subjects in, half and half, or they are forgotten. The choices
    are shuffled anew at each view. ValueError when there are no questions.
    """
    from pipelines.fine_tuning.full import tune

    return tune(base, out, questions, steps=steps, seconds=seconds, lr=lr, seed=seed, progress=progress)
