"""An evaluation of two versions as files of its MLflow run, which show what a version is long afterwards.

`evaluation.json`: what each came to on each mix (`Report.to_dict`), and what it would have come to without its letter
prior. `answers.jsonl`: every question with its text, the right choice, and each version's choice and probabilities.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from common.names import CHALLENGER, CHAMPION
from pipelines.evaluation.answer_records import AnswerRecord, question_id
from pipelines.evaluation.report import Report

if TYPE_CHECKING:
    from pipelines.bank import LabelledQuestion
    from predictor.calibration import Calibration

SCHEMA = 1
DIGITS = 5
"""Of a probability: a page shows no more, and 1,800 questions stay about a megabyte."""
LONGEST = 8_000
"""Characters of a line; what is longer is left out of the answers, not of the figures."""
MOST_BYTES = 4 * 1024 * 1024

Reports = Mapping[tuple[str, str], Report]
"""By version (champion, challenger) and mix."""


@dataclass(frozen=True, slots=True)
class Answers:
    """`text` is JSON lines; `left_out` questions did not fit into it."""

    text: str
    count: int
    left_out: int


def document(reports: Reports, calibrations: Mapping[str, Calibration], champion: str, answers: Answers) -> str:
    """evaluation.json. `champion` is the version; the challenger has no number yet."""
    mixes: dict[str, dict[str, Any]] = {}
    for (name, mix), report in reports.items():
        before = without_prior(report, calibrations[name])
        figures = {**report.to_dict(), "before": None if before is None else before.to_dict()}
        mixes.setdefault(mix, {})[name] = figures
    counts = {"answers": answers.count, "left_out": answers.left_out}
    return json.dumps(_finite({"schema": SCHEMA, "champion": champion, "mixes": mixes, **counts}), ensure_ascii=False)


def without_prior(report: Report, calibration: Calibration) -> Report | None:
    """The same answers before the letter prior was divided out of them; None for a version without one."""
    if report.debias != "prior" or not calibration.priors:
        return None
    return replace(report, records=tuple(_biased(record, calibration) for record in report.records))


def answer_lines(reports: Reports, questions: Mapping[str, Sequence[LabelledQuestion]]) -> Answers:
    """answers.jsonl: the questions of each mix that both versions answered, until MOST_BYTES are full."""
    lines: list[str] = []
    size = left_out = 0
    for mix, asked in questions.items():
        if (CHALLENGER, mix) not in reports:
            continue
        before, after = ({r.id: r for r in reports[name, mix].records} for name in (CHAMPION, CHALLENGER))
        for labelled in asked:
            key = question_id(labelled.question)
            if key not in before or key not in after:
                continue
            line = _line(mix, key, labelled, before[key], after[key])
            length = len(line.encode())
            if len(line) > LONGEST or size + length > MOST_BYTES:
                left_out += 1
                continue
            size += length
            lines.append(line)
    return Answers("".join(lines), len(lines), left_out)


def _line(mix: str, key: str, labelled: LabelledQuestion, before: AnswerRecord, after: AnswerRecord) -> str:
    sides = {
        name: {"chosen": record.chosen, "probabilities": [round(p, DIGITS) for p in record.probabilities]}
        for name, record in ((CHAMPION, before), (CHALLENGER, after))
    }
    return json.dumps({"mix": mix, **labelled.to_dict(), "id": key, **sides}, ensure_ascii=False) + "\n"


def _biased(record: AnswerRecord, calibration: Calibration) -> AnswerRecord:
    """Debiasing divides by the prior and rescales, so multiplying by it and rescaling is its inverse."""
    prior = calibration.priors.get(len(record.probabilities))
    if prior is None:
        return record
    lowered = [p * q for p, q in zip(record.probabilities, prior, strict=True)]
    total = math.fsum(lowered)
    probabilities = tuple(p / total for p in lowered) if total > 0 else record.probabilities
    return replace(record, probabilities=probabilities, chosen=probabilities.index(max(probabilities)))


def _finite(value: Any) -> Any:
    """JSON has no nan: a figure that there is none of is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
