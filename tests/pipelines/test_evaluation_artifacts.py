"""The evaluation's files: what is in them, what is left out, and the letter prior undone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from common.question import Question
from pipelines.bank import LabelledQuestion
from pipelines.evaluation import artifacts
from pipelines.evaluation.answer_records import AnswerRecord
from pipelines.evaluation.report import EvaluatedModel, QuestionSource, Report
from predictor.calibration import Calibration

PRIOR = Calibration({2: (0.8, 0.2)}, questions=10)


def report(rows: Mapping[str, tuple[float, ...]], debias: str = "none") -> Report:
    """Every question's right answer is A."""
    records = tuple(
        AnswerRecord(name, "s", 0, row.index(max(row)), row, 0.9, 10) for name, row in rows.items()
    )  # fmt: skip
    return Report(EvaluatedModel("x", "test"), QuestionSource("b", "s", 0), debias, records, 1.0, "now")


def question(name: str, stem: str = "Q?") -> LabelledQuestion:
    return LabelledQuestion(Question(stem, ("x", "y"), id=name), 0)


@pytest.mark.parametrize("row", [(0.5, 0.5), (0.9, 0.1), (0.21, 0.79)])
def test_the_prior_is_undone_exactly(row: tuple[float, float]) -> None:
    debiased = PRIOR.debias(row)
    before = artifacts.without_prior(report({"q": tuple(debiased)}, "prior"), PRIOR)
    assert before is not None
    assert before.records[0].probabilities == pytest.approx(row)
    assert before.records[0].chosen == row.index(max(row))


@pytest.mark.parametrize(("debias", "prior"), [("none", PRIOR), ("prior", Calibration())])
def test_without_a_prior_there_is_no_before(debias: str, prior: Calibration) -> None:
    assert artifacts.without_prior(report({"q": (0.9, 0.1)}, debias), prior) is None


def test_a_number_of_choices_without_a_prior_stays() -> None:
    before = artifacts.without_prior(report({"q": (0.5, 0.3, 0.2)}, "prior"), PRIOR)
    assert before is not None
    assert before.records[0].probabilities == (0.5, 0.3, 0.2)


def lines(answers: artifacts.Answers) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answers.text.splitlines()]


def test_each_question_has_both_answers() -> None:
    reports = {
        ("champion", "current"): report({"a": (0.2, 0.8), "b": (0.7, 0.3)}),
        ("challenger", "current"): report({"a": (0.123456789, 0.876543211)}),
    }
    answers = artifacts.answer_lines(reports, {"current": [question("a"), question("b")], "old": [question("c")]})
    assert (answers.count, answers.left_out) == (1, 0), "b was skipped by one, and there is no old mix"
    assert lines(answers) == [
        {
            "mix": "current",
            "question": "Q?",
            "choices": ["x", "y"],
            "answer": 0,
            "id": "a",
            "champion": {"chosen": 1, "probabilities": [0.2, 0.8]},
            "challenger": {"chosen": 1, "probabilities": [0.12346, 0.87654]},
        }
    ]


def test_what_is_too_long_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = dict.fromkeys("abc", (0.9, 0.1))
    reports = {(name, "current"): report(rows) for name in ("champion", "challenger")}
    asked = [question("a"), question("b", "long " * artifacts.LONGEST), question("c")]
    answers = artifacts.answer_lines(reports, {"current": asked})
    assert ([line["id"] for line in lines(answers)], answers.left_out) == (["a", "c"], 1)
    monkeypatch.setattr(artifacts, "MOST_BYTES", len(answers.text) - 1)
    assert artifacts.answer_lines(reports, {"current": asked}).left_out == 2


def test_the_document_is_json_without_nan() -> None:
    """One right letter only: the spread of the letters' recalls is known; an ECE of so few answers is not."""
    reports = {(name, "current"): report({"a": (0.9, 0.1)}, "prior") for name in ("champion", "challenger")}
    answers = artifacts.Answers("", 0, 0)
    text = artifacts.document(reports, {"champion": Calibration(), "challenger": PRIOR}, "7", answers)
    document = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert (document["schema"], document["champion"]) == (1, "7")
    mix = document["mixes"]["current"]
    assert (mix["champion"]["before"], mix["challenger"]["before"]["accuracy"]["total"]) == (None, 1)
    assert mix["challenger"]["ece"]["value"] is None
