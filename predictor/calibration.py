"""Letter bias: the prior that a model gives each letter whatever the question, and how it is divided out.

PriDe (Zheng et al. 2023, arXiv 2309.03882): the observed probability of letter i factors into a prior of the letter
and the belief in the choice at that letter. On a few questions whose choices are rotated through every place, the
belief averages out and the prior remains; afterwards one pass per question is enough.

`calibration.json` in a version's folder holds the priors by number of choices.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.question import MAX_CHOICES, MIN_CHOICES
from predictor.errors import VersionError
from predictor.version_files import has_file, integer_field, read_json, short_repr

FILE = "calibration.json"
SCHEMA = 1
# Far below any measured prior; dividing by less could overflow.
MIN_PRIOR = 1e-12


@dataclass(frozen=True, slots=True)
class Calibration:
    """Letter priors of one version: for K choices, K probabilities in the letters' order that sum to 1."""

    priors: dict[int, tuple[float, ...]] = field(default_factory=dict)
    questions: int = 0

    @classmethod
    def read(cls, folder: Path) -> Calibration:
        """The folder's calibration, empty if it has none; VersionError when the file is broken."""
        path = folder / FILE
        if not has_file(path):
            return cls()
        raw = read_json(path)
        if raw.get("schema") != SCHEMA:
            raise VersionError(
                f"{path}: schema {short_repr(raw.get('schema'))} is not known, this server reads {SCHEMA}"
            )
        letter_prior = raw.get("letter_prior") or {}
        if not isinstance(letter_prior, dict):
            raise VersionError(f"{path}: letter_prior must be an object, found {short_repr(letter_prior)}")
        priors: dict[int, tuple[float, ...]] = {}
        for key, values in letter_prior.items():
            if not _is_prior(key, values):
                raise VersionError(
                    f"{path}: letter_prior[{short_repr(key)}] must be that many positive numbers that sum to 1"
                )
            priors[int(key)] = tuple(map(float, values))
        return cls(priors, integer_field(raw, "questions", path, low=0, default=0))

    def write(self, folder: Path) -> Path:
        data = {
            "schema": SCHEMA,
            "method": "PriDe (arXiv 2309.03882), full cyclic permutations",
            "questions": self.questions,
            "letter_prior": {str(k): list(v) for k, v in sorted(self.priors.items())},
        }
        path = folder / FILE
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        return path

    def debias(self, probabilities: Sequence[float]) -> list[float]:
        """Probabilities with the letter prior divided out; unchanged if there is no prior for that many choices."""
        prior = self.priors.get(len(probabilities))
        if prior is None:
            return list(probabilities)
        raised = [p / q for p, q in zip(probabilities, prior, strict=True)]
        total = math.fsum(raised)
        return [r / total for r in raised] if total > 0 else list(probabilities)


def estimate_prior(rotations: Sequence[Sequence[Sequence[float]]]) -> tuple[float, ...]:
    """The letter prior from questions of K choices each: rotations[question][rotation][letter], K rotations each.

    PriDe, equation 7: per question the softmax over letters of the mean log probability over its rotations; then
    the mean over questions.
    """
    if not rotations:
        raise ValueError("a letter prior needs at least one question")
    k = len(rotations[0])
    total = [0.0] * k
    for observed in rotations:
        if len(observed) != k or any(len(row) != k for row in observed):
            raise ValueError(f"every question needs {k} rotations of {k} letters")
        means = [math.fsum(math.log(max(row[i], 1e-12)) for row in observed) / k for i in range(k)]
        top = max(means)
        raised = [math.exp(m - top) for m in means]
        scale = math.fsum(raised) * len(rotations)
        total = [t + r / scale for t, r in zip(total, raised, strict=True)]
    return tuple(total)


def _is_prior(key: str, values: object) -> bool:
    return (
        key.isascii()
        and key.isdigit()
        and len(key) < 3
        and MIN_CHOICES <= int(key) <= MAX_CHOICES
        and isinstance(values, list)
        and len(values) == int(key)
        and all(isinstance(v, float) and MIN_PRIOR <= v < 1 for v in values)
        and math.isclose(math.fsum(values), 1.0, abs_tol=1e-6)
    )
