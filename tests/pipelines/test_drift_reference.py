"""The drift reference: the shipped one is of the shipped model, and what cannot be asked is left out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from common.question import Question
from functions.drift.reference import FEATURES, BadReferenceError, parse
from pipelines import drift_reference
from predictor.scorer import Scorer

SHIPPED = Path(__file__).parents[2] / "models" / "tiny"


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer.load(SHIPPED)


def test_the_shipped_reference_is_of_the_shipped_model(scorer: Scorer) -> None:
    """Other questions of the same mix: each mean within 5 standard errors."""
    shipped = parse((SHIPPED / "reference.json").read_bytes())
    assert shipped.n == drift_reference.QUESTIONS
    assert set(shipped.features) == set(FEATURES)
    assert sum(shipped.letters.values()) == shipped.n
    seen = drift_reference.measure(scorer, drift_reference.bank_questions(300, seed=77))
    for name, feature in shipped.features.items():
        error = feature.sd * math.sqrt(1 / seen.n + 1 / shipped.n)
        assert abs(seen.features[name].mean - feature.mean) < 5 * error, name


def test_it_holds_what_the_server_would_answer(scorer: Scorer) -> None:
    questions = drift_reference.bank_questions(12, ("complexity",), seed=3)
    measured = drift_reference.measure(scorer, [*questions, Question("long " * 5000, ("a", "b"))])
    answers = scorer.score([scorer.encode(q) for q in questions])
    assert measured.features["confidence"].values == pytest.approx(sorted(a.confidence for a in answers), abs=1e-6)
    assert measured.letters == {x: n for x in "ABCD" if (n := [a.letter for a in answers].count(x))}


def test_one_answer_is_no_reference(scorer: Scorer) -> None:
    with pytest.raises(BadReferenceError, match="at least 2 finite values, found 1"):
        drift_reference.measure(scorer, drift_reference.bank_questions(1, ("complexity",)))
