"""Fills a loop's SQLite database with a history: a million predictions, and the decisions that were made on them.

Rows are made by SQLite itself, from a series of numbers: in Python the same takes minutes. What was decided is made by
the functions' own code, so that documents and evidence have their real size and shape.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DAY = 86_400.0
FEATURES: dict[str, Callable[[Any, int], Any]] = {
    "confidence": lambda rng, n: rng.beta(5, 2, n),
    "entropy": lambda rng, n: rng.gamma(2, 0.3, n),
    "margin": lambda rng, n: rng.random(n),
    "letter_mass": lambda rng, n: 1 - rng.exponential(1e-4, n),
    "prompt_tokens": lambda rng, n: rng.integers(60, 400, n),
}

# How long ago: ever more per day, so that the last hour alone has some tens of thousands.
_AGE = "(:days * 86400.0 * (n.i + 0.5) * (n.i + 0.5) / (1.0 * :answers * :answers))"
_UNIT = "(abs(random() % 1000000) / 1000000.0)"

_SERIES = f"""
CREATE TEMP TABLE series AS
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :answers)
SELECT i,
       lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(8)))
         AS id,
       :now - {_AGE} AS at,
       CAST(:champion - min({_AGE} / (7 * 86400.0), :champion - 1) AS INTEGER) AS version
FROM n
"""
_SOURCE = "'http://localhost:9081/'"
_INSERTS = (
    f"INSERT INTO requests SELECT {_SOURCE}, id, version, at, at, NULL FROM series",
    f"INSERT INTO responses SELECT {_SOURCE}, id, version, at + 0.2, at + 0.2 FROM series",
    f"""INSERT INTO questions SELECT {_SOURCE}, id, 0, 4, json_object(
        'question', 'What does this print? Case ' || i, 'code', 'print([n ** 2 for n in range(' || (i % 97) || ')])',
        'choices', json_array('' || i % 97, '' || i % 89, '' || i % 83, 'an error'),
        'subject', 'subject-' || (i % 17)) FROM series""",
    f"""INSERT INTO answers (source, id, place, version, answered_at, letter, confidence, entropy, margin, letter_mass,
        prompt_tokens) SELECT {_SOURCE}, id, 0, version, at + 0.2, substr('ABCD', 1 + abs(random() % 4), 1),
        0.25 + 0.75 * {_UNIT}, 1.2 * {_UNIT}, {_UNIT}, 1 - 0.001 * {_UNIT}, 60 + i % 340 FROM series""",
    """INSERT INTO feedback SELECT '/coding-mcqa/cli', 'f-' || id, id, 0, substr('ABCD', 1 + abs(random() % 4), 1),
        at + 60, at + 60, at + 60, 1 FROM series WHERE i % :unlabelled = 0""",
)


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much of everything; `unlabelled`: one answer of so many got feedback. The history is `days` long."""

    answers: int = 1_000_000
    unlabelled: int = 20
    checks: int = 720
    decisions: int = 400
    runs: int = 40
    dead_letters: int = 200
    notices: int = 500
    days: float = 30.0


def fill(path: Path, model: str, champion: int, amounts: Amounts = Amounts(), now: float | None = None) -> None:
    """Adds the history to a migrated database that nobody else writes to; its versions end with `champion`."""
    now = time.time() if now is None else now
    values = {"answers": amounts.answers, "unlabelled": amounts.unlabelled, "days": amounts.days} | {
        "champion": champion, "now": now
    }  # fmt: skip
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = MEMORY")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA cache_size = -500000")
        database.execute(_SERIES, values)
        for statement in _INSERTS:
            database.execute(statement, {name: value for name, value in values.items() if f":{name}" in statement})
        _insert(database, "drift_checks", _checks(model, champion, amounts, now))
        _insert(database, "rollout_decisions", _decisions(model, champion, amounts, now))
        _insert(database, "retrain_runs", _runs(model, champion, amounts, now))
        _insert(database, "dead_letters", _dead_letters(amounts, now))
        _insert(database, "notices", _notices(amounts, now))
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("ANALYZE")


