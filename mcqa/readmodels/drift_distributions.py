"""Each feature's distribution in a window over its baseline: shares in bins, with effect, floor and p.

The window is the champion's open one, or that of a check. Of a large one the newest answers are read.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

from common.names import CHAMPION
from mcqa.readmodels.drift import Baseline, baseline_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from sqlalchemy import Connection, Row

    from common.mlflow.registry import ModelRegistry
    from functions.drift.reference import FeatureReference, Reference
    from functions.drift.settings import Settings

MOST_ANSWERS = 5_000
"""Answers read of a window: their distribution function is within 0.02 of all answers', less than a bin shows."""
BINS = 24
TAIL = 0.005
"""Share of the values at each end that is drawn in the outermost bins, so that one value does not squeeze the rest."""

Problem = Literal["no-champion", "no-check", "reference-missing", "reference-unusable", "no-answers"]


class Bin(TypedDict):
    """The share of the baseline's and of the window's values within [low, high), the last one's end included.

    The outermost bins hold what is beyond them, too.
    """

    low: float
    high: float
    baseline: float
    current: float


class Evidence(TypedDict):
    """See functions.drift.decision.Evidence: the test's result for one feature."""

    feature: str
    test: str
    n: int
    n_reference: int
    statistic: float
    p: float
    p_adjusted: float
    effect: float
    floor: float
    rejected: bool
    note: str
    distance: float
    least: float


class FeatureDistribution(TypedDict):
    """`n_baseline` answers were measured, of `n` the values were read; means are in the feature's own unit."""

    feature: str
    n_baseline: int
    n: int
    mean_baseline: float
    mean: float
    bins: list[Bin]
    evidence: Evidence | None


class LetterShare(TypedDict):
    """How often a letter was chosen: shares, and counts."""

    letter: str
    baseline: float
    current: float
    n_baseline: int
    n: int


class Distributions(TypedDict):
    """A window [since, until) of `version`: `n` answers of it were read, and it has more where `sampled`.

    `check` is None for the open window; the evidence of a check is the one that it stored, that of the open window is
    computed from the answers that were read, and no verdict: of fewer than `needed` it says nothing. `problem`: why
    there is nothing to compare.
    """

    version: str | None
    check: int | None
    since: float | None
    until: float | None
    n: int
    needed: int
    sampled: bool
    baseline: Baseline | None
    features: list[FeatureDistribution]
    letters: list[LetterShare]
    letter_evidence: Evidence | None
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class _Window:
    """What is compared: a window of a version's answers, and the evidence that its check stored (None: still open)."""

    version: str
    since: float | None
    until: float
    evidence: list[Evidence] | None


def read(environ: Mapping[str, str], check: int | None = None) -> Distributions:
    """Of the open window, or of a check's.

    ValueError for bad settings, UnavailableError without the database or the registry.
    """
    from common.mlflow.registry import ModelRegistry
    from functions.drift.settings import read_settings
    from mcqa.readmodels.drift_queries import newest_answers, reading

    settings = read_settings(environ)
    with ModelRegistry(environ, settings.model) as registry, reading(environ) as connection:
        window = _find_window(connection, registry, settings, check)
        if isinstance(window, str):
            return _facts(check, window)
        baseline = baseline_of(connection, settings.model, window.version, check)
        reference = _reference(connection, registry, settings, window.version, baseline)
        if isinstance(reference, str):
            return _facts(check, reference, window, baseline)
        since, until = window.since, window.until
        rows = [] if since is None else newest_answers(connection, window.version, since, until, MOST_ANSWERS)
    facts = _facts(check, None if rows else "no-answers", window, baseline)
    facts["needed"] = settings.config.min_sample
    facts["n"], facts["sampled"] = len(rows), len(rows) == MOST_ANSWERS
    letters, values = _columns(rows)
    evidence = window.evidence if window.evidence is not None else _evidence(reference, values, letters, settings)
    by_feature = {item["feature"]: item for item in evidence}
    facts["features"] = [
        _feature(name, f, values[name], by_feature.get(name)) for name, f in reference.features.items()
    ]
    facts["letters"], facts["letter_evidence"] = _letters(reference.letters, letters), by_feature.get("letter")
    return facts


def _find_window(
    connection: Connection, registry: ModelRegistry, settings: Settings, check: int | None
) -> _Window | Problem:
    from functions.drift import store

    if check is not None:
        row = store.find(connection, settings.model, check)
        if row is None:
            return "no-check"
        return _Window(row.version, row.window_start, row.window_end, row.document["evidence"])
    registered = registry.model()
    version = registered.aliases.get(CHAMPION) if registered else None
    if version is None:
        return "no-champion"
    since = store.previous_state(connection, settings.model, version).state.since
    return _Window(version, since, time.time(), None)


