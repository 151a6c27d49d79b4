"""A registry as the loop leaves it, at a real MLflow server: a first version, and retrainings with their runs.

The versions hold no weights; the evaluations are of questions of the bank that a rule answers, with the pipeline's own
report, gate and files.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from loop_parts import register

from common.gate_tag import GATE_TAG, GateTag
from common.mlflow.runs import ANSWERS_FILE, CHAMPION_TAG, EVALUATION_FILE, GATE_FILE, PIPELINE_STEP, RUN_KEY_TAG
from pipelines.bank import LabelledQuestion, generate
from pipelines.evaluation import artifacts
from pipelines.evaluation.answer_records import AnswerRecord, question_id
from pipelines.evaluation.report import EvaluatedModel, QuestionSource, Report
from pipelines.quality_gate import GateConfig, PairedAnswers, evaluate_gate
from pipelines.registration.tracking import Tracking
from predictor.calibration import Calibration

CARD = {
    "schema": 1,
    "title": "tiny demonstration model",
    "subjects": ["lists", "loops"],
    "stems": ["What does this code print?"],
    "accuracy": {"value": 0.69, "low": 0.67, "high": 0.7, "questions": 4000},
}
PRIOR = Calibration({4: (0.4, 0.3, 0.2, 0.1)}, questions=60)
LENIENT = GateConfig(old_margin=None, brier_margin=None, ece_margin=None, letter_margin=None, latency_factor=None)
DIGEST = hashlib.sha256(b"data").hexdigest()


@dataclass(frozen=True, slots=True)
class Retraining:
    """`skill` and `against`: how often challenger and champion are right, on questions of this `seed`."""

    champion: str
    skill: float
    against: float
    seed: int
    size: int = 400
    with_files: bool = True


def key_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def first_version(url: str, model: str) -> str:
    files = {"card.json": json.dumps(CARD)}
    tags = {RUN_KEY_TAG: "bootstrap", "source": "models/tiny", "subjects": "lists,loops"}
    return register(url, model, files, **tags)


def retrained(tracking: Tracking, url: str, name: str, what: Retraining) -> str:
    """A version with the runs of the retraining that made it."""
    key = key_of(name)
    tags = {CHAMPION_TAG: what.champion, "pipeline_run": f"run-{name}"}
    parent = tracking.start_run(key, PIPELINE_STEP, f"coding-mcqa-retraining {key[:16]}", tags)
    collected = tracking.start_run(key, "collect-data", "collect-data", {}, parent)
    tracking.log(
        collected, {"train_new": 120, "holdout_current": what.size}, {"data_digest": DIGEST, "seed": what.seed}
    )
    questions = generate(what.seed, what.size, ("lists", "loops", "regex"), split="holdout")
    before = report(questions, what.against, 1, "none")
    after = report(questions, what.skill, 2, "prior")
    gate = evaluate_gate(PairedAnswers.join(before.records, after.records), config=LENIENT)
    tag = GateTag(gate.verdict, "; ".join(gate.reasons)).encode()
    evaluated = tracking.start_run(key, "evaluate", "evaluate", {}, parent)
    if what.with_files:
        reports = {("champion", "current"): before, ("challenger", "current"): after}
        answers = artifacts.answer_lines(reports, {"current": questions})
        priors = {"champion": Calibration(), "challenger": PRIOR}
        tracking.upload(evaluated, ANSWERS_FILE, answers.text)
        tracking.upload(evaluated, EVALUATION_FILE, artifacts.document(reports, priors, what.champion, answers))
        tracking.tag_run(evaluated, CHAMPION_TAG, what.champion)
    judged = tracking.start_run(key, "gate", "gate", {GATE_TAG: tag}, parent)
    tracking.upload(judged, GATE_FILE, json.dumps(gate.to_dict()))
    for run in (collected, evaluated, judged, parent):
        tracking.end_run(run, "FINISHED")
    prior = json.dumps({"schema": 1, "questions": PRIOR.questions, "letter_prior": {"4": PRIOR.priors[4]}})
    return register(
        url,
        tracking.model_name,
        {"calibration.json": prior, "card.json": json.dumps({**CARD, "accuracy": None})},
        **{
            RUN_KEY_TAG: key,
            CHAMPION_TAG: what.champion,
            GATE_TAG: tag,
            "reason": "the answers drifted: confidence fell",
            "data_digest": DIGEST,
            "subjects": "lists,loops,regex",
            "pipeline_run": f"run-{name}",
            "drift_event": "drift 1",
            "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
        },
    )


def report(questions: Sequence[LabelledQuestion], skill: float, seed: int, debias: str) -> Report:
    """Right with this probability, by question and seed; the more confident, the more often."""
    records = []
    for item in questions:
        rng = random.Random(f"{seed} {question_id(item.question)}")
        count = len(item.question.choices)
        right = rng.random() < skill
        wrong = rng.choice([place for place in range(count) if place != item.answer])
        chosen = item.answer if right else wrong
        confidence = rng.uniform(0.5, 0.95) if right else rng.uniform(0.35, 0.8)
        rest = (1 - confidence) / (count - 1)
        row = tuple(confidence if place == chosen else rest for place in range(count))
        records.append(AnswerRecord(question_id(item.question), item.subject, item.answer, chosen, row, 0.99, 80))
    source = QuestionSource("retraining holdout", "current", 0)
    return Report(EvaluatedModel("x", "test"), source, debias, tuple(records), 1.0, "2026-11-30T00:00:00+00:00")
