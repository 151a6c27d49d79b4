"""Letter bias: the prior a model gives each letter whatever the question, and how it is divided out.

PriDe (Zheng et al. 2023, arXiv 2309.03882): the observed probability of letter i factors into a prior of the letter
and the belief in the choice that stands there. On a few questions whose choices are rotated through every place the
belief averages out and the prior is left; afterwards one pass a question is enough.

`calibration.json` in a version's folder holds the priors by number of choices.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from predictor.question import MAX_CHOICES, MIN_CHOICES
from predictor.version_files import VersionError, has_file, read_json, shown, whole

FILE = "calibration.json"
SCHEMA = 1
# Far below any prior that was measured; dividing by less could leave the range of numbers.
SMALLEST = 1e-12


@dataclass(frozen=True, slots=True)
class Calibration:
    """Letter priors of one version: for K choices, K probabilities in the letters' order that sum to 1."""

    priors: dict[int, tuple[float, ...]] = field(default_factory=dict)
    questions: int = 0

    @classmethod
    def read(cls, folder: Path) -> Calibration:
        """The folder's calibration, empty when it has none; VersionError when the file is broken."""
        path = folder / FILE
        if not has_file(path):
            return cls()
        raw = read_json(path)
        if raw.get("schema") != SCHEMA:
            raise VersionError(f"{path}: schema {shown(raw.get('schema'))} is not known, this server reads {SCHEMA}")
        found = raw.get("letter_prior") or {}
        if not isinstance(found, dict):
            raise VersionError(f"{path}: letter_prior must be an object, found {shown(found)}")
        priors: dict[int, tuple[float, ...]] = {}
        for key, values in found.items():
            if not _is_prior(key, values):
                raise VersionError(
                    f"{path}: letter_prior[{shown(key)}] must be that many positive numbers that sum to 1"
                )
            priors[int(key)] = tuple(map(float, values))
        return cls(priors, whole(raw, "questions", path, low=0, default=0))

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
        """Probabilities with the letter prior divided out; unchanged when there is no prior for so many choices."""
        prior = self.priors.get(len(probabilities))
        if prior is None:
            return list(probabilities)
        raised = [p / q for p, q in zip(probabilities, prior, strict=True)]
        total = math.fsum(raised)
        return [r / total for r in raised] if total > 0 else list(probabilities)


def estimate(rotations: Sequence[Sequence[Sequence[float]]]) -> tuple[float, ...]:
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
        and all(isinstance(v, float) and SMALLEST <= v < 1 for v in values)
        and math.isclose(math.fsum(values), 1.0, abs_tol=1e-6)
    )
