"""Accuracy over time and by version: as the model's own confidence estimates it, and by the labels that people gave.

The estimate is the mean confidence of the answers: right on average as long as the version is calibrated on what it is
asked, which drift is the reason to doubt. The labels are facts, of the answers that somebody cared to label.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, TypedDict

from common.names import CHAMPION
from common.proportions import Z_95, wilson

if TYPE_CHECKING:
    from mcqa.readmodels.drift_queries import Confidence, LabelledAnswer

Span = Literal["hours", "day", "weeks"]
SPANS: dict[Span, tuple[float, float]] = {
    "hours": (2 * 3600.0, 300.0),
    "day": (86_400.0, 3600.0),
    "weeks": (28 * 86_400.0, 86_400.0),
}
"""How far back each goes, and its step, in seconds."""
MOST_ANSWERS = 400
"""Answers of a version read of each step, the newest: enough for an estimate within 2 points."""
MOST_LABELS = 2_000
"""Pieces of feedback read, the newest: 0.1 s of processor time."""
MOST_VERSIONS = 4


class Point(TypedDict):
    """A step [at, until) of one version, with 95% intervals; None where nothing was measured.

    `estimated` is the mean confidence of `n` answers, `accuracy` the share that was right of `labels` labelled ones.
    """

    version: str
    at: float
    until: float
    n: int
    estimated: float | None
    estimated_low: float | None
    estimated_high: float | None
    labels: int
    right: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None


class Accuracy(TypedDict):
    """The steps in which something was measured, by time. Before `complete_since` labels are missing (None: none are).

    `versions` are the champion first, then those that answered last.
    """

    span: Span
    step: float
    since: float
    until: float
    champion: str | None
    versions: list[str]
    points: list[Point]
    complete_since: float | None


def read(environ: Mapping[str, str], span: Span = "day", ahead: float = 0.0) -> Accuracy:
    """Steps begin at whole hours or days of a zone that is `ahead` seconds of UTC.

    ValueError for bad settings, UnavailableError without the database or the registry.
    """
    from common.mlflow.registry import ModelRegistry
    from functions.drift.settings import read_settings
    from mcqa.readmodels import drift_queries

    settings = read_settings(environ)
    now = time.time()
    with ModelRegistry(environ, settings.model) as registry:
        registered = registry.model()
    champion = registered.aliases.get(CHAMPION) if registered else None
    length, step = SPANS[span]
    steps = steps_until(now, length, step, ahead)
    since, until = steps[0][0], steps[-1][1]
    with drift_queries.reading(environ) as connection:
        versions = drift_queries.answering_versions(connection, since, until, MOST_VERSIONS)
        if champion in versions:
            versions = [champion, *(version for version in versions if version != champion)]
        labelled, complete_since = drift_queries.labelled_answers(connection, since, MOST_LABELS)
        confidences = {
            (version, begin): drift_queries.confidence(connection, version, begin, end, MOST_ANSWERS)
            for version in versions
            for begin, end in steps
        }
    return {
        "span": span,
        "step": step,
        "since": since,
        "until": until,
        "champion": champion,
        "versions": versions,
        "points": points(steps, versions, confidences, labelled),
        "complete_since": complete_since,
    }


def steps_until(now: float, length: float, step: float, ahead: float = 0.0) -> list[tuple[float, float]]:
    """The steps [begin, end) that cover `length` seconds and `now`, on multiples of `step` in a zone ahead of UTC."""
    last = (now + ahead) // step * step - ahead
    count = round(length / step)
    return [(last - i * step, last - (i - 1) * step) for i in reversed(range(count))]


def points(
    steps: Iterable[tuple[float, float]],
    versions: Iterable[str],
    confidences: Mapping[tuple[str, float], Confidence],
    labelled: Iterable[LabelledAnswer],
) -> list[Point]:
    """The steps in which a version answered or got a label."""
    steps, names = list(steps), list(versions)
    begins = [begin for begin, _ in steps]
    width = steps[0][1] - steps[0][0]
    labels: dict[tuple[str, float], list[bool]] = {}
    for answer in labelled:
        place = math.floor((answer.at - begins[0]) / width)
        if answer.version in names and 0 <= place < len(begins):
            labels.setdefault((answer.version, begins[place]), []).append(answer.right)
    made = [
        _point(version, begin, end, confidences.get((version, begin)), labels.get((version, begin), []))
        for begin, end in steps
        for version in names
    ]
    return [point for point in made if point["n"] or point["labels"]]


def _point(version: str, begin: float, end: float, confidence: Confidence | None, labels: list[bool]) -> Point:
    point: Point = {
        "version": version,
        "at": begin,
        "until": end,
        "n": 0,
        "estimated": None,
        "estimated_low": None,
        "estimated_high": None,
        "labels": len(labels),
        "right": sum(labels),
        "accuracy": None,
        "accuracy_low": None,
        "accuracy_high": None,
    }
    if confidence is not None and confidence.n:
        variance = max(0.0, confidence.square - confidence.mean**2) / max(1, confidence.n - 1)
        half = Z_95 * math.sqrt(variance)
        point["n"], point["estimated"] = confidence.n, confidence.mean
        point["estimated_low"], point["estimated_high"] = (
            max(0.0, confidence.mean - half),
            min(1.0, confidence.mean + half),
        )
    if labels:
        share = wilson(sum(labels), len(labels))
        point["accuracy"], point["accuracy_low"], point["accuracy_high"] = share.value, share.low, share.high
    return point
