from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from functions.drift.reference import MAX_VALUES, BadReferenceError, parse, summarise


def text(**changes: Any) -> str:
    good = {
        "schema": 1,
        "features": {"confidence": {"n": 3, "mean": 0.5, "sd": 0.1, "values": [0.4, 0.5, 0.6]}},
        "letters": {"A": 2, "B": 1},
    }
    return json.dumps(good | changes)


def test_it_survives_json_to_the_last_bit() -> None:
    rng = np.random.default_rng(1)
    values = rng.random(300).tolist()
    reference = summarise({"confidence": values, "prompt_tokens": [100, 120] * 150}, ["A", "B", "A"] * 100)
    assert parse(reference.to_json()) == reference
    confidence = reference.features["confidence"]
    assert confidence.values == tuple(sorted(values))
    assert (confidence.mean, confidence.sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert reference.letters == {"A": 200, "B": 100}
    assert reference.n == 300


def test_many_answers_are_kept_as_quantiles() -> None:
    values = np.random.default_rng(2).lognormal(size=50_000)
    reference = summarise({"confidence": values.tolist()}, [])
    kept = np.array(reference.features["confidence"].values)
    assert (reference.n, len(kept)) == (50_000, MAX_VALUES)
    exact = np.searchsorted(np.sort(values), kept, side="right") / 50_000
    assert np.abs(exact - np.arange(1, MAX_VALUES + 1) / MAX_VALUES).max() <= 1 / (2 * MAX_VALUES) + 1 / 50_000
    assert len(reference.to_json()) < 60_000


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "not JSON"),
        ("[]", "schema 'list', this release reads 1"),
        (text(schema=2), "schema 2, this release reads 1"),
        (text(features=[]), "malformed"),
        (text(features={"confidence": {"n": 3}}), "malformed part: KeyError 'mean'"),
        (text(features={"confidence": {"n": 1, "mean": 0, "sd": 0, "values": [1, 2]}}), "found 2 of 1"),
        (text(features={"confidence": {"n": 2, "mean": 0, "sd": 0, "values": []}}), "found 0 of 2"),
        (text(features={"confidence": {"n": 2, "mean": 0, "sd": 0, "values": [2, 1]}}), "must be sorted"),
        (text(features={"confidence": {"n": 2, "mean": 0, "sd": -1, "values": [1, 2]}}), "not a finite number"),
        (text(letters={"Z": 1}), "letters must be counts"),
        (text(letters={"A": -1}), "letters must be counts"),
    ],
)
def test_a_bad_reference_says_what_is_wrong(bad: str, message: str) -> None:
    with pytest.raises(BadReferenceError, match=message):
        parse(bad)


@pytest.mark.parametrize("values", [[], [0.5], [0.5, float("nan")]])
def test_summarising_nothing_is_refused(values: list[float]) -> None:
    with pytest.raises(BadReferenceError, match="needs at least 2 finite values"):
        summarise({"confidence": values}, [])
