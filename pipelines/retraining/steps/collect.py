"""Step 1: the labelled data of the window, and the begin of the run's record."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, select

from functions.collect import queries
from functions.collect.tables import AskedQuestion, LoggedRequest
from functions.database import connect, transaction
from functions.retrain.pipelines import run_link
from pipelines.bank import TRAINING_SUBJECTS, dump_jsonl, load_jsonl
from pipelines.bank.labelled import LabelledQuestion
from pipelines.registration import versions
from pipelines.registration.tracking import PIPELINE_STEP, Tracking, step_run
from pipelines.retraining import PIPELINE, events
from pipelines.retraining.feedback import Feedback, gather, questions_of
from pipelines.retraining.mix import DataError, Mix, Sizes, mix
from predictor.question import Question, parse_question

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
) -> tuple[str, dict[str, float]]:
    """Writes the folders `train` and `holdout`; (the version already registered under this run key or "", counts).

    `run` names run_key, model, champion, reason, traceparent, drift_event, pipeline_run. Raises DataError when there
    is too little feedback.
    """
    tracking = Tracking(environ, run["model"])
    tags = {name: run[name] for name in ("reason", "traceparent", "drift_event", "pipeline_run", "champion", "model")}
    # What an earlier attempt had come to is no more.
    tags |= {"outcome": "", "error": "", "gate": ""}
    tracking.start_run(run["run_key"], PIPELINE_STEP, f"{PIPELINE} {run['run_key'][:16]}", tags)
    link = run_link(environ.get("KFP_ENDPOINT", ""), run["pipeline_run"])
    told = {name: run[name] for name in ("reason", "drift_event")}
    event = events.started(run["run_key"], run["traceparent"], link, **told)
    events.send(event, environ)
    with step_run(tracking, run, "collect-data") as run_id:
        champion = tracking.version(run["champion"])
        if champion is None:
            raise DataError(f"{run['model']} has no version {run['champion']}: nothing to compare a challenger with")
        known = [s for s in champion.tags.get(SUBJECTS_TAG, "").split(",") if s] or TRAINING_SUBJECTS
        feedback, asked = read(environ, since, until, sizes.recent)
        data = mix(feedback, asked, known, sizes, seed)
        write(data, train, holdout)
        counts = _counts(feedback, data)
        params = {**asdict(sizes), "since": since, "until": until, "seed": seed, "data_digest": data.digest}
        tracking.log(run_id, counts, params)
        print(", ".join(f"{name} {value:g}" for name, value in counts.items()), flush=True)
        earlier = versions.find(tracking, run["run_key"])
    return (earlier.version if earlier else ""), counts


def read(environ: Mapping[str, str], since: float, until: float, recent: int) -> tuple[Feedback, list[Question]]:
    """What was labelled within [since, until), and up to 4 times `recent` questions asked then, the latest first."""
    with transaction(connect(environ)) as connection:
        feedback = gather(queries.labelled(connection, since, until))
        return feedback, questions_of(_asked(connection, since, until, 4 * recent))


def _asked(connection: Connection, since: float, until: float, most: int) -> Iterator[dict[str, Any]]:
    same = and_(LoggedRequest.source == AskedQuestion.source, LoggedRequest.id == AskedQuestion.id)
    statement = (
        select(AskedQuestion.question)
        .join(LoggedRequest, same)
        .where(LoggedRequest.requested_at >= since, LoggedRequest.requested_at < until)
        .order_by(LoggedRequest.requested_at.desc(), AskedQuestion.id, AskedQuestion.place)
        .limit(most)
    )
    for (question,) in connection.execute(statement):
        yield question


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
