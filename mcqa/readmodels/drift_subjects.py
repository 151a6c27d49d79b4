"""What people ask about: the subjects of a window's questions next to those of the answers before it.

The newest questions of each are read. `before` ends where the answers began to differ, so that an alarm's own windows
are not compared with each other.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from common.names import CHAMPION
from common.proportions import difference, wilson

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mcqa.readmodels.drift_queries import AskedSubject

MOST_QUESTIONS = 1_000
"""Questions read of each side."""
MOST_SUBJECTS = 12
EXAMPLES = 5
LEAST_GROWTH = 0.02
"""A subject grew when it gained more than this share of the questions for certain."""

Json = dict[str, Any]


class Example(TypedDict):
    """A question as it was asked, at a time in Unix seconds, with the letter that was chosen."""

    id: str
    at: float
    question: Json
    letter: str | None


class Subject(TypedDict):
    """A subject (None: questions that name none): counts, shares, and the gain with its interval.

    The interval is Newcombe's, at 95% for all the subjects together; without questions before, the gain is None.
    `examples` are the newest questions of a subject that grew.
    """

    subject: str | None
    n: int
    n_before: int
    share: float
    share_before: float
    gain: float | None
    low: float | None
    high: float | None
    grew: bool
    examples: list[Example]


class Subjects(TypedDict):
    """Of `n` questions within [since, until) and `n_before` before `before_until`, for `version`; most grown first.

    `others` counts the subjects that are not listed, `check` is None for the open window.
    """

    version: str | None
    check: int | None
    since: float | None
    until: float | None
    before_until: float | None
    n: int
    n_before: int
    subjects: list[Subject]
    others: int


def read(environ: Mapping[str, str], check: int | None = None) -> Subjects:
    """Of the open window, or of a check's.

    ValueError for bad settings, UnavailableError without the database or the registry.
    """
    from functions.drift.settings import read_settings
    from mcqa.readmodels import drift_queries

    settings = read_settings(environ)
    with drift_queries.reading(environ) as connection:
        version, since, until = _period(connection, environ, settings.model, check)
        facts: Subjects = {
            "version": version,
            "check": check,
            "since": since,
            "until": until,
            "before_until": since,
            "n": 0,
            "n_before": 0,
            "subjects": [],
            "others": 0,
        }
        if version is None or since is None:
            return facts
        now = drift_queries.subjects(connection, version, since, until, MOST_QUESTIONS)
        before = drift_queries.subjects(connection, version, 0.0, since, MOST_QUESTIONS)
        found = compare(Counter(a.subject for a in now), Counter(a.subject for a in before))
        facts |= {"n": len(now), "n_before": len(before), "others": max(0, len(found) - MOST_SUBJECTS)}
        facts["subjects"] = found[:MOST_SUBJECTS]
        _add_examples(connection, facts["subjects"], now)
    return facts


def compare(now: Mapping[str | None, int], before: Mapping[str | None, int]) -> list[Subject]:
    """The subjects with how their shares changed, those that gained most first."""
    n, n_before = sum(now.values()), sum(before.values())
    names = {*now, *before}
    z = statistics.NormalDist().inv_cdf(1 - 0.025 / max(1, len(names)))  # Bonferroni
    subjects = [_subject(name, now.get(name, 0), n, before.get(name, 0), n_before, z) for name in names]
    return sorted(subjects, key=lambda s: (-(s["share"] - s["share_before"]), s["subject"] or ""))


def _subject(name: str | None, count: int, n: int, count_before: int, n_before: int, z: float) -> Subject:
    gain = low = high = None
    if n and n_before:
        change = difference(wilson(count, n, z), wilson(count_before, n_before, z))
        gain, low, high = change.value, change.low, change.high
    return {
        "subject": name,
        "n": count,
        "n_before": count_before,
        "share": count / n if n else 0.0,
        "share_before": count_before / n_before if n_before else 0.0,
        "gain": gain,
        "low": low,
        "high": high,
        "grew": low is not None and low > LEAST_GROWTH,
        "examples": [],
    }


def _period(
    connection: Connection, environ: Mapping[str, str], model: str, check: int | None
) -> tuple[str | None, float | None, float]:
    """The version and the period: since the answers began to differ, or since the window began."""
    from common.mlflow.registry import ModelRegistry
    from functions.drift import baselines, store

    if check is not None:
        row = store.find(connection, model, check)
        if row is None:
            return None, None, 0.0
        return row.version, row.document.get("drift_since") or row.window_start, row.window_end
    with ModelRegistry(environ, model) as registry:
        registered = registry.model()
    version = registered.aliases.get(CHAMPION) if registered else None
    if version is None:
        return None, None, 0.0
    state = store.previous_state(connection, model, version).state
    return version, baselines.proposed_since(connection, model, state), time.time()


def _add_examples(connection: Connection, subjects: Sequence[Subject], asked: Sequence[AskedSubject]) -> None:
    """The newest questions of the subjects that grew; a question that is asked again is one example."""
    from mcqa.readmodels.drift_queries import questions

    wanted: dict[str | None, list[AskedSubject]] = {s["subject"]: [] for s in subjects if s["grew"]}
    for item in asked:
        if item.subject in wanted and len(wanted[item.subject]) < 3 * EXAMPLES:
            wanted[item.subject].append(item)
    full = questions(connection, [item for some in wanted.values() for item in some])
    for subject in subjects:
        seen: set[str] = set()
        for item in wanted.get(subject["subject"], ()):
            row = full.get((item.source, item.id, item.place))
            text = "" if row is None else f"{row.question.get('question')}\n{row.question.get('code')}"
            if row is None or text in seen or len(seen) == EXAMPLES:
                continue
            seen.add(text)
            example: Example = {
                "id": f"{item.id}/{item.place}",
                "at": item.at,
                "question": row.question,
                "letter": row.letter,
            }
            subject["examples"].append(example)
