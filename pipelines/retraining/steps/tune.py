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
from pipelines.retraining.mix import balanced
from pipelines.retraining.steps.collect import NEW, OLD, load
from predictor.openmp import limit_spinning
from predictor.storage.resolver import resolve
from predictor.storage.version_folder import data_files

PRIOR_QUESTIONS = 40
PRIOR_SHARE = 0.1
"""A number of choices that this share of the questions has is worth a prior of its own."""


def tune(
    run: Mapping[str, str],
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
    """Writes the folder `challenger`; the numbers of the training. 0 for `seconds`, `steps` and `lr` is the default.

    A version that an earlier attempt at this run key registered is taken as it is.
    """
    limit_spinning()
    tracking = Tracking(environ, run["model"])
    with step_run(tracking, run, "fine-tune") as run_id:
        if registered := run.get("registered"):
            print(f"an earlier attempt registered version {registered}: taking it", flush=True)
            copy_version(resolve(f"mlflow://{run['model']}/{registered}"), challenger)
            return {"registered": float(registered)}
        from pipelines.finetune.methods import fine_tune

        base = resolve(f"mlflow://{run['model']}/{run['champion']}")
        new, old = load(train / NEW), load(train / OLD)
        outcome = fine_tune(
            base,
            challenger,
            balanced(new, old, replay_share),
            method=method,
            seconds=seconds or None,
            steps=steps or None,
            lr=lr or None,
            seed=seed,
            blend=blend,
            lora=lora,
        )
        numbers = {**outcome.numbers, "left_out": float(outcome.left_out)}
        numbers |= letter_prior(challenger, [*new, *old], seed)
        tracking.log(
            run_id, numbers, {"method": outcome.method, "lr": lr, "replay_share": replay_share, "blend": blend}
        )
        print(", ".join(f"{name} {value:g}" for name, value in numbers.items()), flush=True)
        return numbers


def letter_prior(folder: Path, asked: Sequence[LabelledQuestion], seed: int) -> dict[str, float]:
    """Writes calibration.json where a prior makes unseen right answers likelier; what was found.

    Of the numbers of choices that are asked about, on questions of the bank's validation split, which nothing was
    trained on. Without a subject that the bank knows there is no prior.
    """
    from pipelines.evaluation.prior import try_prior
    from predictor.scorer import Scorer

    counts = Counter(len(one.question.choices) for one in asked)
    numbers = sorted(k for k, count in counts.items() if count >= PRIOR_SHARE * len(asked))
    wanted = sorted({one.subject for one in asked} & set(subjects()))
    drawn = [_drawn(seed, k, wanted) for k in numbers]
    half = PRIOR_QUESTIONS
    if not (drawn := [one for one in drawn if len(one) == 2 * half]):
        return {"prior_questions": 0.0}
    trial = try_prior(
        Scorer.load(folder), [q for one in drawn for q in one[:half]], [q for one in drawn for q in one[half:]]
    )
    if trial.helps:
        trial.prior.write(folder)
    return {
        "prior_questions": float(trial.questions),
        "prior_used": float(trial.helps),
        "nll_without_prior": trial.without,
        "nll_with_prior": trial.with_prior,
    }


def copy_version(folder: Path, out: Path) -> None:
    """The version's data files, whole, in another folder."""
    for name, path in data_files(folder).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out / name)


def _drawn(seed: int, choices: int, wanted: Sequence[str]) -> list[LabelledQuestion]:
    try:
        return generate(seed, 2 * PRIOR_QUESTIONS, wanted, split="validation", choices=choices) if wanted else []
    except ValueError:  # The families cannot give as many with so many choices.
        return []
