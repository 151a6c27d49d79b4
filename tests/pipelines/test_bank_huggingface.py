"""Column mapping of the public sets, on rows in their shape (made up here: the tests need no network)."""

from __future__ import annotations

import pytest

from common.question import QuestionError
from pipelines.bank import BankError
from pipelines.bank.huggingface import codemmlu_question, mmlu_question, usable

CODEMMLU_ROW = {
    "task_id": "k00001",
    "question": "Which keyword starts a loop?",
    "choices": ["if", "for", "def", "try", "del"],
    "answer": "B",
}
MMLU_ROW = {
    "question": "What is 2 + 2?",
    "subject": "college_computer_science",
    "choices": ["3", "4", "5", "6"],
    "answer": 1,
}


def test_codemmlu_row() -> None:
    q = codemmlu_question(CODEMMLU_ROW, subject="programming_syntax")
    assert (q.right, q.question.id, q.subject) == ("for", "codemmlu-k00001", "codemmlu/programming_syntax")
    assert q.question.choices == ("if", "for", "def", "try", "del")


def test_codemmlu_description_comes_before_the_question() -> None:
    q = codemmlu_question({**CODEMMLU_ROW, "problem_description": "Think of Python."}, subject="code_completion")
    assert q.question.stem == "Think of Python.\n\nWhich keyword starts a loop?"


def test_mmlu_row() -> None:
    q = mmlu_question(MMLU_ROW, 7, subject="college_computer_science")
    assert (q.right, q.question.id, q.subject) == (
        "4",
        "mmlu-college_computer_science-7",
        "mmlu/college_computer_science",
    )


@pytest.mark.parametrize("answer", [None, "", "Z", "AB", 3])
def test_codemmlu_answer_must_be_a_letter(answer: object) -> None:
    with pytest.raises(QuestionError, match="answer: must be a letter from A to J"):
        codemmlu_question({**CODEMMLU_ROW, "answer": answer}, subject="others")


def test_few_unsound_rows_are_left_out() -> None:
    rows = [*([MMLU_ROW] * 19), {**MMLU_ROW, "choices": ["3", "3", "5", "6"]}]
    assert len(usable("cais/mmlu", rows, lambda row, n: mmlu_question(row, n, subject="s"))) == 19


def test_many_unsound_rows_are_an_error_that_shows_the_first() -> None:
    rows = [{"prompt": "What is 2 + 2?", "options": ["3", "4"]}] * 3
    with pytest.raises(BankError, match="cais/mmlu: 3 of 3 rows are not valid questions; the first: row 0: question: "):
        usable("cais/mmlu", rows, lambda row, n: mmlu_question(row, n, subject="s"))


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from pipelines.bank.huggingface import load_mmlu

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BankError, match="cais/mmlu needs the datasets library; run: pip install datasets"):
        load_mmlu()
