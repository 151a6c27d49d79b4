"""JSONL banks: what is written is read back, and a bad line is named by its number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.question import Question
from pipelines.bank import BankError, LabelledQuestion, dump_jsonl, generate, load_jsonl
from tests.servers import ROOT

GOOD = {"id": "a", "question": "1 + 1?", "choices": ["2", "3"], "answer": 0, "subject": "sums"}


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_round_trip(tmp_path: Path) -> None:
    bank = generate(1, 100)
    assert dump_jsonl(bank, tmp_path / "b.jsonl") == 100
    assert load_jsonl(tmp_path / "b.jsonl") == bank


def test_optional_fields_and_blank_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path / "b.jsonl", GOOD, "", {"question": "q", "choices": ["a\u2028b", "c"], "answer": 1, "code": "x = 1"}
    )
    first, second = load_jsonl(path)
    assert first == LabelledQuestion(Question("1 + 1?", ("2", "3"), None, "a", "sums"), 0)
    assert (second.right, second.question.code, second.question.id) == ("c", "x = 1", None)


def test_separators_inside_a_text_do_not_end_a_line(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text(json.dumps({**GOOD, "question": "a\u2028b\x85c"}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert load_jsonl(path)[0].question.stem == "a\u2028b\x85c"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not JSON: Expecting property name enclosed in double quotes at column 2"),
        ([1], "question: must be an object with question and choices, found a list"),
        ({**GOOD, "answer": 2}, "answer: must be 0 to 1 with 2 choices, found 2"),
        ({**GOOD, "answer": -1}, "answer: must be 0 to 1 with 2 choices, found -1"),
        ({**GOOD, "answer": "A"}, "answer: must be the index of the right choice, a whole number, found 'A'"),
        ({**GOOD, "answer": True}, "answer: must be the index of the right choice, a whole number, found True"),
        (
            {k: v for k, v in GOOD.items() if k != "answer"},
            "answer: must be the index of the right choice, a whole number, found None",
        ),
        ({**GOOD, "choices": ["2"]}, "choices: needs 2 to 10 choices, found 1"),
        ({**GOOD, "choices": ["2", "2"]}, "choices: A and B are the same text"),
        ({**GOOD, "answr": 1}, "answr: is not a field; the fields are question, choices, code, id, subject, answer"),
        ({**GOOD, "id": "first"}, "id 'first' was used on line 1 already"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: object, message: str) -> None:
    path = write(tmp_path / "b.jsonl", {**GOOD, "id": "first"}, "", line)
    with pytest.raises(BankError) as caught:
        load_jsonl(path)
    assert str(caught.value) == f"{path}:3: {message}"


def test_unusable_files_are_one_line_errors(tmp_path: Path) -> None:
    with pytest.raises(BankError, match="holds no question"):
        load_jsonl(write(tmp_path / "empty.jsonl"))
    with pytest.raises(BankError, match="No such file or directory; give a JSONL file"):
        load_jsonl(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(BankError, match="is not UTF-8 text"):
        load_jsonl(tmp_path / "latin.jsonl")


def test_answer_outside_the_choices_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="answer 2 is not an index of 2 choices"):
        LabelledQuestion(Question("q", ("a", "b")), 2)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_byte_order_marks_and_line_ends_of_other_systems(tmp_path: Path, mark: str, end: str) -> None:
    lines = [json.dumps({**GOOD, "id": str(number), "question": "é?"}, ensure_ascii=False) for number in range(3)]
    path = tmp_path / "b.jsonl"
    part = mark + end.join([*lines[:2], "", ""])
    path.write_bytes((part + mark + lines[2] + end).encode())  # as two files put together
    assert [item.question.id for item in load_jsonl(path)] == ["0", "1", "2"]
    assert load_jsonl(path)[0].question.stem == "é?"


@pytest.mark.parametrize("name", ["bank-bom.jsonl", "bank-crlf.jsonl"])
def test_shared_cases(name: str) -> None:
    path = ROOT.parent / "shared" / "cases" / "files" / name
    if not path.is_file():
        pytest.skip("the shared cases are not beside this checkout")
    assert [item.right for item in load_jsonl(path)] == ["3", "tuple"]


def test_choices_that_differ_in_white_space_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BankError, match=r":1: choices: A and C are the same text, except for white space"):
        load_jsonl(write(tmp_path / "b.jsonl", {**GOOD, "choices": ["2", "3", "2\r\n"]}))
