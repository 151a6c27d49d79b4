"""The model evaluation gate: the comparison as a table, the stored baseline, and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tool import invoke

from pipelines.evaluation.answer_records import AnswerRecord, write_records
from tools import process
from tools.ci import evaluation
from tools.ci.evaluation import Baseline, UnusableError, compare, read_baseline, summary, write_baseline
from tools.ci.evaluation_report import html


def record(number: int, right: bool, sure: float = 0.7) -> AnswerRecord:
    rest = (1 - sure) / 2
    return AnswerRecord(
        f"q{number}", "s", 0, 0 if right else 1, (sure, rest, rest) if right else (rest, sure, rest), 1.0, 50
    )


def answers(n: int, wrong: range | set[int], sure: float = 0.7) -> list[AnswerRecord]:
    return [record(number, number not in wrong, sure) for number in range(n)]


def baseline(records: list[AnswerRecord]) -> Baseline:
    return Baseline("old", {}, {item.id: summary(item) for item in records})


@pytest.mark.parametrize(
    ("n", "before", "now", "passed"),
    [
        (1000, range(300), range(300), True),  # the same answers
        (1000, range(300), range(250), True),  # better
        (1000, range(300), range(303), True),  # three more wrong: a loss of 2 points is excluded
        (1000, range(300), range(320), False),  # 2 points lost
        (1000, range(300), range(400), False),  # 10 points lost
        (1000, range(300), {*range(20, 320)}, True),  # 20 gained, 20 lost: 1.04 points at most
        (1000, range(300), {*range(300, 600)}, False),  # other questions right: the same accuracy, proven by nothing
        (40, range(10), range(10), False),  # the same answers, but too few to say so
    ],
)
def test_what_passes(n: int, before: range | set[int], now: range | set[int], passed: bool) -> None:
    gate = compare(baseline(answers(n, before)), "new", answers(n, now), margin=0.02)
    accuracy = gate.checks[0]
    assert accuracy.passed is passed
    assert accuracy.bound > accuracy.worse
    assert accuracy.worse == pytest.approx((len(set(now)) - len(set(before))) / n)


def test_a_model_that_is_right_as_often_and_less_sure_of_it_fails() -> None:
    gate = compare(baseline(answers(1000, range(300), 0.7)), "new", answers(1000, range(300), 0.9), margin=0.02)
    assert [(check.name, check.passed) for check in gate.checks] == [("accuracy", True), ("Brier score", False)]
    assert not gate.passed


def test_other_questions_give_no_verdict() -> None:
    with pytest.raises(UnusableError, match="1 differ, q2 among them"):
        compare(baseline(answers(2, range(0))), "new", answers(3, range(0)), margin=0.02)


def test_a_baseline_goes_to_the_disk_and_back(tmp_path: Path) -> None:
    questions = dict.fromkeys(("bank", "split", "seed", "subjects", "limit"))
    report = {"model": {"version": "7"}, "questions": questions}
    write_baseline(tmp_path / "b.json", report, answers(20, range(5)))
    assert read_baseline(tmp_path / "b.json") == Baseline("7", questions, baseline(answers(20, range(5))).answers)


@pytest.mark.parametrize("text", [None, "", "{}", '{"model": "a", "questions": {}, "answers": {"q": 1}}'])
def test_what_is_not_a_baseline(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "b.json").write_text(text)
    with pytest.raises(UnusableError, match="--write makes one"):
        read_baseline(tmp_path / "b.json")


def test_the_stored_baseline_is_of_the_shipped_model() -> None:
    result = read_baseline(evaluation.BASELINE)
    assert result.model == "tiny"
    assert len(result.answers) == evaluation.LIMIT
    assert 0.5 < sum(right for right, _ in result.answers.values()) / len(result.answers) < 0.8


@pytest.mark.parametrize(("wrong", "status"), [(range(300), 0), (range(400), 1), (None, 2)])
def test_exit_status_and_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: range | None, status: int
) -> None:
    """The command but for the measurement itself, which `mcqa evaluate`'s own tests cover."""
    report = {
        "model": {"version": "<b>7</b>"},
        "questions": {"bank": "generated", "split": "holdout", "seed": 0, "subjects": [], "limit": 1000},
        "started": "2026-01-01T00:00:00+00:00",
        "accuracy": {"value": 0.7, "low": 0.67, "high": 0.73},
        "chance": 0.25, "brier": 0.4, "nll": 0.8, "ece": {"value": None, "reason": "needs 300 answers"},
        "letters": {"rstd": 0.05},
        "subjects": {"s": {"value": 0.7, "low": 0.67, "high": 0.73, "total": 1000}},
    }  # fmt: skip
    write_baseline(tmp_path / "b.json", report, answers(1000, range(300)))

    def measure(command: list[str]) -> int:
        Path(command[command.index("--out") + 1]).write_text(json.dumps(report))
        if wrong is not None:
            write_records(answers(1000, wrong), Path(command[command.index("--records") + 1]))
        return 1 if wrong is None else 0

    monkeypatch.setattr(process, "status", measure)
    out = tmp_path / "out"
    result = invoke("evaluate", "--baseline", str(tmp_path / "b.json"), "--out", str(out))
    assert result.exit_code == status
    assert not result.stderr or status == 2
    if status < 2:
        assert json.loads((out / "gate.json").read_text())["passed"] is (status == 0)
        page = (out / "index.html").read_text()
        assert f'class="{"passed" if status == 0 else "failed"}"' in page
        assert "<b>7</b>" not in page  # a version's name is text
        assert "<script" not in page


def test_the_report_goes_without_a_diagram(tmp_path: Path) -> None:
    gate = compare(baseline(answers(1000, range(300))), "new", answers(1000, range(300)), margin=0.02).to_dict()
    report = {
        "model": {"device": "cpu", "dtype": "bfloat16"}, "questions": {}, "started": "", "subjects": {},
        "accuracy": {"value": 0.7, "low": 0.67, "high": 0.73}, "chance": 0.25, "brier": 0.4, "nll": 0.8,
        "ece": {"value": 0.1}, "letters": {"rstd": 0.05},
    }  # fmt: skip
    assert "<img" not in html(gate, report, tmp_path / "none.png")
