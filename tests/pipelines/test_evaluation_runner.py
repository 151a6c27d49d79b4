from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from common.proportions import wilson
from common.question import LETTERS, Answer, Debias, Question, QuestionError
from pipelines.bank import LabelledQuestion
from pipelines.evaluation import reliability_diagram, report_table, runner
from pipelines.evaluation.answer_records import AnswerRecord, question_id, read_records, write_records
from pipelines.evaluation.report import EvaluatedModel, EvaluationError, QuestionSource, Report

BANK = QuestionSource("table", "all", 5)


class ByRule:
    """An answerer whose choice is a plain rule, so that every figure of the report is known beforehand."""

    model = EvaluatedModel("rule-1", "table")
    default_debias = "none"

    def __init__(self, rule: str = "longest", refuse: str = "\0", versions: Sequence[str] = ("rule-1",)) -> None:
        self.rule, self.refuse, self.versions = rule, refuse, versions
        self.batches: list[int] = []

    def answer(self, questions: Sequence[Question], debias: Debias | None) -> list[Answer]:
        self.batches.append(len(questions))
        for i, question in enumerate(questions):
            if self.refuse in question.stem:
                raise QuestionError("question", "has 9000 tokens, the limit is 4096", i)
        return [self._one(q, self.versions[i % len(self.versions)]) for i, q in enumerate(questions)]

    def _one(self, question: Question, version: str) -> Answer:
        index = 0 if self.rule == "first" else max(range(len(question.choices)), key=lambda i: len(question.choices[i]))
        rest = 0.3 / (len(question.choices) - 1)
        row = tuple(0.7 if i == index else rest for i in range(len(question.choices)))
        return Answer(
            LETTERS[index], index, question.choices[index], row, 0.7, 0.7 - rest, 1.0, 0.9, len(question.stem), version
        )


def bank(n: int) -> list[LabelledQuestion]:
    """Question i's longest choice stands at place i mod 4 and is the right one for all but every third question."""
    out = []
    for i in range(n):
        choices = ["x", "y", "z", "w"]
        choices[i % 4] = "longest"
        right = (i + 1) % 4 if i % 3 == 0 else i % 4
        stem = "q" * (1 + i % 7) + str(i)
        out.append(LabelledQuestion(Question(stem, tuple(choices), id=f"q{i}", subject=f"s{i % 2}"), right))
    return out


def test_every_figure_follows_from_the_records() -> None:
    seen: list[tuple[str, int, int]] = []
    answerer = ByRule()
    report = runner.evaluate(
        answerer, bank(600), BANK, batch=64, rotations=50, progress=lambda *where: seen.append(where)
    )
    assert [r.id for r in report.records] == [f"q{i}" for i in range(600)]  # the bank's order, not the batches'
    assert (report.accuracy.count, report.accuracy.total) == (400, 600)
    assert report.model.version == "rule-1"
    assert report.chance == 0.25
    assert report.brier == pytest.approx((2 * (0.3**2 + 3 * 0.1**2) + (0.7**2 + 0.9**2 + 2 * 0.1**2)) / 3)
    assert report.nll == pytest.approx(-(2 * math.log(0.7) + math.log(0.1)) / 3)
    assert report.ece == pytest.approx(0.7 - 2 / 3)
    assert report.letters["A"] == {"right": 150, "chosen": 150, "recall": pytest.approx(2 / 3, abs=0.01)}
    assert report.rotations == wilson(0, 50)
    assert {name: s.total for name, s in report.subjects.items()} == {"s0": 300, "s1": 300}
    assert report.tokens == sum(len(item.question.stem) for item in bank(600))
    assert max(answerer.batches) == 64
    assert seen[0] == ("questions", 0, 600)
    assert ("questions", 600, 600) in seen
    assert seen[-1] == ("rotations", 150, 150)


def test_a_model_that_sees_only_letters_flips_with_every_rotation() -> None:
    report = runner.evaluate(ByRule("first"), bank(40), BANK, rotations=40)
    assert report.rotations == wilson(40, 40)
    assert report.rstd == pytest.approx(math.sqrt(3) / 4)


def test_rotations_sample_no_more_than_there_is() -> None:
    assert runner.evaluate(ByRule(), bank(3), BANK, rotations=100).rotations == wilson(0, 3)
    assert runner.evaluate(ByRule(), bank(3), BANK).rotations is None


