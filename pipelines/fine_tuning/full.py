"""Fine-tune a tiny version on labelled questions."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.bank.labelled import LabelledQuestion
from pipelines.tiny.progress import shown
from pipelines.tiny.training_data import Encoder, batches
from pipelines.tiny.model import load_version, save_version
from pipelines.tiny.training_loop import TrainingLoss, train

BATCH = 64


@dataclass(frozen=True, slots=True)
class FullResult:
    steps: int
    questions: int


def tune(
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
    """See `pipelines.tiny.fine_tune`."""
    if not questions:
        raise ValueError("fine-tuning needs at least one question, found none")
    model, tokenizer = load_version(base)
    model.train()
    encoder = Encoder(tokenizer)
    rng = random.Random(f"tune-{seed}")
    losses = TrainingLoss(model, encoder.letter_ids)
    size = min(BATCH, len(questions))
    if steps is None and seconds is None:
        seconds = 60.0
    with shown("fine-tuning", progress) as report:
        done = train(
            losses,
            batches(encoder, _views(questions, rng), size, rng, pool=4),
            steps=steps,
            seconds=seconds,
            lr=lr,
            report=report,
            warmup=10,
            decay=0.6,
        )
    save_version(model, tokenizer, out)
    return FullResult(done, done * size)


def _views(questions: Sequence[LabelledQuestion], rng: random.Random) -> Iterator[LabelledQuestion]:
    """Every question once an epoch, in a new order, its choices shuffled anew, so that no letter can be learned."""
    for _ in itertools.count():
        for question in rng.sample(list(questions), len(questions)):
            yield question.shuffled(rng)
