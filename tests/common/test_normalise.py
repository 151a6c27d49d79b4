"""White space and composition change nothing that is read or compared; what has a meaning is kept."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from common.normalise import is_blank, normalise_choice, normalise_code, normalise_stem
from common.question import LETTERS, QuestionError, parse_question
from mcqa.client import question_to_dict
from pipelines.bank import conceptual, content_key, generate, split_of
from pipelines.evaluation.answer_records import question_id
from pipelines.retraining.feedback import problem_key
from predictor.prompt import PromptFormat
from tests.variants import OUTER, QUESTIONS, variants
from tools.ci.evaluation import BASELINE

EXAMPLES = settings(
    max_examples=300, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
FORMATS = [PromptFormat(layout=layout) for layout in ("letter-first", "letter-last")]


@pytest.mark.parametrize(
    ("text", "stem"),
    [
        ("What?", "What?"),
        ("  What? \r\n", "What?"),
        ("One.  Two.\tThree.", "One. Two. Three."),
        ("What's  this?", "What's this?"),
        ("What does ' '.join('a  b') give?", "What does ' '.join('a  b') give?"),
        ("What does `a  b` match?", "What does `a  b` match?"),
        ("What does “a  b” match?", "What does “a  b” match?"),
        ("Look: \n    x = 1\n        y  = 2\n", "Look:\n    x = 1\n        y  = 2"),
        ("no\xa0break, narrow\u202fand\u3000wide", "no break, narrow and wide"),
        ("cafe\u0301 and A\u030a", "café and Å"),
        ("e\u200b\u0301", "é"),
        ("\ufeffzero\u200bwidth", "zerowidth"),
        ("hyphen\xadated \u200eleft\u200f", "hyphenated left"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("a\u200db\u200c", "ab"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        ("one\x85two\u2028three\u2029four\vfive\rsix", "one\ntwo\nthree\nfour\nfive\nsix"),
        ("page\r\n\f\r\nbreak\fhere", "page\nbreak\nhere"),
        ("2² is not 2", "2² is not 2"),
        ("\u202eoverride", "\u202eoverride"),
    ],
)
def test_stem(text: str, stem: str) -> None:
    assert normalise_stem(text) == stem


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x = 1", "x = 1"),
        ("\r\n\n  \nx = 1  \r\n\r\ny = 2\t\r\n \r\n", "x = 1\n\ny = 2"),
        ("if x:\n    y\n\tz", "if x:\n    y\n\tz"),
        ("    if x:\n        y\n\n    z", "if x:\n    y\n\nz"),
        ("\tif x:\n\t\ty", "if x:\n\ty"),
        ("  x = 1\ny = 2", "  x = 1\ny = 2"),
        ("\txy\n  y", "\txy\n  y"),
        ("s = 'a  b \t c'", "s = 'a  b \t c'"),
        ("def f():\n\xa0\xa0return\xa01", "def f():\n  return 1"),
        ("x = 1\n\n\ny = 2", "x = 1\n\n\ny = 2"),
        (" \t\n", ""),
        ("\u200b\ufeff", ""),
    ],
)
def test_code(text: str, code: str) -> None:
    assert normalise_code(text) == code


@pytest.mark.parametrize(
    ("text", "choice"),
    [(" 3", "3"), ("3\r\n", "3"), ("\ufeff3\u3000", "3"), ("a  b", "a  b"), ("' 3'", "' 3'"), ("1\n 2", "1\n 2")],
)
def test_choice(text: str, choice: str) -> None:
    assert normalise_choice(text) == choice


TEXTS = st.lists(
    st.sampled_from([*OUTER, *"ae'\"\u0301\u0327数\u200c\u200d\u212a\u037e"]) | st.characters(), max_size=12
).map("".join)


@EXAMPLES
@example(text="\x85\u200c\x80")
@example(text="\xe9\u200d\u2028a")
@given(text=TEXTS)
def test_once_is_enough(text: str) -> None:
    for normalise in (normalise_stem, normalise_code, normalise_choice):
        once = normalise(text)
        assert normalise(once) == once
        assert not once or not is_blank(once)
    assert (normalise_code(text).strip("\x1c\x1d\x1e\x1f") == "") == is_blank(text)


@pytest.mark.parametrize("question", QUESTIONS)
@EXAMPLES
@given(data=st.data())
def test_meaningless_edits_change_neither_prompt_nor_keys(question: dict[str, Any], data: st.DataObject) -> None:
    plain, edited = parse_question(question), parse_question(sent := data.draw(variants(question)))
    assert list(edited.choices) == sent["choices"], "the sender's own text"
    assert edited.normalised() == plain.normalised()
    for form in FORMATS:
        assert form.text(edited) == form.text(plain)
    for key in (content_key, split_of, problem_key, question_id):
        assert key(edited) == key(plain)


@EXAMPLES
@given(data=st.data(), places=st.lists(st.integers(0, 9), min_size=2, max_size=10, unique=True))
def test_choices_that_are_the_same_are_refused_by_their_letters(data: st.DataObject, places: list[int]) -> None:
    """Some of ten choices are the same but for what nobody sees; the others differ."""
    outer = st.lists(st.sampled_from(OUTER), max_size=2).map("".join)
    same = ["café 3", "cafe\u0301 3", "café\xa03", "ca\u200bfé 3"]
    choices = [f"choice {letter}" for letter in LETTERS]
    for place in places:
        choices[place] = data.draw(outer) + data.draw(st.sampled_from(same)) + data.draw(outer)
    with pytest.raises(QuestionError) as refused:
        parse_question({"question": "Which?", "choices": choices})
    *first, last = (LETTERS[place] for place in sorted(places))
    assert refused.value.field == "choices"
    assert refused.value.message.startswith(f"{', '.join(first)} and {last} are the same")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"code": "if x:\n    y()\nz()"}, {"code": "if x:\n    y()\n    z()"}),
        ({"code": "x = 1\nprint(x)"}, {"code": "x = 1\n print(x)"}),
        ({"code": " x = 1\nprint(x)"}, {"code": "x = 1\nprint(x)"}),
        ({"code": "if x:\n\ty()"}, {"code": "if x:\n    y()"}),
        ({"code": "print(len('a  b'))"}, {"code": "print(len('a b'))"}),
        ({"code": "print(len(' a'))"}, {"code": "print(len('a'))"}),
        ({"code": "print('a\tb')"}, {"code": "print('a b')"}),
        ({"code": "s = '''\n\n'''"}, {"code": "s = '''\n'''"}),
        ({"question": "What is len('a  b')?"}, {"question": "What is len('a b')?"}),
        ({"question": "Read:\n  x\ny"}, {"question": "Read:\nx\ny"}),
        ({"choices": ["a  b", "c"]}, {"choices": ["a b", "c"]}),
        ({"choices": ["' 3'", "c"]}, {"choices": ["'3'", "c"]}),
        ({"choices": ["if x:\n  y", "c"]}, {"choices": ["if x:\ny", "c"]}),
        ({"choices": ["x²", "c"]}, {"choices": ["x2", "c"]}),
        ({"choices": ["O", "c"]}, {"choices": ["o", "c"]}),
    ],
)
def test_what_has_a_meaning_is_kept(one: dict[str, Any], other: dict[str, Any]) -> None:
    base = {"question": "What does it print?", "choices": ["1", "2"]}
    first, second = parse_question({**base, **one}), parse_question({**base, **other})
    assert all(form.text(first) != form.text(second) for form in FORMATS)


def test_the_shipped_banks_questions_are_in_normal_form_already() -> None:
    """So the figures of the shipped model and of CI's baseline, which were measured on them, stay true."""
    asked = [item.question for item in (*generate(0, 1000, split="holdout"), *conceptual())]
    kept = json.loads(BASELINE.read_text())
    assert kept["answers"].keys() == {question.id for question in asked[:1000]}
    for question in asked:
        assert question.normalised() == question
        assert parse_question(question_to_dict(question)) == question


