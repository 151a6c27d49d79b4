"""Fine-tuning of a tiny version, every weight of it, on labelled questions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.bank.labelled_question import LabelledQuestion, shuffled_epochs
from pipelines.tiny.model import load_version, save_version
from pipelines.tiny.progress import progress_display
from pipelines.tiny.training_data import Encoder, batches
from pipelines.tiny.training_loop import TrainingLoss, train

BATCH = 64
DEFAULT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class FullResult:
    """What was done: optimizer steps and questions seen."""

    steps: int
    questions: int


def fine_tune_full(
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
    """Trains every weight of the tiny version in `base` on the questions and writes the result to `out`.

    About a minute by default. Mix in questions on the old subjects, half and half, or they are forgotten. The choices
    are shuffled again at each view. ValueError when there are no questions.
    """
    if not questions:
        raise ValueError("fine-tuning needs at least one question, found none")
    model, tokenizer = load_version(base)
    model.train()
    encoder = Encoder(tokenizer)
    rng = random.Random(f"tune-{seed}")
    size = min(BATCH, len(questions))
    if steps is None and seconds is None:
        seconds = DEFAULT_SECONDS
    with progress_display("fine-tuning", progress) as report:
        steps_done = train(
            TrainingLoss(model, encoder.letter_ids),
            batches(encoder, shuffled_epochs(questions, rng), size, rng, pool=4),
            steps=steps,
            seconds=seconds,
            lr=lr,
            report=report,
            warmup=10,
            decay=0.6,
        )
    save_version(model, tokenizer, out)
    return FullResult(steps_done, steps_done * size)
