import pytest

from common.question import Answer, Question, QuestionError, parse_debias, parse_question, parse_questions

GOOD = {"question": "What is 1 + 1?", "choices": ["1", "2"]}


def test_a_question_with_every_field() -> None:
    data = {**GOOD, "code": "print(1 + 1)", "id": "q1", "subject": "arithmetic", "answer": 1}
    assert parse_question(data) == Question("What is 1 + 1?", ("1", "2"), "print(1 + 1)", "q1", "arithmetic")


def test_empty_optional_fields_are_absent() -> None:
    assert parse_question({**GOOD, "code": "", "id": None}) == Question("What is 1 + 1?", ("1", "2"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "question: must be an object with question and choices, found a list"),
        ("text", "question: must be an object with question and choices, found a string"),
        ({"choices": ["1", "2"]}, "question: must be a string, found nothing"),
        ({**GOOD, "question": 7}, "question: must be a string, found a number"),
        ({**GOOD, "question": " \n"}, "question: is empty"),
        ({**GOOD, "question": "\ud800"}, "question: contains half of a surrogate pair, which is not valid Unicode"),
        ({"question": "q"}, "choices: must be a list of 2 to 10 strings, found nothing"),
        ({**GOOD, "choices": "AB"}, "choices: must be a list of 2 to 10 strings, found a string"),
        ({**GOOD, "choices": ["1"]}, "choices: needs 2 to 10 choices, found 1"),
        ({**GOOD, "choices": list("abcdefghijk")}, "choices: needs 2 to 10 choices, found 11"),
        ({**GOOD, "choices": ["1", 2]}, "choices[1]: must be a string, found a number"),
        ({**GOOD, "choices": ["1", ""]}, "choices[1]: is empty"),
        ({**GOOD, "choices": ["1", "2", "1"]}, "choices: A and C are the same text"),
        ({**GOOD, "code": ["x"]}, "code: must be a string, found a list"),
        ({**GOOD, "id": True}, "id: must be a string, found true or false"),
        (
            {**GOOD, "chioces": []},
            "chioces: is not a field; the fields are question, choices, code, id, subject, answer",
        ),
    ],
)
def test_a_bad_field_is_named(data, message) -> None:
    with pytest.raises(QuestionError) as caught:
        parse_question(data)
    assert str(caught.value) == message


def test_the_index_of_a_bad_question_is_named() -> None:
    with pytest.raises(QuestionError) as caught:
        parse_questions([GOOD, GOOD, {**GOOD, "choices": ["x"]}])
    assert str(caught.value) == "question 2: choices: needs 2 to 10 choices, found 1"
    assert (caught.value.index, caught.value.field) == (2, "choices")


@pytest.mark.parametrize("value", [None, "none", "prior", "cyclic"])
def test_debias_modes(value) -> None:
    assert parse_debias(value) == value


@pytest.mark.parametrize("value", ["Prior", 1, [], {}, ""])
def test_other_debias_modes_are_refused(value) -> None:
    with pytest.raises(QuestionError, match="debias: must be one of none, prior, cyclic, found"):
        parse_debias(value)


def test_rotations_move_every_choice_through_every_place() -> None:
    question = Question("q", ("a", "b", "c"))
    assert [question.rotated(r).choices for r in range(4)] == [
        ("a", "b", "c"),
        ("b", "c", "a"),
        ("c", "a", "b"),
        ("a", "b", "c"),
    ]


def test_an_answer_as_json_leaves_absent_fields_out() -> None:
    answer = Answer("B", 1, "2", (0.25, 0.75), 0.75, 0.5, 0.56, 0.9, 12, "7")
    assert answer.to_dict() == {
        "letter": "B",
        "index": 1,
        "choice": "2",
        "probabilities": {"A": 0.25, "B": 0.75},
        "confidence": 0.75,
        "margin": 0.5,
        "entropy": 0.56,
        "letter_mass": 0.9,
        "prompt_tokens": 12,
        "model_version": "7",
    }