def _insert(database: sqlite3.Connection, table: str, rows: Iterator[dict[str, Any]]) -> None:
    for row in rows:
        columns, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
        values = [json.dumps(value) if isinstance(value, dict) else value for value in row.values()]
        database.execute(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", values)


def _checks(model: str, champion: int, amounts: Amounts, now: float) -> Iterator[dict[str, Any]]:
    """One check an hour; every hundredth an alarm."""
    from functions.drift.decision import State, evaluate
    from functions.drift.reference import summarise
    from functions.drift.store import document
    from functions.drift.window import Window

    rng = np.random.default_rng(0)
    reference = summarise({name: draw(rng, 2000).tolist() for name, draw in FEATURES.items()}, list("ABCD" * 500))
    window = Window(reference)
    window.add({name: draw(rng, 500) for name, draw in FEATURES.items()}, "ABCD" * 125)
    summary = window.summary()
    for number in range(amounts.checks):
        at = now - amounts.days * DAY * (1 - (number + 1) / amounts.checks)
        version = str(max(champion - int((now - at) / (7 * DAY)), 1))
        check = evaluate(reference, summary, State(version, at - 3600), at)
        yield {
            "model": model,
            "sequence": number + 1,
            "version": version,
            "checked_at": at,
            "window_start": at - 3600,
            "window_end": at,
            "n": check.n,
            "verdict": check.verdict,
            "alarm": number % 100 == 0,
            **check.reason.to_columns(),
            "document": document(model, check, None),
            "traceparent": _trace(number),
            "sent_at": at,
        }


def _decisions(model: str, champion: int, amounts: Amounts, now: float) -> Iterator[dict[str, Any]]:
    """Rollouts of eight decisions each, with the evidence of a step."""
    from functions.reasons import InitiatedBy, Reason
    from functions.rollout.analysis import analyse
    from functions.rollout.evidence import Arm, StepEvidence
    from functions.rollout.reasons import ReasonCode
    from functions.rollout.store import plain_json

    arm = Arm(900, 2, {10: 400, 11: 498}, {"A": 250, "B": 220, "C": 230, "D": 198}, 120, 84, 20.0, 9.0)
    evidence = plain_json(analyse([StepEvidence(10, now - 600, arm, arm)], now).to_dict())
    for number in range(amounts.decisions):
        step = number % 8
        last = step == 7
        reason = Reason(
            ReasonCode.CHAMPION_PROMOTED if last else ReasonCode.STEP_PASSED,
            {"version": "2", "previous": "1"} if last else {"percent": (0, 10, 25, 50)[step // 2]},
            initiated_by=InitiatedBy.ANALYSIS,
        )
        yield {
            "number": number + 1,
            "model": model,
            "at": now - amounts.days * DAY * (1 - number / amounts.decisions) - 7200,
            "phase": "promoting" if last else "stepped-up",
            "action": "tag version 2" if last else "set 25% of the traffic",
            "action_type": "set-tag" if last else "set-percent",
            **reason.to_columns(),
            "champion": str(champion),
            "challenger": str(champion),
            "percent": None if last else (0, 10, 25, 50)[step // 2],
            "generation": f"history/{number}",
            "evidence": evidence,
            "trace": _trace(number),
            "announces": "upgraded" if last else None,
            "told_at": now,
        }


def _runs(model: str, champion: int, amounts: Amounts, now: float) -> Iterator[dict[str, Any]]:
    for number in range(amounts.runs):
        at = now - amounts.days * DAY * (1 - number / amounts.runs) - 7200
        yield {
            "key": hashlib.sha256(f"run {number}".encode()).hexdigest(),
            "model": model,
            "champion": str(champion),
            "drift_source": "/coding-mcqa/drift",
            "drift_id": hashlib.sha256(f"drift {number}".encode()).hexdigest(),
            "since": at - 3600,
            "reason": "2 windows in a row, 400 answers against 2000",
            "traceparent": _trace(number),
            "state": "succeeded",
            "attempt": 1,
            "reason_code": "version-registered",
            "initiated_by": "drift",
            "parameters": {"run_key": str(number)},
            "posted_at": at,
            "run_id": f"00000000-0000-4000-8000-{number:012}",
            "version": str(champion),
            "error": "",
            "created_at": at,
            "updated_at": at + 900,
            "started_at": at + 5,
            "finished_at": at + 900,
            "announced": 4,
        }


def _dead_letters(amounts: Amounts, now: float) -> Iterator[dict[str, Any]]:
    for number in range(amounts.dead_letters):
        attributes = {"specversion": "1.0", "id": f"dead-{number}", "source": "/stranger", "type": "some.type"}
        at = now - DAY * number / 24
        yield {
            "key": hashlib.sha256(f"dead {number}".encode()).hexdigest(),
            "source": "/stranger",
            "id": f"dead-{number}",
            "type": "some.type",
            "destination": "collect",
            "code": 400,
            "reason": "letter: must be one of A to D, found 'Q'",
            "attributes": attributes,
            "data": b'{"letter": "Q"}',
            "state": ("open", "replayed", "discarded")[number % 3],
            "times": 1,
            "first_at": at,
            "last_at": at,
        }


def _notices(amounts: Amounts, now: float) -> Iterator[dict[str, Any]]:
    for number in range(amounts.notices):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        yield {
            "source": "/coding-mcqa/rollout",
            "id": f"notice-{number}",
            "type": "dev.cdevents.service.upgraded.0.3.0",
            "target": digest,
            "key": digest,
            "title": "Version 2 serves all traffic",
            "body": "It passed its canary.",
            "sent_at": now - amounts.days * DAY * (number + 1) / amounts.notices,
        }


def _trace(number: int) -> str:
    return f"00-{number + 1:032x}-{number + 1:016x}-01"
