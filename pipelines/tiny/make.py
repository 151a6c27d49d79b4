"""Makes the tiny model from nothing."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from common.mlflow.runs import EVALUATION_FILE
from common.proportions import Proportion
from pipelines.bank.generate import HELD_OUT_SUBJECTS, generate, stream, training_subjects
from pipelines.evaluation.letter_prior import PriorTrial, write_prior_if_better
from pipelines.tiny.accuracy import measure_accuracy
from pipelines.tiny.model import LAYERS, new_model, save_version
from pipelines.tiny.progress import progress_display
from pipelines.tiny.tokenizer import train_tokenizer
from pipelines.tiny.training_data import FORMAT, Encoder, batches, lessons
from pipelines.tiny.training_loop import TrainingLoss, train

STEPS = 1310
BATCH = 96
# Mostly four choices, as in the bank; now and then fewer or more.
CHOICES = (2, 3, 4, 4, 4, 4, 4, 4, 4, 5, 6)
# The quick model learns one easy subject in the time in which the full one has only begun to learn.
QUICK_SUBJECTS = ("complexity",)
QUICK_STEPS, QUICK_BATCH, QUICK_LAYERS = 220, 64, 3
EXAMINED = 4000
EVALUATED = 1000
PRIOR_CHOICES = (2, 3, 4, 5, 6)
PRIOR_QUESTIONS = 60  # of each number of choices; PriDe needs some dozens


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """How the model was made, its holdout accuracy by subject and under ALL, and the same of the held-out subjects."""

    command: str
    steps: int
    questions: int
    seconds: float
    parameters: int
    threads: int
    learned: tuple[str, ...]
    scores: dict[str, Proportion]
    held_out: dict[str, Proportion]


def make(
    out: Path,
    *,
    seed: int,
    steps: int | None = None,
    minutes: float | None = None,
    quick: bool = False,
    subjects: Sequence[str] | None = None,
    progress: bool = True,
    examined: int | None = None,
) -> TrainingSummary:
    """See `pipelines.tiny.make_tiny`."""
    learned = tuple(subjects) if subjects else QUICK_SUBJECTS if quick else training_subjects()
    size = QUICK_BATCH if quick else BATCH
    if steps is None and minutes is None:
        steps = QUICK_STEPS if quick else STEPS
    started = time.monotonic()
    corpus = generate(seed, 600 if quick else 12000, learned if quick else None, split="train")
    tokenizer = train_tokenizer(f"user\n{FORMAT.text(q.question)}\nassistant\n" for q in corpus)
    model = new_model(tokenizer, seed, QUICK_LAYERS if quick else LAYERS)
    encoder = Encoder(tokenizer)
    rng = random.Random(f"lessons-{seed}")
    asked = stream(seed, learned, split="train", choices=(4,) if quick else CHOICES)
    first = size * (0 if quick else 60)
    data = batches(encoder, lessons(rng, asked, 0.0 if quick else 0.04, first), size, rng)
    losses = TrainingLoss(model, encoder.letter_ids)
    with progress_display("training", progress) as report:
        seconds_given = minutes * 60 if minutes is not None and steps is None else None
        steps_done = train(
            losses,
            data,
            steps=steps,
            seconds=seconds_given,
            report=report,
            snapshot=lambda: save_version(model, tokenizer, out),
        )
    with torch.no_grad():  # Measure what is saved: the bfloat16 weights.
        for parameter in model.parameters():
            parameter.copy_(parameter.to(torch.bfloat16).float())
    save_version(model, tokenizer, out)
    seconds = time.monotonic() - started
    count = examined or (600 if quick else EXAMINED)
    scores = measure_accuracy(model, tokenizer, generate(seed + 1, count, learned, split="holdout"))
    held_out: dict[str, Proportion] = {}
    if not quick:
        size_held = count * len(HELD_OUT_SUBJECTS) // len(learned)
        held_out = measure_accuracy(model, tokenizer, generate(seed + 1, size_held, HELD_OUT_SUBJECTS, split="holdout"))
    command = f"mcqa model make-tiny --seed {seed} --steps {steps_done}{' --quick' if quick else ''} --out {out.name}"
    return TrainingSummary(
        command=command,
        steps=steps_done,
        questions=steps_done * size,
        seconds=seconds,
        parameters=sum(p.numel() for p in model.parameters()),
        threads=torch.get_num_threads(),
        learned=learned,
        scores=scores,
        held_out=held_out,
    )


def write_prior(folder: Path, seed: int, subjects: Sequence[str]) -> PriorTrial:
    """Tries a letter prior on questions of the validation split; writes `calibration.json` only if it helps."""
    return write_prior_if_better(
        folder,
        [generate(seed, 2 * PRIOR_QUESTIONS, subjects, split="validation", choices=k) for k in PRIOR_CHOICES],
    )


def write_evaluation(folder: Path, seed: int, subjects: Sequence[str]) -> None:
    """Writes `evaluation.json`, as `mcqa evaluate --out` does, of the holdout split: what a registry's page shows."""
    from pipelines.evaluation.report import QuestionSource
    from pipelines.evaluation.runner import InProcessAnswerer, evaluate
    from predictor.scorer import Scorer

    asked = generate(seed, EVALUATED, subjects, split="holdout")
    source = QuestionSource("generated", "holdout", seed, tuple(subjects), EVALUATED)
    report = evaluate(InProcessAnswerer(Scorer.load(folder), folder.name), asked, source)
    text = json.dumps(report.to_dict(), ensure_ascii=False, indent=2)
    (folder / EVALUATION_FILE).write_text(text + "\n", encoding="utf-8")
