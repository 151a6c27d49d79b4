"""Step 3: champion and challenger answer the same held-out questions, by the scorer that serves."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.mlflow.runs import ANSWERS_FILE, CHAMPION_TAG, EVALUATION_FILE
from common.names import CHALLENGER, CHAMPION
from common.question import LETTERS, QuestionError
from pipelines.evaluation import artifacts
from pipelines.evaluation.answer_records import AnswerRecord, read_records, write_records
from pipelines.registration.tracking import Tracking, step_run
from pipelines.retraining import evaluation_page
from pipelines.retraining.steps.collect_data import CURRENT, OLD_HOLDOUT, load
from pipelines.run_context import RunContext
from predictor.openmp import limit_spinning
from predictor.storage.resolver import resolve

if TYPE_CHECKING:
    from pipelines.bank import LabelledQuestion
    from pipelines.evaluation.report import Report
    from predictor.scorer import Prompt, Scorer

MIXES = {"current": CURRENT, "old": OLD_HOLDOUT}
SECONDS = "seconds.json"
WARM_UP = 5


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`numbers` by version and mix; the challenger's `confusion` on the current mix: rows right, columns chosen."""

    numbers: dict[str, float]
    letters: list[str]
    confusion: list[list[int]]


def evaluate(
    run: RunContext,
    challenger: Path,
    holdout: Path,
    results: Path,
    page: Path,
    *,
    timed: int,
    environ: Mapping[str, str] = os.environ,
) -> Evaluation:
    """Writes `results` (a folder: the records of both on both mixes, and paired times) and the HTML `page`.

    The page, the figures and every question's answers become artifacts of the step's MLflow run, too.
    `timed` questions are asked one by one, of both versions in turn, for the latency check.
    """
    limit_spinning()
    tracking = Tracking(environ, run.model)
    with step_run(tracking, run, "evaluate") as run_id:
        from predictor.scorer import Scorer

        base = resolve(f"mlflow://{run.model}/{run.champion}")
        scorers = {
            CHAMPION: Scorer.load(base, model_version=run.champion),
            CHALLENGER: Scorer.load(challenger, model_version="challenger"),
        }
        results.mkdir(parents=True, exist_ok=True)
        reports: dict[tuple[str, str], Report] = {}
        questions = {mix: load(holdout / file) for mix, file in MIXES.items()}
        for mix, asked in questions.items():
            if not asked:
                continue
            for name, scorer in scorers.items():
                reports[name, mix] = _evaluate(scorer, name, asked, mix)
                write_records(reports[name, mix].records, results / f"{name}-{mix}.jsonl")
        seconds = paired_times(scorers[CHAMPION], scorers[CHALLENGER], questions["current"][:timed])
        (results / SECONDS).write_text(json.dumps(seconds), encoding="utf-8")
        numbers = summarise(reports, seconds)
        text = evaluation_page.render(f"Challenger against version {run.champion}", reports, numbers)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")
        tracking.log(run_id, numbers)
        tracking.upload(run_id, "evaluation.html", text)
        answers = artifacts.answer_lines(reports, questions)
        calibrations = {name: scorer.calibration for name, scorer in scorers.items()}
        tracking.upload(run_id, ANSWERS_FILE, answers.text)
        tracking.upload(run_id, EVALUATION_FILE, artifacts.document(reports, calibrations, run.champion, answers))
        tracking.tag_run(run_id, CHAMPION_TAG, run.champion)  # last: by it others find a run that has the files
        for name, value in numbers.items():
            print(f"{name} {value:.4g}", flush=True)
        letters, confusion = confusion_matrix(reports[CHALLENGER, "current"].records)
        return Evaluation(numbers, letters, confusion)


def read_results(results: Path) -> tuple[dict[str, list[AnswerRecord]], tuple[list[float], list[float]]]:
    """The records by '<version>-<mix>' (no entry for a mix that was not asked), and the paired seconds."""
    names = [f"{name}-{mix}" for mix in MIXES for name in (CHAMPION, CHALLENGER)]
    files = {name: results / f"{name}.jsonl" for name in names}
    records = {name: read_records(file) for name, file in files.items() if file.is_file()}
    before, after = json.loads((results / SECONDS).read_text(encoding="utf-8"))
    return records, (before, after)


def paired_times(
    champion: Scorer, challenger: Scorer, questions: Sequence[LabelledQuestion]
) -> tuple[list[float], list[float]]:
    """Seconds of (champion, challenger), each question asked alone.

    The two take turns, and so does who is first, so that whatever else the machine does affects both alike.
    """
    pairs: tuple[list[float], list[float]] = ([], [])
    scorers = (champion, challenger)
    for number, labelled in enumerate([*questions[:WARM_UP], *questions]):
        try:
            prompts: list[Prompt] = [scorer.encode(labelled.question) for scorer in scorers]
        except QuestionError:
            continue
        seconds = [0.0, 0.0]
        for which in (0, 1) if number % 2 else (1, 0):
            began = time.perf_counter()
            scorers[which].score([prompts[which]])
            seconds[which] = time.perf_counter() - began
        if number >= min(WARM_UP, len(questions)):
            pairs[0].append(seconds[0])
            pairs[1].append(seconds[1])
    return pairs


def summarise(
    reports: Mapping[tuple[str, str], Report], times: tuple[Sequence[float], Sequence[float]]
) -> dict[str, float]:
    """The figures as MLflow metrics, by name."""
    numbers: dict[str, float] = {}
    for (name, mix), report in reports.items():
        values = {"accuracy": report.accuracy.value, "brier": report.brier, "nll": report.nll, "ece": report.ece}
        numbers |= {f"{name}_{mix}_{what}": value for what, value in values.items() if value is not None}
        numbers[f"{mix}_questions"] = float(len(report.records))
    for name, seconds in zip((CHAMPION, CHALLENGER), times, strict=True):
        if seconds:
            numbers[f"{name}_median_ms"] = 1000 * sorted(seconds)[len(seconds) // 2]
    return numbers


def confusion_matrix(records: Sequence[AnswerRecord]) -> tuple[list[str], list[list[int]]]:
    """The letters, and a matrix of how often each was right (row) and chosen (column)."""
    size = max(len(r.probabilities) for r in records)
    matrix = [[0] * size for _ in range(size)]
    for record in records:
        matrix[record.answer][record.chosen] += 1
    return list(LETTERS[:size]), matrix


def _evaluate(scorer: Scorer, name: str, questions: Sequence[LabelledQuestion], mix: str) -> Report:
    from pipelines.evaluation.report import QuestionSource
    from pipelines.evaluation.runner import InProcessAnswerer
    from pipelines.evaluation.runner import evaluate as evaluate_version

    printed = time.monotonic()

    def progress(_: str, done: int, total: int) -> None:
        nonlocal printed
        if time.monotonic() - printed > 10:
            printed = time.monotonic()
            print(f"{name}, {mix} mix: {done} of {total}", flush=True)

    source = QuestionSource("retraining holdout", mix, 0)
    return evaluate_version(InProcessAnswerer(scorer, name), questions, source, progress=progress)
