"""The generated bank: right answers are right, distractors are wrong, seeds decide, splits never leak."""

from __future__ import annotations

import contextlib
import io
import random
import re
import sqlite3
from collections import Counter

import pytest

from common.question import Question, parse_question
from pipelines.bank import (
    HELD_OUT_SUBJECTS,
    TRAINING_SUBJECTS,
    LabelledQuestion,
    content_key,
    generate,
    split_of,
    stream,
    subjects,
)
from pipelines.bank.draft import PRINTS, PRINTS_LINES, VALUE, Draft, Family, finish
from pipelines.bank.families import complexity, queries
from pipelines.bank.generate import families

FAMILIES = families()


@pytest.fixture(scope="session")
def bank() -> list[LabelledQuestion]:
    return generate(20, 6000)


def printed(code: str) -> str:
    """What the code prints, found out another way than the bank does: with the real print and a redirected stdout."""
    out = io.StringIO()
    name = ""
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(code, "question", "exec"), {"__name__": "test"})
        except Exception as error:  # noqa: BLE001 - its name is the answer
            name = type(error).__name__
    return " ".join([*out.getvalue().splitlines(), *([name] if name else [])])


def expected(question: Question) -> str | None:
    """The answer worked out anew from stem and code; None where the stem is not one of those known here."""
    code = question.code or ""
    if question.stem in (PRINTS, PRINTS_LINES):
        return printed(code)
    if question.stem in (VALUE, "What is the value of this expression, after import re?"):
        try:
            return repr(eval(code, {"re": re}))
        except Exception as error:  # noqa: BLE001 - its name is the answer
            return type(error).__name__
    if question.stem == "Which exception does this code raise?":
        try:
            exec(compile(code, "question", "exec"), {"__name__": "test", "print": lambda *_: None})
        except Exception as error:  # noqa: BLE001 - its name is the answer
            return type(error).__name__
        return "no exception"
    if question.stem == queries.STEM:
        db = sqlite3.connect(":memory:")
        head, _, query = code.rpartition("\n")
        db.executescript(head)
        rows = db.execute(query).fetchall()
        db.close()
        return ", ".join("/".join("NULL" if v is None else str(v) for v in row) for row in rows) or "no rows"
    return None


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_right_answer_is_what_running_the_code_gives(family: Family) -> None:
    rng = random.Random(f"test-{family.name}")
    asked = 0
    while asked < 25:
        draft = family.make(rng)
        labelled = finish(draft, rng, family.subject) if draft else None
        if labelled is None:
            continue
        asked += 1
        q = labelled.question
        if q.stem != complexity.STEM:
            assert labelled.right == expected(q), q
        assert len(q.choices) == len({" ".join(c.split()) for c in q.choices}) == 4
        assert all("\n" not in c for c in q.choices)
        assert parse_question(labelled.to_dict()) == q


def test_every_complexity_shape_has_the_class_a_reader_would_give() -> None:
    classes = [complexity.class_of(shape) for shape in complexity.SHAPES]
    assert Counter(classes) == {
        "O(1)": 2,
        "O(log n)": 3,
        "O(n)": 6,
        "O(n log n)": 3,
        "O(n ** 2)": 5,
        "O(n ** 3)": 2,
        "O(2 ** n)": 1,
    }
    assert [c for c, s in zip(classes, complexity.SHAPES, strict=True) if s.count("for") == 3] == ["O(n ** 3)"]


def test_bank_holds_5000_different_questions(bank: list[LabelledQuestion]) -> None:
    assert len({content_key(q.question) for q in bank}) == len(bank) == 6000
    assert len({q.question.id for q in bank}) == 6000
    assert {q.subject for q in bank} == set(subjects())
    shares = Counter(q.subject for q in bank)
    assert max(shares.values()) <= 1.5 * min(shares.values())


def test_positions_of_right_answers_are_even(bank: list[LabelledQuestion]) -> None:
    counts = Counter(q.answer for q in bank)
    for place in range(4):  # 6000 draws at 1/4: five standard deviations are 168
        assert abs(counts[place] - 1500) < 168


def test_answer_is_not_betrayed_by_length(bank: list[LabelledQuestion]) -> None:
    longest = sum(len(q.right) > max(len(c) for c in q.question.choices if c != q.right) for q in bank)
    assert longest / len(bank) < 0.3


def test_seed_decides() -> None:
    assert generate(3, 200) == generate(3, 200)
    assert generate(3, 200) != generate(4, 200)
    a, b = stream(5), stream(5)
    assert [next(a) for _ in range(100)] == [next(b) for _ in range(100)]


def test_split_ignores_order_choices_id_and_subject(bank: list[LabelledQuestion]) -> None:
    rng = random.Random(1)
    for labelled in bank[:500]:
        q = labelled.question
        other = Question(f"  {q.stem}\n", tuple(f"{c}?" for c in q.choices), q.code, "another", "another")
        assert split_of(labelled) == split_of(labelled.shuffled(rng)) == split_of(other)


def test_splits_have_their_shares_and_do_not_leak(bank: list[LabelledQuestion]) -> None:
    counts = Counter(split_of(q) for q in bank)
    assert 0.77 < counts["train"] / 6000 < 0.83
    assert 0.08 < counts["validation"] / 6000 < 0.12
    train = {content_key(q.question) for q in generate(11, 3000, split="train")}
    holdout = {content_key(q.question) for q in generate(12, 1000, split="holdout")}
    assert not train & holdout


def test_split_is_pinned() -> None:
    """A changed hash would move questions that a published model has learned into its own examination."""
    q = Question("What does this code print?", ("1", "2"), "print(1)")
    assert content_key(q).startswith("b7eb201a1ef3")
    assert split_of(q) == "train"


def test_stream_keeps_to_subjects_and_split() -> None:
    drawn = [
        q for q, _ in zip(stream(9, ["sql", "loops"], split="validation", choices=(3, 4)), range(60), strict=False)
    ]
    assert {q.subject for q in drawn} == {"sql", "loops"}
    assert {split_of(q) for q in drawn} == {"validation"}
    assert {len(q.question.choices) for q in drawn} == {3, 4}


def test_held_out_subjects_are_not_training_subjects() -> None:
    assert set(HELD_OUT_SUBJECTS) | set(TRAINING_SUBJECTS) == set(subjects())
    assert not set(HELD_OUT_SUBJECTS) & set(TRAINING_SUBJECTS)


def test_unknown_subject_is_named() -> None:
    with pytest.raises(ValueError, match="no generated subject cooking; there are aliasing,"):
        generate(1, 10, ["cooking"])


def test_more_than_the_families_can_give_is_an_error() -> None:
    with pytest.raises(ValueError, match="gave only"):
        generate(1, 200_000, ["complexity"], split="holdout")


def test_finish_drops_duplicates_and_the_answer_from_the_distractors() -> None:
    rng = random.Random(0)
    draft = Draft("s", "a b", ("a  b", "c", "c", " ", "d"))
    labelled = finish(draft, rng, "x", 3)
    assert labelled is not None
    assert set(labelled.question.choices) == {"a b", "c", "d"}
    assert finish(draft, rng, "x", 4) is None
