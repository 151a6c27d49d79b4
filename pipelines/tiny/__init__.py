"""A tiny Qwen2 that has really learned: everything runs offline through the code path of the real model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.tiny.make import TrainingSummary


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
    """Trains a tiny Qwen2 from nothing and writes it to `out`: Hugging Face layout, model card, letter prior.

    `steps` fixes the run: the same seed, thread count and library versions give the same weights. `minutes` chooses the
    number of steps by this machine's speed instead, and the card names it. `quick` learns one easy subject in about a
    minute. `subjects` replaces the training subjects (ValueError names an unknown one). Only questions of the train
    split are learned; the scores are on the holdout split. A letter prior is tried on the validation split and stored
    only if it helps; the evaluation of what serves is stored, too.
    """
    from pipelines.tiny.make import make, write_evaluation, write_prior
    from pipelines.tiny.model_card import write_card

    summary = make(out, seed=seed, steps=steps, minutes=minutes, quick=quick, subjects=subjects, progress=progress)
    if not quick:
        write_prior(out, seed, summary.learned)
        write_evaluation(out, seed + 1, summary.learned)
    write_card(out, summary)
    return summary
