"""What training teaches the tiny model, on holdout questions: quick mode from scratch, and fine-tuning on new subjects.

Limited by steps, so that the figures depend on the machine's number formats and thread count, never on speed or load.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.results import Row, report
from predictor.serving.settings import SHIPPED_MODEL

TUNE_STEPS = 80
CHANCE = 25.0


def main() -> None:
    with tempfile.TemporaryDirectory() as work:
        rows = [*quick(Path(work) / "quick"), *fine_tuning(Path(work) / "tuned")]
    report("learning: right answers on unseen questions", rows)


def quick(out: Path) -> list[Row]:
    """`make-tiny --quick`: one easy subject, 220 steps. The lower end of its interval must be above chance."""
    from pipelines.tiny import make_tiny

    score = make_tiny(out, seed=1, quick=True, progress=False).scores["all"]
    return [
        Row("quick mode from scratch: right", 100 * score.value, "%"),
        Row("quick mode from scratch: lower end, chance 25", 100 * score.low, "%", at_least=CHANCE + 5),
    ]


def fine_tuning(out: Path) -> list[Row]:
    """The drift: subjects the shipped model never saw. Old subjects are mixed in, so that they are not forgotten."""
    from pipelines.bank import HELD_OUT_SUBJECTS, TRAINING_SUBJECTS, generate
    from pipelines.fine_tuning.full import fine_tune_full
    from pipelines.tiny.accuracy import measure_accuracy
    from pipelines.tiny.model import load_version

    new = generate(31, 900, HELD_OUT_SUBJECTS, split="train")
    old = generate(32, 600, TRAINING_SUBJECTS, split="train")
    fine_tune_full(SHIPPED_MODEL, out, [*new, *old], steps=TUNE_STEPS, seed=1, progress=False)
    before, after = load_version(SHIPPED_MODEL), load_version(out)
    rows = []
    for name, seed, subjects, at_least in (
        ("new subjects", 33, HELD_OUT_SUBJECTS, 5.0),
        ("old subjects", 34, TRAINING_SUBJECTS, -8.0),
    ):
        questions = generate(seed, 400, subjects, split="holdout")
        was, now = (100 * measure_accuracy(*version, questions)["all"].value for version in (before, after))
        rows += [
            Row(f"{name}: right before", was, "%"),
            Row(f"{name}: gained by {TUNE_STEPS} steps", now - was, "points", at_least=at_least),
        ]
    return rows


if __name__ == "__main__":
    main()
