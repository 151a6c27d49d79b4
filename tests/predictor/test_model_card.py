import json

import pytest

from common.model_card import Accuracy, ModelCard
from common.question import Question
from predictor.errors import VersionError
from predictor.model_card import read_card, write_card

CARD = ModelCard("a model", ("lists", "sets"), ("What is printed?",), Accuracy(0.7, 0.6, 0.8, 100))


@pytest.mark.parametrize("card", [CARD, ModelCard("a model", (), ())])
def test_it_reads_what_it_wrote(tmp_path, card) -> None:
    write_card(card, tmp_path)
    assert read_card(tmp_path) == card


def test_a_version_without_one_claims_nothing(tmp_path) -> None:
    assert read_card(tmp_path) is None


@pytest.mark.parametrize(
    "change", [{"schema": 2}, {"title": 3}, {"subjects": None}, {"stems": [1]}, {"accuracy": {"value": "x"}}]
)
def test_a_broken_one_is_named(tmp_path, change) -> None:
    (tmp_path / "card.json").write_text(json.dumps({**CARD.to_dict(), **change}))
    with pytest.raises(VersionError, match=r"card\.json is not a card"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    ("stem", "subject", "covered"),
    [
        ("What is printed?", None, True),
        ("What  is\nprinted? ", None, True),
        ("Who wrote it?", None, False),
        ("Who wrote it?", "lists", True),
        ("What is printed?", "history", False),
    ],
)
def test_a_question_is_known_by_its_subject_or_else_its_stem(stem, subject, covered) -> None:
    assert CARD.covers(Question(stem, ("a", "b"), subject=subject)) is covered


def test_what_was_taught_is_covered_and_not_measured() -> None:
    taught = CARD.taught([Question("Which row?", ("a", "b"), subject="sql"), Question("What is printed?", ("a", "b"))])
    assert taught == ModelCard("a model", ("lists", "sets", "sql"), ("What is printed?", "Which row?"))
