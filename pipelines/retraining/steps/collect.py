"""Step 1: the labelled data of the window, and the begin of the run's record."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.question import Question, parse_question
from functions.collect import queries
from functions.database import connect, transaction
from functions.retrain.pipelines import run_link
from pipelines.bank import TRAINING_SUBJECTS, dump_jsonl, load_jsonl
from pipelines.bank.labelled import LabelledQuestion
from pipelines.registration import versions
from pipelines.registration.tracking import PIPELINE_STEP, Tracking, step_run
from pipelines.retraining import PIPELINE, events
from pipelines.retraining.feedback import Feedback, gather, questions_of
from pipelines.retraining.mix import DataError, Mix, Sizes, mix
from pipelines.retraining.steps import identity

SUBJECTS_TAG = "subjects"
NEW, OLD = "new.jsonl", "old.jsonl"
CURRENT, OLD_HOLDOUT, RECENT = "current.jsonl", "old.jsonl", "recent.jsonl"


def collect(
    run: Mapping[str, str],
    since: float,
    until: float,
    sizes: Sizes,
    seed: int,
    train: Path,
    holdout: Path,
    environ: Mapping[str, str] = os.environ,
) -> tuple[dict[str, str], dict[str, float]]:
    """Writes the folders `train` and `holdout`; (the run as the later steps get it, counts).

    `run` names run_key, model, champion, reason, traceparent, drift_event, pipeline_run; what of it is empty is found
    out (see identity.py), and `until` 0 is now. The result has `registered` beside it: the version already registered
    under this run key, or "". Raises DataError when there is too little feedback.
    """
    run = {**run, "model": identity.model_of(run, environ)}
    tracking = Tracking(environ, run["model"])
    drawn: tuple[Feedback, Mix] | None = None
    if not run["run_key"]:
        # An earlier try of this step may have found it out, and the same run must not become two.
        tags = identity.recorded(tracking, run)
        run, until = identity.complete(run, tags), until or float(tags.get("until") or 0)
    run["champion"] = run["champion"] or identity.champion_of(tracking)
    until = until or time.time()
    if not run["run_key"]:
        try:
            drawn = _draw(tracking, run, since, until, sizes, seed, environ)
            key = identity.key_of_data(run["model"], run["champion"], drawn[1].digest)
        except DataError:
            key = identity.key_of_run(run["pipeline_run"])  # and below the same error, for the record
        run = identity.named(run, key)
    begin(tracking, run, until, environ)
    with step_run(tracking, run, "collect-data") as run_id:
        feedback, data = drawn or _draw(tracking, run, since, until, sizes, seed, environ)
        write(data, train, holdout)
        counts = _counts(feedback, data)
        params = {**asdict(sizes), "since": since, "until": until, "seed": seed, "data_digest": data.digest}
        tracking.log(run_id, counts, params)
        print(", ".join(f"{name} {value:g}" for name, value in counts.items()), flush=True)
        earlier = versions.find(tracking, run["run_key"])
    return {**run, "registered": earlier.version if earlier else ""}, counts


def begin(tracking: Tracking, run: Mapping[str, str], until: float, environ: Mapping[str, str]) -> None:
    """The run's record, and the event that tells of it."""
    tags = {name: run[name] for name in ("reason", "traceparent", "drift_event", "pipeline_run", "champion", "model")}
    # What an earlier attempt had come to is no more.
    tags |= {"until": repr(until), "outcome": "", "error": "", "gate": ""}
    tracking.start_run(run["run_key"], PIPELINE_STEP, f"{PIPELINE} {run['run_key'][:16]}", tags)
    link = run_link(environ.get("KFP_ENDPOINT", ""), run["pipeline_run"])
    told = {name: run[name] for name in ("reason", "drift_event")}
    events.send(events.started(run["run_key"], run["traceparent"], link, **told), environ)


def _draw(
    tracking: Tracking,
    run: Mapping[str, str],
    since: float,
    until: float,
    sizes: Sizes,
    seed: int,
    environ: Mapping[str, str],
) -> tuple[Feedback, Mix]:
    champion = tracking.version(run["champion"]) if run["champion"] else None
    if champion is None:
        wanted = f"version {run['champion']}" if run["champion"] else "champion"
        raise DataError(f"{run['model']} has no {wanted}: nothing to compare a challenger with")
    known = [s for s in champion.tags.get(SUBJECTS_TAG, "").split(",") if s] or TRAINING_SUBJECTS
    feedback, asked = read(environ, since, until, sizes.recent)
    return feedback, mix(feedback, asked, known, sizes, seed)


def read(environ: Mapping[str, str], since: float, until: float, recent: int) -> tuple[Feedback, list[Question]]:
    """What was labelled within [since, until), and up to 4 times `recent` questions asked then, the latest first."""
    with transaction(connect(environ)) as connection:
        feedback = gather(queries.labelled(connection, since, until))
        return feedback, questions_of(queries.recent(connection, since, until, 4 * recent))


def write(data: Mix, train: Path, holdout: Path) -> None:
    """The folders that the later steps read."""
    for folder in (train, holdout):
        folder.mkdir(parents=True, exist_ok=True)
    for path, questions in (
        (train / NEW, data.new),
        (train / OLD, data.old),
        (holdout / CURRENT, data.current),
        (holdout / OLD_HOLDOUT, data.old_holdout),
    ):
        dump_jsonl(questions, path)
    lines = (
        {"question": q.stem, "choices": list(q.choices), "code": q.code, "subject": q.subject} for q in data.recent
    )
    (holdout / RECENT).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    about = {"digest": data.digest, SUBJECTS_TAG: list(data.learned)}
    (holdout / "about.json").write_text(json.dumps(about), encoding="utf-8")


def load(path: Path) -> list[LabelledQuestion]:
    """A part that `write` wrote; some may be empty."""
    return load_jsonl(path) if path.stat().st_size else []


def load_recent(holdout: Path) -> list[Question]:
    return [parse_question(json.loads(line)) for line in (holdout / RECENT).read_text(encoding="utf-8").splitlines()]


def load_about(holdout: Path) -> dict[str, Any]:
    """`digest` of the data, and the `subjects` that a version knows after learning from it."""
    found: dict[str, Any] = json.loads((holdout / "about.json").read_text(encoding="utf-8"))
    return found


def _counts(feedback: Feedback, data: Mix) -> dict[str, float]:
    return {
        "feedback_rows": feedback.rows,
        "feedback_unusable": feedback.unusable,
        "feedback_conflicting": feedback.conflicting,
        "feedback_questions": len(feedback.questions),
        "train_new": len(data.new),
        "train_old": len(data.old),
        "holdout_current": len(data.current),
        "holdout_old": len(data.old_holdout),
        "recent": len(data.recent),
    }
