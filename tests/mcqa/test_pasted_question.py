"""Whole questions as people paste them."""

import json
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from mcqa.pasted_question import PastedQuestion, PasteError, parse_pasted


def q(stem: str, *choices: str, **more: Any) -> PastedQuestion:
    return PastedQuestion(stem, choices, **more)


PLAIN = q("What is 1 + 1?", "1", "2")
FIRST, SECOND = replace(PLAIN, right=0), replace(PLAIN, right=1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Q What is 1 + 1?\nA) 1\nB) 2", PLAIN),
        ("Q What is 1 + 1? A) 1 B) 2", PLAIN),
        ("Q: What is 1 + 1?\nA) 1\nB) 2", PLAIN),
        ("Question 12. What is 1 + 1?\r\n\r\nA. 1\r\nB. 2\r\n", PLAIN),
        ("Câu 3: What is 1 + 1?\na) 1\nb) 2\nĐáp án: B", SECOND),
        ("What is 1 + 1?\n(A) 1\n(B) 2\n\nAnswer: (b)", SECOND),
        ("**What is 1 + 1?**\n\n- **A.** 1\n- **B)** 2\n\n**Correct answer: A**", FIRST),
        ("What is 1 + 1?\nA) 1, B) 2;", PLAIN),
        ("What is 1 + 1?\n1. 1\n2. 2\nThe answer is 2", SECOND),
        (
            "Consider a) and b):\na) x\nWhich?\nA) one\nmore of it\nB) two\n\nFrom a book.",
            q("Consider a) and b):\na) x\nWhich?", "one\nmore of it", "two"),
        ),
        (
            "What is printed?\n```python\nfor a in 'b':\n    print(a)\n```\nA) a\nB) b",
            q("What is printed?", "a", "b", code="for a in 'b':\n    print(a)", language="python"),
        ),
        (
            "What is printed?\n\n    x = 1\n\n    print(x)\n\nA) 0\nB) 1",
            q("What is printed?", "0", "1", code="x = 1\n\nprint(x)"),
        ),
        ("Which sorts?\nA)\n```\nsorted(x)\n```\nB)\n```\nlen(x)\n```", q("Which sorts?", "sorted(x)", "len(x)")),
        ("[1, 2] is a\nA) list\nB) set", q("[1, 2] is a", "list", "set")),
    ],
)
def test_text(text: str, found: PastedQuestion) -> None:
    assert parse_pasted(text) == found


ITEM = {"question": "What is 1 + 1?", "choices": ["1", "2"]}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (ITEM, PLAIN),
        ([ITEM], PLAIN),
        ({"instances": [ITEM]}, PLAIN),
        ({**ITEM, "code": "x = 1", "answer": 1, "subject": "lists"}, replace(SECOND, code="x = 1")),
        ({"question": PLAIN.stem, "options": {"B": "2", "A": "1"}, "answer": "B"}, SECOND),
        ({"question": PLAIN.stem, "choices": [1, 2]}, PLAIN),
        ([ITEM, ITEM, ITEM], replace(PLAIN, others=2)),
        ({**ITEM, "answer": 9}, PLAIN),
    ],
)
def test_json(data: object, found: PastedQuestion) -> None:
    assert parse_pasted(json.dumps(data, indent=1)) == found


def test_json_lines() -> None:
    lines = f"{json.dumps(ITEM)}\n{json.dumps(ITEM)}\n"
    assert parse_pasted(lines) == replace(PLAIN, others=1)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("What is 1 + 1?", "no-choices"),
        ("What is 1 + 1?\nA) 2", "no-choices"),
        ("A) 1\nB) 2", "no-question"),
        ('{"question": "x"', "not-json"),
        ("[" * 100_000, "not-json"),
        ('["x"]', "no-question"),
        ('{"question": "x"}', "no-choices"),
        ('{"choices": ["a", "b"]}', "no-question"),
        (json.dumps({"question": "x", "choices": list("abcdefghijk")}), "too-many-choices"),
        ("x\n" + "\n".join(f"{n}. c" for n in range(1, 13)), "too-many-choices"),
        ("x" * 200_001, "too-long"),
    ],
)
def test_what_is_no_question(text: str, code: str) -> None:
    with pytest.raises(PasteError) as error:
        parse_pasted(text)
    assert error.value.code == code


@pytest.mark.parametrize(
    "text", ["A) " * 60_000, "\n" * 100_000 + "x", " " * 199_000 + "A)", "```\n" * 50_000, "**" * 90_000]
)
def test_hostile_texts_take_no_time(text: str) -> None:
    began = time.process_time()
    with suppress(PasteError):
        parse_pasted(text)
    assert time.process_time() - began < 1.0
