"""The hand-written bank: enough, unique, balanced."""

from __future__ import annotations

from collections import Counter

from pipelines.bank import conceptual, content_key

BANK = conceptual()


def test_more_than_100_different_questions_in_six_subjects() -> None:
    assert len(BANK) >= 100
    assert len({content_key(q.question) for q in BANK}) == len({q.question.id for q in BANK}) == len(BANK)
    shares = Counter(q.subject for q in BANK)
    assert set(shares) == {"data-structures", "http", "git", "concurrency", "databases", "security"}
    assert min(shares.values()) >= 15


def test_four_choices_each_that_differ_beyond_case() -> None:
    for q in BANK:
        assert len({c.strip().casefold() for c in q.question.choices}) == 4, q


def test_right_answers_are_spread_over_the_letters() -> None:
    counts = Counter(q.letter for q in BANK)
    assert max(counts.values()) - min(counts.values()) <= 2


def test_right_answers_are_not_betrayed_by_length() -> None:
    for pick in (max, min):
        hits = sum(q.right == pick(q.question.choices, key=len) for q in BANK)
        assert hits / len(BANK) < 0.4, pick


def test_no_choice_leans_on_its_place() -> None:
    for q in BANK:
        for choice in q.question.choices:
            assert not any(words in choice.lower() for words in ("all of the above", "none of the above", "both a")), q