def test_indentation_and_inner_spaces_of_any_code_are_kept() -> None:
    """Code in canonical form comes through unchanged, whatever is in its lines."""
    line = st.text(st.sampled_from(string.ascii_letters + "'\"  \t#:"), max_size=12).map(str.rstrip)

    @EXAMPLES
    @given(first=st.sampled_from("abc"), lines=st.lists(line, max_size=6), last=st.sampled_from("abc"))
    def holds(first: str, lines: list[str], last: str) -> None:
        code = "\n".join([first, *lines, last])
        assert normalise_code(code) == code

    holds()


@pytest.mark.parametrize("field", ["question", "choices"])
def test_what_nobody_sees_is_empty(field: str) -> None:
    for blank in ("", " ", "\r\n", "\xa0", "\u200b", "\ufeff", "\u3000\u200d"):
        value = blank if field == "question" else ["a", blank]
        with pytest.raises(QuestionError, match="is empty"):
            parse_question({"question": "Which?", "choices": ["a", "b"], field: value})


def test_blank_code_is_none() -> None:
    plain = parse_question({"question": "Which?", "choices": ["a", "b"]})
    assert parse_question({"question": "Which?", "choices": ["a", "b"], "code": "\r\n \u200b"}) == plain


@pytest.mark.parametrize(
    "piece", ["\u0301\u0327", " \n", "\t \n\t", "\u200d", "\u200d\u200ce", "é ", "\f\r", "\xa0", "'  ", "\ufeff"]
)
def test_long_texts_take_no_more_than_their_length(piece: str) -> None:
    """What took the square of a million characters would not end within the test's five minutes."""
    text = "e" + piece * (1_000_000 // len(piece)) + "e"
    for normalise in (normalise_stem, normalise_code, normalise_choice):
        normalise(text)
