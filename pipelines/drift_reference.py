"""A version's drift reference: its own answers on the mix of questions that it will see.

    python -m pipelines.drift_reference models/tiny

writes `reference.json` into the folder: the answers to 2,048 holdout questions with four choices, the subjects of the
tiny model's training in equal shares, which is the mix that `mcqa demo` begins with. The questions are fixed by the
seed; the answers' last digits depend on processor, threads and library versions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from functions.drift.reference import FEATURES, Reference, summarise
from pipelines.bank import TRAINING_SUBJECTS, generate

if TYPE_CHECKING:
    from common.question import Question
    from predictor.scorer import Scorer

FILE = "reference.json"
QUESTIONS = 2048
SEED = 31


def measure(scorer: Scorer, questions: Sequence[Question]) -> Reference:
    """The reference of the scorer's answers, debiased as it serves. Questions that are too long are left out.

    BadReferenceError when fewer than two can be answered.
    """
    from common.question import QuestionError

    prompts = []
    for question in questions:
        try:
            prompts.append(scorer.encode(question))
        except QuestionError:
            continue
    answers = scorer.score(prompts)
    features = {name: [float(getattr(answer, name)) for answer in answers] for name in FEATURES}
    return summarise(features, [answer.letter for answer in answers])


def write(folder: Path, questions: Sequence[Question]) -> Reference:
    """Measures the version in `folder` and writes the reference next to its weights."""
    from predictor.scorer import Scorer

    reference = measure(Scorer.load(folder), questions)
    (folder / FILE).write_text(reference.to_json() + "\n", encoding="utf-8")
    return reference


def bank_questions(
    size: int = QUESTIONS, subjects: Sequence[str] = TRAINING_SUBJECTS, seed: int = SEED
) -> list[Question]:
    """Holdout questions of the bank, subjects in equal shares."""
    return [item.question for item in generate(seed, size, subjects, split="holdout")]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipelines.drift_reference", description="Writes reference.json.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a version in Hugging Face layout")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help=f"how many to answer (default {QUESTIONS})")
    parser.add_argument("--seed", type=int, default=SEED, help=f"which questions (default {SEED})")
    args = parser.parse_args(argv)
    began = time.monotonic()
    reference = write(args.folder, bank_questions(args.questions, seed=args.seed))
    print(f"{args.folder / FILE}: {reference.n} answers in {time.monotonic() - began:.1f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