def _columns(rows: Sequence[Row[Any]]) -> tuple[Sequence[str], dict[str, Sequence[float | None]]]:
    """The letters of these answers, and each feature's values."""
    from functions.drift.reference import FEATURES

    if not rows:
        return (), dict.fromkeys(FEATURES, ())
    letters, *columns = zip(*rows, strict=True)
    return letters, dict(zip(FEATURES, columns, strict=True))


def histogram(baseline: Sequence[float], current: Sequence[float], whole: bool = False) -> list[Bin]:
    """Both samples in the same bins, over the range of both without the tails; `whole`: of whole numbers.

    An empty `current` has shares of 0.
    """
    import numpy as np

    reference, window = np.asarray(baseline, dtype=float), np.asarray(current, dtype=float)
    ends = [np.quantile(sample, (TAIL, 1 - TAIL)) for sample in (reference, window) if len(sample)]
    low, high = float(min(e[0] for e in ends)), float(max(e[1] for e in ends))
    if whole:
        step = max(1, int(np.ceil((high - low + 1) / BINS)))
        low = float(np.floor(low))
        edges = low + step * np.arange(int((high - low) // step) + 2)
    elif low == high:
        edges = np.array([low, high])
    else:
        edges = np.linspace(low, high, BINS + 1)

    def shares(sample: Any) -> list[float]:
        if not len(sample):
            return [0.0] * (len(edges) - 1)
        places = np.clip(np.searchsorted(edges, sample, side="right") - 1, 0, len(edges) - 2)
        return list(map(float, np.bincount(places, minlength=len(edges) - 1) / len(sample)))

    of_baseline, of_window = shares(reference), shares(window)
    return [
        {"low": float(edges[i]), "high": float(edges[i + 1]), "baseline": of_baseline[i], "current": of_window[i]}
        for i in range(len(edges) - 1)
    ]


_kept: dict[tuple[str, str, str, float], Reference] = {}
_MOST_KEPT = 8


def _reference(
    connection: Connection, registry: ModelRegistry, settings: Settings, version: str, baseline: Baseline
) -> Reference | Problem:
    """The baseline's summary. That of a version is kept, because versions never change."""
    from functions.drift import baselines
    from functions.drift.checker import FILE
    from functions.drift.reference import BadReferenceError, parse

    if baseline["check"] is not None:
        return baselines.reference(connection, settings.model, baseline["check"])
    if (details := registry.version(version)) is None:
        return "reference-missing"
    # By when it was made, too: a loop that was deleted and set up again numbers from 1 again.
    key = (registry.address, settings.model, version, details.created)
    if key not in _kept:
        content = registry.read(version, FILE)
        if content is None:
            return "reference-missing"
        try:
            reference = parse(content)
        except BadReferenceError:
            return "reference-unusable"
        while len(_kept) >= _MOST_KEPT:
            _kept.pop(next(iter(_kept)), None)
        _kept[key] = reference
        return reference
    return _kept[key]


def _feature(
    name: str, f: FeatureReference, column: Sequence[float | None], evidence: Evidence | None
) -> FeatureDistribution:
    values = [float(value) for value in column if value is not None]
    return {
        "feature": name,
        "n_baseline": f.n,
        "n": len(values),
        "mean_baseline": f.mean,
        "mean": sum(values) / len(values) if values else 0.0,
        "bins": histogram(f.values, values, whole=name == "prompt_tokens"),
        "evidence": evidence,
    }


def _letters(baseline: Mapping[str, int], chosen: Sequence[str]) -> list[LetterShare]:
    counts = Counter(chosen)
    total, n = sum(baseline.values()), len(chosen)
    return [
        {
            "letter": letter,
            "baseline": baseline.get(letter, 0) / total if total else 0.0,
            "current": counts[letter] / n if n else 0.0,
            "n_baseline": baseline.get(letter, 0),
            "n": counts[letter],
        }
        for letter in sorted({*baseline, *counts})
    ]


def _evidence(
    reference: Reference, values: Mapping[str, Sequence[float | None]], letters: Sequence[str], settings: Settings
) -> list[Evidence]:
    """The tests on the answers that were read, by the rules of a check."""
    from functions.drift.decision import compare
    from functions.drift.window import Window

    if not letters:
        return []
    window = Window(reference)
    window.add(cast("Mapping[str, ArrayLike]", values), letters)
    return [cast("Evidence", asdict(item)) for item in compare(reference, window.summary(), settings.config)]


def _facts(
    check: int | None, problem: Problem | None, window: _Window | None = None, baseline: Baseline | None = None
) -> Distributions:
    return {
        "version": window.version if window else None,
        "check": check,
        "since": window.since if window else None,
        "until": window.until if window else None,
        "n": 0,
        "needed": 0,
        "sampled": False,
        "baseline": baseline,
        "features": [],
        "letters": [],
        "letter_evidence": None,
        "problem": problem,
    }
