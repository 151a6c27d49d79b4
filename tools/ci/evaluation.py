"""The model evaluation gate of CI: `mcqa evaluate` on fixed questions, against a stored baseline, answer by answer.

Both answered the same questions, so the comparison is paired: of the questions that one of them got right alone, an
interval of the loss. Passing takes proof that the loss stays within a margin; too few questions do not pass.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.proportions import paired_interval
from pipelines.evaluation import metrics
from pipelines.evaluation.answer_records import AnswerRecord, read_records
from tools import process
from tools.ci.evaluation_report import html
from tools.errors import ToolError
from tools.project import ROOT

BASELINE = ROOT / "tools" / "ci" / "evaluation-baseline.json"
REPORTS = ROOT / "build" / "reports" / "evaluation"
LIMIT, ALPHA, MARGIN = 1000, 0.05, 0.02
UNUSABLE = 2
"""Exit status where nothing could be compared; 1 is a model that failed."""


class UnusableError(ToolError):
    """There is no verdict; the message says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message, UNUSABLE)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is measured: a model version or a running server, "" for the shipped model. `out`: the report's folder."""

    model: str = ""
    url: str = ""
    bank: str = ""
    limit: int = LIMIT
    out: Path = REPORTS


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a model answered once: by question id, whether it was right and its Brier score (0..2)."""

    model: str
    questions: Mapping[str, Any]
    answers: Mapping[str, tuple[bool, float]]


@dataclass(frozen=True, slots=True)
class Check:
    """One measure against the baseline. `worse` is the loss, `bound` its one-sided 95% upper bound."""

    name: str
    baseline: float
    found: float
    worse: float
    bound: float
    margin: float

    @property
    def passed(self) -> bool:
        return self.bound <= self.margin


@dataclass(frozen=True, slots=True)
class Comparison:
    """The model against the baseline: passed when every check did."""

    baseline: str
    model: str
    questions: int
    gained: int
    lost: int
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        checks = [{**asdict(check), "passed": check.passed} for check in self.checks]
        return {**asdict(self), "checks": checks, "passed": self.passed}


def compare(
    baseline: Baseline, model: str, records: Sequence[AnswerRecord], margin: float, alpha: float = ALPHA
) -> Comparison:
    """Over the same questions; UnusableError when they are not the same."""
    answers = {record.id: summary(record) for record in records}
    if different := answers.keys() ^ baseline.answers.keys():
        raise UnusableError(
            f"the baseline is of other questions ({len(different)} differ, {min(different)} among them): where they "
            "were meant to change, measure the model that serves and write the baseline again with --write"
        )
    pairs = [(baseline.answers[key], answers[key]) for key in answers]
    n = len(pairs)
    if n < 2:
        raise UnusableError(f"{n} questions are too few to compare")
    gained = sum(new[0] and not old[0] for old, new in pairs)
    lost = sum(old[0] and not new[0] for old, new in pairs)
    low, _ = paired_interval(gained, lost, n, alpha)
    accuracy = Check(
        "accuracy",
        statistics.fmean(old[0] for old, _ in pairs),
        statistics.fmean(new[0] for _, new in pairs),
        (lost - gained) / n,
        -low,
        margin,
    )
    rises = [new[1] - old[1] for old, new in pairs]
    rise, spread = statistics.fmean(rises), statistics.stdev(rises) / n**0.5
    brier = Check(
        "Brier score",
        statistics.fmean(old[1] for old, _ in pairs),
        statistics.fmean(new[1] for _, new in pairs),
        rise,
        rise + statistics.NormalDist().inv_cdf(1 - alpha) * spread,
        margin,
    )
    return Comparison(baseline.model, model, n, gained, lost, (accuracy, brier))


def summary(record: AnswerRecord) -> tuple[bool, float]:
    """Whether it was right, and its Brier score to four decimals."""
    return record.correct, round(metrics.brier([record.probabilities], [record.answer]), 4)


def read_baseline(path: Path) -> Baseline:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        answers = {key: (bool(right), float(brier)) for key, (right, brier) in data["answers"].items()}
        return Baseline(data["model"], data["questions"], answers)
    except OSError as error:
        raise UnusableError(f"no baseline: {path}: {error.strerror}; --write makes one") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusableError(f"{path} is not a baseline ({type(error).__name__}: {error}); --write makes one") from None


def write_baseline(path: Path, report: Mapping[str, Any], records: Sequence[AnswerRecord]) -> None:
    """One line per question, so that a change of the baseline can be read in a diff."""
    asked = {name: report["questions"][name] for name in ("bank", "split", "seed", "subjects", "limit")}
    head = json.dumps({"model": report["model"]["version"], "questions": asked})[:-1]
    lines = [f"{json.dumps(r.id)}: {json.dumps([int(right), brier])}" for r in records for right, brier in [summary(r)]]
    path.write_text(head + ', "answers": {\n' + ",\n".join(sorted(lines)) + "\n}}\n", encoding="utf-8")


def evaluate(measurement: Measurement, baseline_file: Path, margin: float, *, write: bool) -> bool:
    """Whether the model passed; with `write`, what was measured becomes the baseline.

    Writes index.html, gate.json, report.json, records.jsonl and reliability.png into the measurement's folder.
    """
    out = measurement.out
    baseline = None if write else read_baseline(baseline_file)
    report, records = measure(measurement)
    version = report["model"]["version"]
    if baseline is None:
        write_baseline(baseline_file, report, records)
        print(f"{baseline_file}: {len(records)} answers of {version}")
        return True
    comparison = compare(baseline, version, records, margin)
    content = comparison.to_dict()
    (out / "gate.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (out / "index.html").write_text(html(content, report, out / "reliability.png"), encoding="utf-8")
    for check in comparison.checks:
        verdict = "passed" if check.passed else "FAILED"
        print(
            f"{verdict}  {check.name}: {check.found:.3f}, baseline {check.baseline:.3f}; worse by {check.worse:+.3f}, "
            f"at most {check.bound:+.3f} (one-sided 95%), allowed {check.margin:.3f}"
        )
    print(
        f"{comparison.questions} questions, {comparison.gained} gained, {comparison.lost} lost; report: "
        f"{out / 'index.html'}"
    )
    return comparison.passed


def measure(measurement: Measurement) -> tuple[dict[str, Any], list[AnswerRecord]]:
    """Through the verb that people use, so that both mean the same by a measurement."""
    out = measurement.out
    out.mkdir(parents=True, exist_ok=True)
    report, records = out / "report.json", out / "records.jsonl"
    command = [sys.executable, "-m", "mcqa", "evaluate", "--limit", str(measurement.limit)]
    command += ["--out", str(report), "--records", str(records), "--diagram", str(out / "reliability.png")]
    for option in ("model", "url", "bank"):
        if value := getattr(measurement, option):
            command += [f"--{option}", value]
    if process.status(command):
        raise UnusableError("the model could not be measured; see above")
    content: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return content, read_records(records)