def test_what_cannot_be_asked_is_listed_and_not_counted() -> None:
    labelled = bank(20)
    labelled[7] = replace(labelled[7], question=replace(labelled[7].question, stem="too long"))
    report = runner.evaluate(ByRule(refuse="too long"), labelled, BANK, batch=8)
    assert [r.id for r in report.records] == [f"q{i}" for i in range(20) if i != 7]
    assert [(s.id, s.reason) for s in report.skipped] == [("q7", "question: has 9000 tokens, the limit is 4096")]
    with pytest.raises(EvaluationError, match="no question was answered; the first of 20 skipped: question: has 9000"):
        runner.evaluate(ByRule(refuse="q"), bank(20), BANK)


def test_two_versions_behind_one_url_are_no_evaluation() -> None:
    with pytest.raises(EvaluationError, match=r"several model versions \(a, b\)"):
        runner.evaluate(ByRule(versions=("a", "b")), bank(4), BANK)


def test_no_ece_below_300_answers() -> None:
    report = runner.evaluate(ByRule(), bank(299), BANK)
    assert report.to_dict()["ece"]["value"] is None
    assert report.to_dict()["ece"]["reason"] == "needs 300 answers, has 299"
    assert runner.evaluate(ByRule(), bank(300), BANK).ece is not None


def test_the_json_form_is_json_and_complete() -> None:
    report = runner.evaluate(ByRule(), bank(30), BANK, debias="cyclic", rotations=5)
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data.keys() == {
        *("version", "started", "model", "questions", "debias", "accuracy", "chance", "subjects", "brier", "nll"),
        *("ece", "letters", "rotations", "letter_mass", "speed"),
    }
    assert data["version"] == 1
    assert data["debias"] == "cyclic"
    assert data["accuracy"].keys() == {"value", "low", "high", "correct", "total"}
    assert data["questions"] == {
        "bank": "table", "split": "all", "seed": 5, "subjects": [], "limit": None, "answered": 30, "skipped": [],
    }  # fmt: skip


def test_questions_of_different_width_share_a_report() -> None:
    labelled = [
        LabelledQuestion(Question("a", ("x", "long")), 1),
        LabelledQuestion(Question("b", ("x", "y", "long")), 2),
    ]
    letters = runner.evaluate(ByRule(), labelled, BANK).to_dict()["letters"]["by_letter"]
    assert letters == {
        "A": {"right": 0, "chosen": 0, "recall": None},
        "B": {"right": 1, "chosen": 1, "recall": 1.0},
        "C": {"right": 1, "chosen": 1, "recall": 1.0},
    }


def test_records_survive_their_file(tmp_path: Path) -> None:
    records = runner.evaluate(ByRule(), bank(9), BANK).records
    write_records(records, tmp_path / "new" / "records.jsonl")
    assert tuple(read_records(tmp_path / "new" / "records.jsonl")) == records
    odd = (replace(records[0], id="a\u2028b\x85c"), *records[1:])
    write_records(odd, tmp_path / "odd.jsonl")
    assert tuple(read_records(tmp_path / "odd.jsonl")) == odd
    (tmp_path / "bad.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(ValueError, match=r"bad\.jsonl, line 1 is not an evaluation record"):
        read_records(tmp_path / "bad.jsonl")


def test_a_question_without_id_gets_one_from_its_content() -> None:
    question = Question("a", ("x", "y"))
    assert question_id(question) == question_id(Question("a", ("x", "y"), subject="other"))
    assert question_id(question) != question_id(Question("a", ("y", "x")))
    assert question_id(replace(question, id="mine")) == "mine"


def test_the_table_shows_every_figure() -> None:
    labelled = bank(300)
    labelled[0] = replace(labelled[0], question=replace(labelled[0].question, stem="[refuse]", id="[odd]"))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(report_table.render(runner.evaluate(ByRule(refuse="[refuse]"), labelled, BANK, rotations=10)))
    text = console.export_text()
    for piece in ("rule-1", "66.9%", "chance 25.0%", "needs 300 answers, has 299", "rotation flips", "s1", "1 skipped"):
        assert piece in text
    assert "[odd]" in text  # ids and reasons are no markup


@pytest.mark.parametrize("n", [1, 400])
def test_the_diagram_is_a_png(tmp_path: Path, n: int) -> None:
    reliability_diagram.draw(runner.evaluate(ByRule(), bank(n), BANK), tmp_path / "sub" / "d.png")
    png = (tmp_path / "sub" / "d.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(png) > 10_000


def test_an_empty_report_is_refused() -> None:
    with pytest.raises(EvaluationError, match="no question was answered"):
        Report(EvaluatedModel("m", "s"), BANK, "none", (), 1.0, "now")


def test_record_knows_its_own_confidence() -> None:
    assert AnswerRecord("i", "", 1, 0, (0.6, 0.4), 1.0, 5).confidence == 0.6
