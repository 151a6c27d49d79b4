"""Step 1: the labelled data of the window, and the beginning of the run's record."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from common import links
from common.gate_tag import GATE_TAG
from common.mlflow.runs import PIPELINE_STEP
from common.names import PIPELINE
from common.question import Question, parse_question
from functions.collect import queries
from functions.database import connect, transaction
from pipelines.bank import TRAINING_SUBJECTS, dump_jsonl, load_jsonl
from pipelines.bank.labelled_question import LabelledQuestion
from pipelines.registration import versions
from pipelines.registration.tracking import Tracking, step_run
from pipelines.retraining import events
from pipelines.retraining.dataset import DataError, DatasetSizes, RetrainingDataset, build_dataset
from pipelines.retraining.feedback import Feedback, aggregate_feedback, parse_questions
from pipelines.retraining.steps import run_identity
from pipelines.run_context import RunContext

SUBJECTS_TAG = "subjects"
NEW, OLD = "new.jsonl", "old.jsonl"
CURRENT, OLD_HOLDOUT, RECENT = "current.jsonl", "old.jsonl", "recent.jsonl"
ABOUT = "about.json"


def collect_data(
    run: RunContext,
    since: float,
    until: float,
    sizes: DatasetSizes,
    seed: int,
    train: Path,
    holdout: Path,
    environ: Mapping[str, str] = os.environ,
) -> tuple[RunContext, dict[str, float]]:
    """Writes the folders `train` and `holdout`; returns the context for the later steps, and counts.

    What `run` lacks is found out (see run_identity.py); `until` 0 is now. Raises DataError when there is too little
    feedback.
    """
    run = run_identity.with_model(run, environ)
    tracking = Tracking(environ, run.model)
    drawn: tuple[Feedback, RetrainingDataset] | None = None
    if not run.run_key:
        # An earlier attempt at this step may have found it out, and the same run must not become two.
        tags = run_identity.recorded_tags(tracking, run)
        run, until = run_identity.with_recorded(run, tags), until or float(tags.get("until") or 0)
    run = run_identity.with_champion(run, tracking)
    until = until or time.time()
    if not run.run_key:
        try:
            drawn = _draw(tracking, run, since, until, sizes, seed, environ)
            key = run_identity.key_of_data(run.model, run.champion, drawn[1].digest)
        except DataError:
            key = run_identity.key_of_run(run.pipeline_run)  # the same error is raised again below, on the record
        run = run_identity.with_key(run, key)
    begin_record(tracking, run, until, environ)
    with step_run(tracking, run, "collect-data") as run_id:
        feedback, data = drawn or _draw(tracking, run, since, until, sizes, seed, environ)
        write(data, train, holdout)
        counts = _counts(feedback, data)
        params = {**asdict(sizes), "since": since, "until": until, "seed": seed, "data_digest": data.digest}
        tracking.log(run_id, counts, params)
        print(", ".join(f"{name} {value:g}" for name, value in counts.items()), flush=True)
        earlier = versions.find(tracking, run.run_key)
    return replace(run, registered=earlier.version if earlier else ""), counts


def begin_record(tracking: Tracking, run: RunContext, until: float, environ: Mapping[str, str]) -> None:
    """Begins the run's record in MLflow, and sends the event that says so."""
    tags = {
        "reason": run.reason,
        "traceparent": run.traceparent,
        "drift_event": run.drift_event,
        "pipeline_run": run.pipeline_run,
        "champion": run.champion,
        "model": run.model,
        "until": repr(until),
        # What an earlier attempt came to no longer holds.
        "outcome": "",
        "error": "",
        GATE_TAG: "",
    }
    tracking.start_run(run.run_key, PIPELINE_STEP, f"{PIPELINE} {run.run_key[:16]}", tags)
    link = links.pipeline_run(environ, run.pipeline_run)
    event = events.started(run.run_key, run.traceparent, link, reason=run.reason, drift_event=run.drift_event)
    events.send(event, environ)


def _draw(
    tracking: Tracking,
    run: RunContext,
    since: float,
    until: float,
    sizes: DatasetSizes,
    seed: int,
    environ: Mapping[str, str],
) -> tuple[Feedback, RetrainingDataset]:
    champion = tracking.version(run.champion) if run.champion else None
    if champion is None:
        missing = f"version {run.champion}" if run.champion else "champion"
        raise DataError(f"{run.model} has no {missing}: nothing to compare a challenger with")
    known = [s for s in champion.tags.get(SUBJECTS_TAG, "").split(",") if s] or TRAINING_SUBJECTS
    feedback, asked = read(environ, since, until, sizes.recent)
    return feedback, build_dataset(feedback, asked, known, sizes, seed)


def read(environ: Mapping[str, str], since: float, until: float, recent: int) -> tuple[Feedback, list[Question]]:
    """The feedback within [since, until), and up to 4 times `recent` questions asked then, the latest first."""
    with transaction(connect(environ)) as connection:
        feedback = aggregate_feedback(queries.labelled(connection, since, until))
        return feedback, parse_questions(queries.recent(connection, since, until, 4 * recent))


def write(data: RetrainingDataset, train: Path, holdout: Path) -> None:
    """Writes the folders that the later steps read."""
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
    (holdout / ABOUT).write_text(json.dumps(about), encoding="utf-8")


def load(path: Path) -> list[LabelledQuestion]:
    """A part that `write` wrote; some may be empty."""
    return load_jsonl(path) if path.stat().st_size else []


def load_recent(holdout: Path) -> list[Question]:
    return [parse_question(json.loads(line)) for line in (holdout / RECENT).read_text(encoding="utf-8").splitlines()]


def load_about(holdout: Path) -> dict[str, Any]:
    """`digest` of the data, and the `subjects` that a version knows after learning from it."""
    about: dict[str, Any] = json.loads((holdout / ABOUT).read_text(encoding="utf-8"))
    return about


def _counts(feedback: Feedback, data: RetrainingDataset) -> dict[str, float]:
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
