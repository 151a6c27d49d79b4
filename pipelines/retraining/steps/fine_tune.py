"""Step 2: the challenger, trained from the champion, with its letter prior where that helps.

The prior belongs to the version that is examined: estimated after the gate, it would change the answers that passed.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.bank import LabelledQuestion, generate, subjects
from pipelines.registration.tracking import Tracking, step_run
from pipelines.retraining.dataset import balanced_epoch
from pipelines.retraining.steps.collect_data import NEW, OLD, load
from pipelines.run_context import RunContext
from predictor.openmp import limit_spinning
from predictor.storage.resolver import resolve
from predictor.storage.version_folder import data_files

PRIOR_QUESTIONS = 40
PRIOR_SHARE = 0.1
"""A number of choices that this share of the questions has gets a prior of its own."""


def fine_tune(
    run: RunContext,
    train: Path,
    challenger: Path,
    *,
    method: str,
    seconds: float,
    steps: int,
    lr: float,
    replay_share: float,
    blend: float,
    seed: int,
    lora: Mapping[str, Any],
    environ: Mapping[str, str] = os.environ,
) -> dict[str, float]:
    """Writes the folder `challenger`; returns the training's numbers. 0 for `seconds`, `steps` or `lr` is the default.

    A version that an earlier attempt under this run key registered is copied instead.
    """
    limit_spinning()
    tracking = Tracking(environ, run.model)
    with step_run(tracking, run, "fine-tune") as run_id:
        if run.registered:
            print(f"an earlier attempt registered version {run.registered}: using it", flush=True)
            copy_version(resolve(f"mlflow://{run.model}/{run.registered}"), challenger)
            return {"registered": float(run.registered)}
        from pipelines.fine_tuning import methods

        base = resolve(f"mlflow://{run.model}/{run.champion}")
        new, old = load(train / NEW), load(train / OLD)
        result = methods.fine_tune(
            base,
            challenger,
            balanced_epoch(new, old, replay_share),
            method=method,
            seconds=seconds or None,
            steps=steps or None,
            lr=lr or None,
            seed=seed,
            blend=blend,
            lora=lora,
        )
        numbers = {**result.numbers, "left_out": float(result.left_out)}
        numbers |= write_letter_prior(challenger, [*new, *old], seed)
        tracking.log(run_id, numbers, {"method": result.method, "lr": lr, "replay_share": replay_share, "blend": blend})
        print(", ".join(f"{name} {value:g}" for name, value in numbers.items()), flush=True)
        return numbers


def write_letter_prior(folder: Path, asked: Sequence[LabelledQuestion], seed: int) -> dict[str, float]:
    """Writes calibration.json where a prior makes the right answers to unseen questions likelier; returns the numbers.

    The prior covers the numbers of choices that occur in `asked`. It is tried on the bank's validation split, which
    nothing was trained on; without a subject that the bank knows there is no prior.
    """
    from pipelines.evaluation.letter_prior import write_prior_if_better

    counts = Counter(len(item.question.choices) for item in asked)
    numbers_of_choices = sorted(k for k, count in counts.items() if count >= PRIOR_SHARE * len(asked))
    bank_subjects = sorted({item.subject for item in asked} & set(subjects()))
    by_choices = [drawn for k in numbers_of_choices if (drawn := _draw(seed, k, bank_subjects))]
    if not by_choices:
        return {"prior_questions": 0.0}
    trial = write_prior_if_better(folder, by_choices)
    return {
        "prior_questions": float(trial.questions),
        "prior_used": float(trial.helps),
        "nll_without_prior": trial.without,
        "nll_with_prior": trial.with_prior,
    }


def copy_version(folder: Path, out: Path) -> None:
    """Copies the version's data files, following links."""
    for name, path in data_files(folder).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out / name)


def _draw(seed: int, choices: int, bank_subjects: Sequence[str]) -> list[LabelledQuestion]:
    """Questions to estimate and to judge the prior on; none where the bank has too few."""
    if not bank_subjects:
        return []
    try:
        return generate(seed, 2 * PRIOR_QUESTIONS, bank_subjects, split="validation", choices=choices)
    except ValueError:  # The families cannot give as many with so many choices.
        return []
