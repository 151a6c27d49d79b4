"""The distribution of a version's answers when it was evaluated: the drift check's reference, stored with the version.

`reference.json` (schema 1):

    {"schema": 1,
     "features": {"confidence": {"n": 1200, "mean": 0.71, "sd": 0.19, "values": [0.25, ...]}, ...},
     "letters": {"A": 301, "B": 288, ...}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.question import LETTERS

SCHEMA = 1
FEATURES = ("confidence", "entropy", "margin", "prompt_tokens", "letter_mass")
MAX_VALUES = 2048
"""Values kept per feature (about 40 kB of JSON). More answers are kept as evenly spaced order statistics, whose
distribution function is within 1 / (2 * MAX_VALUES) = 0.00024 of theirs: below what 1,000,000 answers can resolve."""


class BadReferenceError(ValueError):
    """The reference is unusable; the message names the part and what was found."""


@dataclass(frozen=True, slots=True)
class FeatureReference:
    """One feature's distribution. `values` are sorted; `n`, `mean` and `sd` are of all the answers measured."""

    n: int
    mean: float
    sd: float
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """The champion version's answers: each feature's distribution, and how often each letter was chosen."""

    features: Mapping[str, FeatureReference]
    letters: Mapping[str, int]

    @property
    def n(self) -> int:
        """Answers behind the least measured feature."""
        return min((f.n for f in self.features.values()), default=0)

    def to_json(self) -> str:
        features = {
            name: {"n": f.n, "mean": f.mean, "sd": f.sd, "values": list(f.values)} for name, f in self.features.items()
        }
        return json.dumps({"schema": SCHEMA, "features": features, "letters": dict(self.letters)})


def summarise(features: Mapping[str, Sequence[float]], letters: Sequence[str]) -> Reference:
    """The reference of evaluated answers: per feature one number per answer (never rounded), and the chosen letters."""
    out = {}
    for name, values in features.items():
        ordered = sorted(float(v) for v in values)
        n = len(ordered)
        if n < 2 or not all(map(math.isfinite, ordered)):
            raise BadReferenceError(f"{name} needs at least 2 finite values, found {n}")
        mean = math.fsum(ordered) / n
        sd = math.sqrt(math.fsum((v - mean) ** 2 for v in ordered) / (n - 1))
        kept = ordered if n <= MAX_VALUES else [ordered[(2 * i + 1) * n // (2 * MAX_VALUES)] for i in range(MAX_VALUES)]
        out[name] = FeatureReference(n, mean, sd, tuple(kept))
    return Reference(out, {letter: count for letter in LETTERS if (count := letters.count(letter))})


def parse(text: str | bytes) -> Reference:
    """The reference of a reference.json; BadReferenceError names the part that is unusable."""
    try:
        data: Any = json.loads(text)
    except ValueError as error:
        raise BadReferenceError(f"reference.json is not JSON: {error}") from None
    schema = data.get("schema") if isinstance(data, dict) else type(data).__name__
    if schema != SCHEMA:
        raise BadReferenceError(f"reference.json has schema {schema!r}, this release reads {SCHEMA}: register again")
    try:
        features = {
            str(name): FeatureReference(int(f["n"]), float(f["mean"]), float(f["sd"]), tuple(map(float, f["values"])))
            for name, f in data["features"].items()
        }
        letters = {str(letter): int(count) for letter, count in data["letters"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadReferenceError(f"reference.json has a malformed part: {type(error).__name__} {error}") from None
    for name, f in features.items():
        _check(name, f)
    if any(letter not in LETTERS or len(letter) != 1 or count < 0 for letter, count in letters.items()):
        raise BadReferenceError(f"letters must be counts of {LETTERS}, found {letters}"[:200])
    return Reference(features, letters)


def _check(name: str, f: FeatureReference) -> None:
    if not 1 <= len(f.values) <= MAX_VALUES or f.n < len(f.values):
        raise BadReferenceError(f"{name} needs 1 to {MAX_VALUES} values of n answers, found {len(f.values)} of {f.n}")
    if not all(map(math.isfinite, (f.mean, f.sd, *f.values))) or f.sd < 0:
        raise BadReferenceError(f"{name} holds a value that is not a finite number")
    if any(a > b for a, b in zip(f.values, f.values[1:], strict=False)):
        raise BadReferenceError(f"{name}: values must be sorted")
