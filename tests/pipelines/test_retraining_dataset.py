"""From rows of feedback to training and holdout data."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from common.question import Question
from functions.collect.queries import Labelled
from pipelines.bank import HELD_OUT_SUBJECTS, TRAINING_SUBJECTS, LabelledQuestion, content_key, generate
from pipelines.retraining.dataset import DataError, DatasetSizes, RetrainingDataset, balanced_epoch, build_dataset
from pipelines.retraining.feedback import Feedback, aggregate_feedback, data_digest, held_out

SMALL = DatasetSizes(minimum=50, replay=60, current=40, old=30, recent=50)


def row(stem: str, answer: int, at: float = 0.0, choices: tuple[str, ...] = ("1", "2", "3"), **more: Any) -> Labelled:
    return Labelled(f"{stem}-{at}/0", {"question": stem, "choices": list(choices), **more}, answer, "1", None, at)


def feedback_of(questions: list[LabelledQuestion]) -> Feedback:
    return Feedback(tuple(questions), len(questions), 0, 0)


def test_duplicates_collapse_whatever_the_order_of_their_choices() -> None:
    feedback = aggregate_feedback([row("a?", 0, 1.0), row("a?", 0, 2.0), row(" a? ", 2, 3.0, ("3", "2", "1"))])
    assert (len(feedback.questions), feedback.rows, feedback.conflicting) == (1, 3, 0)
    assert feedback.questions[0].right == "1"
    assert feedback.questions[0].question.choices == ("3", "2", "1"), "the form in which it was last asked"


def test_white_space_and_composition_make_no_other_problem() -> None:
    """Nor another right answer, another side of the holdout or other data."""
    plain = row("Café?", 0, 1.0, code="if x:\n    y")
    edited = row("\ufeffCafe\u0301?\r\n", 2, 2.0, ("3\r\n", "\xa02", " 1"), code="\r\n  if x: \r\n      y\r\n")
    other = row("Café?", 0, 3.0, code="if x:\n  y")
    feedback = aggregate_feedback([plain, edited])
    assert (len(feedback.questions), feedback.conflicting) == (1, 0)
    assert feedback.questions[0].right == " 1", "the form in which it was last asked"
    assert feedback.questions[0].question.id == aggregate_feedback([plain]).questions[0].question.id
    assert data_digest([feedback.questions]) == data_digest([aggregate_feedback([plain]).questions])
    assert len(aggregate_feedback([plain, other]).questions) == 2


@pytest.mark.parametrize(
    ("answers", "right"),
    [
        ([(0, 1.0), (1, 2.0), (1, 3.0)], "2"),  # the majority
        ([(1, 3.0), (0, 1.0), (1, 2.0), (0, 4.0), (0, 5.0)], "1"),  # whatever the order of the rows
        ([(0, 1.0), (1, 2.0)], "2"),  # of equally many the latest
        ([(1, 2.0), (0, 3.0)], "1"),
    ],
)
def test_contradictions_are_settled(answers: list[tuple[int, float]], right: str) -> None:
    feedback = aggregate_feedback([row("a?", answer, at) for answer, at in answers])
    assert feedback.conflicting == 1
    assert [item.right for item in feedback.questions] == [right]


def test_the_same_stem_with_other_choices_is_another_question_on_the_same_side() -> None:
    feedback = aggregate_feedback([row("Which is true?", 0), row("Which is true?", 1, 0.0, ("x", "y"))])
    assert (len(feedback.questions), feedback.conflicting) == (2, 0)
    assert len({held_out(item.question, 0.5) for item in feedback.questions}) == 1


def test_what_is_no_question_is_left_out_and_counted() -> None:
    bad = [row("a?", 3), row("", 0), row("b?", 0, choices=("1", "1")), row("c?", 0, code=7)]
    feedback = aggregate_feedback([*bad, row("good?", 0)])
    assert (feedback.rows, feedback.unusable) == (5, 4)
    assert [item.question.stem for item in feedback.questions] == ["good?"]


def test_the_split_is_stable_and_has_the_asked_share() -> None:
    questions = generate(3, 2000)
    kept = sum(held_out(item.question, 0.25) for item in questions) / len(questions)
    assert 0.21 < kept < 0.29
    assert all(held_out(item.question, 0.3) for item in questions if held_out(item.question, 0.2))


def test_the_digest_depends_on_content_alone() -> None:
    a, b = generate(3, 30), generate(4, 30)
    assert data_digest([a, b]) == data_digest([a[::-1], b[::-1]])
    assert data_digest([a, b]) != data_digest([b, a])
    other = LabelledQuestion(a[0].question, (a[0].answer + 1) % 4)
    assert data_digest([a, b]) != data_digest([[other, *a[1:]], b])


@pytest.fixture(scope="module")
def mixed() -> RetrainingDataset:
    questions = generate(5, 210, HELD_OUT_SUBJECTS) + generate(6, 90, TRAINING_SUBJECTS, split="holdout")
    asked = [item.question for item in questions]
    return build_dataset(feedback_of(questions), asked, TRAINING_SUBJECTS, SMALL, seed=0)


def test_no_problem_is_learned_from_and_examined_on(mixed: RetrainingDataset) -> None:
    learned = {content_key(item.question) for item in (*mixed.new, *mixed.old)}
    examined = {content_key(item.question) for item in (*mixed.current, *mixed.old_holdout)}
    assert not learned & examined
    assert not learned & {content_key(q) for q in mixed.recent}


def test_the_parts_are_what_they_are_called(mixed: RetrainingDataset) -> None:
    assert {item.subject for item in mixed.new} == set(HELD_OUT_SUBJECTS)
    assert {item.subject for item in mixed.old} <= set(TRAINING_SUBJECTS)
    assert {item.subject for item in mixed.old_holdout} <= set(TRAINING_SUBJECTS)
    assert set(mixed.learned) == {*TRAINING_SUBJECTS, *HELD_OUT_SUBJECTS}
    assert len(mixed.current) == 40
    shares = Counter(item.subject in HELD_OUT_SUBJECTS for item in mixed.current)
    assert shares[True] / 40 == pytest.approx(0.7, abs=0.15)
    assert len(mixed.recent) == 50


def test_too_few_held_out_questions_are_topped_up_in_feedbacks_own_shares() -> None:
    questions = generate(5, 70, ("sql",)) + generate(6, 30, ("complexity",))
    sizes = replace(SMALL, current=60)
    dataset = build_dataset(feedback_of(questions), [], TRAINING_SUBJECTS, sizes, seed=0)
    given = Counter(item.subject for item in questions if held_out(item.question, 0.25))
    assert sum(given.values()) < len(dataset.current) <= 61
    shares = Counter(item.subject for item in dataset.current)
    assert shares["sql"] / len(dataset.current) == pytest.approx(given["sql"] / sum(given.values()), abs=0.1)


def test_subjects_that_the_bank_does_not_know_are_not_topped_up() -> None:
    questions = [
        LabelledQuestion(Question(f"question {i}?", ("1", "2"), None, f"f{i}", "cobol"), i % 2) for i in range(100)
    ]
    dataset = build_dataset(feedback_of(questions), [], TRAINING_SUBJECTS, SMALL, seed=0)
    assert {item.subject for item in dataset.current} == {"cobol"}
    assert "cobol" in dataset.learned


def test_feedback_on_old_subjects_alone_is_all_new() -> None:
    questions = generate(6, 100, TRAINING_SUBJECTS)
    dataset = build_dataset(feedback_of(questions), [], TRAINING_SUBJECTS, SMALL, seed=0)
    assert len(dataset.new) == sum(not held_out(item.question, 0.25) for item in questions)


def test_too_little_feedback_says_how_much_it_takes() -> None:
    with pytest.raises(DataError, match=r"30 different labelled questions .* at least 50 needed"):
        build_dataset(feedback_of(generate(5, 30)), [], TRAINING_SUBJECTS, SMALL, seed=0)


@pytest.mark.parametrize(("new", "old", "share"), [(100, 300, 0.4), (300, 100, 0.4), (100, 100, 0.5), (50, 0, 0.4)])
def test_an_epoch_holds_everything_in_the_asked_shares(new: int, old: int, share: float) -> None:
    questions = generate(7, new + old)
    whole = balanced_epoch(questions[:new], questions[new:], share)
    counts = Counter(item.question.id for item in whole)
    assert set(counts) == {item.question.id for item in questions}
    if old:
        ids = {item.question.id for item in questions[new:]}
        assert sum(counts[i] for i in ids) / len(whole) == pytest.approx(share, abs=0.01)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(DataError, match="there is no data option holdout"):
        DatasetSizes.from_options({"holdout": 3.0})
    assert DatasetSizes.from_options({"current": 300.0}).current == 300
