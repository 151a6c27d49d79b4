"""The model evaluation gate of CI: `mcqa evaluate` on fixed questions, against a stored baseline, answer by answer.

Both answered the same questions, so the comparison is paired: of the questions that one of them got right alone, an
interval of the loss. Passing takes proof that the loss stays within a margin; too few questions are no pass.

    scripts/ci-evaluate                                       the shipped model against scripts/ci-baseline.json
    scripts/ci-evaluate --url http://coding-mcqa.example      a running server
    scripts/ci-evaluate --write                               what was measured becomes the baseline
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.evaluation import metrics
from pipelines.evaluation.answer_records import AnswerRecord, read_records
from pipelines.quality_gate import paired_interval
from scripts.ci_report import html

ROOT = Path(__file__).resolve().parents[1]
BASELINE = ROOT / "scripts" / "ci-baseline.json"
REPORTS = ROOT / "build" / "reports" / "evaluation"
LIMIT, ALPHA, MARGIN = 1000, 0.05, 0.02
UNUSABLE = 2
"""Exit status where nothing could be compared; 1 is a model that failed."""


class UnusableError(Exception):
    """There is no verdict; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a model answered once: by question id, whether it was right and its Brier score (0..2)."""

    model: str
    questions: Mapping[str, Any]
    answers: Mapping[str, tuple[bool, float]]


@dataclass(frozen=True, slots=True)
class Check:
    """One measure against the baseline. `worse` is the loss, `bound` its one-sided 95 % upper bound."""

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
class Gate:
    """The verdict: passed when every check did."""

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
) -> Gate:
    """The gate over the same questions; UnusableError when they are not the same."""
    found = {record.id: summary(record) for record in records}
    if different := found.keys() ^ baseline.answers.keys():
        raise UnusableError(
            f"the baseline is of other questions ({len(different)} differ, {min(different)} among them): where they "
            "were meant to change, measure the model that serves and write the baseline anew with --write"
        )
    pairs = [(baseline.answers[key], found[key]) for key in found]
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
    return Gate(baseline.model, model, n, gained, lost, (accuracy, brier))


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
        raise UnusableError(f"{path} is no baseline ({type(error).__name__}: {error}); --write makes one") from None


def write_baseline(path: Path, report: Mapping[str, Any], records: Sequence[AnswerRecord]) -> None:
    """One line a question, so that a change of the baseline can be read in a diff."""
    asked = {name: report["questions"][name] for name in ("bank", "split", "seed", "subjects", "limit")}
    head = json.dumps({"model": report["model"]["version"], "questions": asked})[:-1]
    lines = [f"{json.dumps(r.id)}: {json.dumps([int(right), brier])}" for r in records for right, brier in [summary(r)]]
    path.write_text(head + ', "answers": {\n' + ",\n".join(sorted(lines)) + "\n}}\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    out: Path = arguments.out
    try:
        baseline = None if arguments.write else read_baseline(arguments.baseline)
        report, records = _evaluate(arguments, out)
        if baseline is None:
            write_baseline(arguments.baseline, report, records)
            print(f"{arguments.baseline}: {len(records)} answers of {report['model']['version']}")
            return 0
        gate = compare(baseline, report["model"]["version"], records, arguments.margin)
    except UnusableError as error:
        print(f"ci-evaluate: {error}", file=sys.stderr)
        return UNUSABLE
    (out / "gate.json").write_text(json.dumps(gate.to_dict(), indent=2) + "\n", encoding="utf-8")
    (out / "index.html").write_text(html(gate.to_dict(), report, out / "reliability.png"), encoding="utf-8")
    for check in gate.checks:
        verdict = "passed" if check.passed else "FAILED"
        print(
            f"{verdict}  {check.name}: {check.found:.3f}, baseline {check.baseline:.3f}; worse by {check.worse:+.3f}, "
            f"at most {check.bound:+.3f} (one-sided 95 %), allowed {check.margin:.3f}"
        )
    print(f"{gate.questions} questions, {gate.gained} gained, {gate.lost} lost; report: {out / 'index.html'}")
    return 0 if gate.passed else 1


def _evaluate(arguments: argparse.Namespace, out: Path) -> tuple[dict[str, Any], list[AnswerRecord]]:
    """Through the verb that people use, so that both mean the same by a measurement."""
    out.mkdir(parents=True, exist_ok=True)
    report, records = out / "report.json", out / "records.jsonl"
    command = [sys.executable, "-m", "mcqa", "evaluate", "--limit", str(arguments.limit)]
    command += ["--out", str(report), "--records", str(records), "--diagram", str(out / "reliability.png")]
    for name in ("model", "url", "bank"):
        if value := getattr(arguments, name):
            command += [f"--{name}", value]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise UnusableError("the model could not be measured; what went wrong is said above")
    return json.loads(report.read_text(encoding="utf-8")), read_records(records)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/ci-evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", help="version to load here [default: the shipped tiny model]")
    add("--url", help="running server to ask instead")
    add("--bank", help="questions, as of mcqa evaluate [default: generated]")
    add("--limit", type=int, default=LIMIT, help="how many questions [default: %(default)s]")
    add("--baseline", type=Path, default=BASELINE, help="[default: scripts/ci-baseline.json]")
    add("--margin", type=float, default=MARGIN, help="loss that must be excluded, of accuracy and Brier [%(default)s]")
    add("--out", type=Path, default=REPORTS, help="folder of the report [default: build/reports/evaluation]")
    add("--write", action="store_true", help="store what was measured as the baseline instead of comparing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
