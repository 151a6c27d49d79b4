"""What the database has of a trace: an exchange with the model, checks, decisions, runs, dead letters, in time order.

The tables of checks, decisions and runs have no index of traces: of each, the newest SEARCHED rows are searched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from common.names import MODEL
from common.trace_context import request_id, trace_id

if TYPE_CHECKING:
    from sqlalchemy import Connection

SEARCHED = 5_000
MOST = 100
"""Rows of each kind that are returned at most."""

Kind = Literal["request", "answer", "feedback", "check", "decision", "run", "dead-letter"]


class TraceRow(TypedDict):
    """`at` in Unix seconds. `key` names the row for links: an answer id, a check's sequence, a decision's number, a
    run's id, a dead letter's name. `code` is a letter, verdict, reason code or state; `text` a sentence or a question
    as stored. `trace` in hex."""

    at: float
    kind: Kind
    key: str
    code: str
    version: str | None
    text: str
    trace: str


def rows(environ: Mapping[str, str], trace: str) -> list[TraceRow]:
    """The rows with this trace id (32 hex digits), oldest first. UnavailableError, SettingError."""
    return _read(environ, lambda connection, model: [
        *_exchange(connection, trace),
        *_checks(connection, model, trace),
        *_decisions(connection, model, trace),
        *_runs(connection, model, trace),
        *_dead_letters(connection, trace),
    ])  # fmt: skip


def recent(environ: Mapping[str, str], limit: int = 50) -> list[TraceRow]:
    """The newest checks, decisions, runs and dead letters, the newest first: what is known without a broker's history.

    UnavailableError, SettingError.
    """
    found = _read(environ, lambda connection, model: [
        *_checks(connection, model, None, limit),
        *_decisions(connection, model, None, limit),
        *_runs(connection, model, None, limit),
        *_dead_letters(connection, None, limit),
    ])  # fmt: skip
    return list(reversed(found))[:limit]


def _read(environ: Mapping[str, str], query: Callable[[Connection, str], list[TraceRow]]) -> list[TraceRow]:
    from functions.database import connect, transaction

    model = environ.get("MCQA_REGISTERED_MODEL") or MODEL
    engine = connect(environ)
    try:
        with transaction(engine) as connection:
            return sorted(query(connection, model), key=lambda row: row["at"])
    finally:
        engine.dispose()


def _exchange(connection: Connection, trace: str) -> Iterator[TraceRow]:
    """The request whose id is the trace's, in either form, its questions and answers and the feedback on them."""
    from sqlalchemy import and_, select

    from functions.collect.tables import AskedQuestion, GivenAnswer, GivenFeedback, LoggedRequest

    ids = (trace, request_id(trace))
    same = and_(AskedQuestion.source == LoggedRequest.source, AskedQuestion.id == LoggedRequest.id)
    asked = (
        select(LoggedRequest.requested_at, LoggedRequest.id, LoggedRequest.version, AskedQuestion.place,
               AskedQuestion.question, LoggedRequest.purpose)
        .outerjoin(AskedQuestion, same)
        .where(LoggedRequest.id.in_(ids))
        .limit(MOST)
    )  # fmt: skip
    for row in connection.execute(asked):
        text = str((row.question or {}).get("question", ""))
        yield _row(row.requested_at, "request", _answer_id(row), row.purpose or "", row.version, text, trace)
    same = and_(GivenAnswer.source == LoggedRequest.source, GivenAnswer.id == LoggedRequest.id)
    answered = (
        select(GivenAnswer.answered_at, GivenAnswer.id, GivenAnswer.place, GivenAnswer.version, GivenAnswer.letter)
        .join(LoggedRequest, same)
        .where(LoggedRequest.id.in_(ids))
        .limit(MOST)
    )
    for row in connection.execute(answered):
        yield _row(row.answered_at, "answer", _answer_id(row), row.letter or "", row.version, "", trace)
    given = (
        select(GivenFeedback.given_at, GivenFeedback.answer_id.label("id"), GivenFeedback.place, GivenFeedback.letter)
        .where(GivenFeedback.answer_id.in_(ids))
        .limit(MOST)
    )
    for row in connection.execute(given):
        yield _row(row.given_at, "feedback", _answer_id(row), row.letter, None, "", trace)


def _checks(connection: Connection, model: str, trace: str | None, most: int = MOST) -> Iterator[TraceRow]:
    from sqlalchemy import select

    from functions.drift.tables import DriftCheck as Table

    columns = (Table.sequence, Table.checked_at, Table.version, Table.verdict, Table.reason, Table.traceparent)
    newest = select(*columns).where(Table.model == model).order_by(Table.sequence.desc())
    for row in connection.execute(_of_trace(newest, "traceparent", trace, most)):
        key, found = str(row.sequence), trace_id(row.traceparent) or ""
        yield _row(row.checked_at, "check", key, row.verdict, row.version, row.reason, found)


def _decisions(connection: Connection, model: str, trace: str | None, most: int = MOST) -> Iterator[TraceRow]:
    from sqlalchemy import select

    from functions.rollout.tables import RolloutDecision as Table

    columns = (Table.number, Table.at, Table.challenger, Table.champion, Table.reason_code, Table.reason, Table.trace)
    newest = select(*columns).where(Table.model == model).order_by(Table.number.desc())
    for row in connection.execute(_of_trace(newest, "trace", trace, most)):
        version, found = row.challenger or row.champion, trace_id(row.trace or "") or ""
        yield _row(row.at, "decision", str(row.number), row.reason_code, version, row.reason, found)


def _runs(connection: Connection, model: str, trace: str | None, most: int = MOST) -> Iterator[TraceRow]:
    from sqlalchemy import select

    from functions.retrain.tables import RetrainRun as Table

    columns = (Table.created_at, Table.run_id, Table.version, Table.state, Table.reason, Table.traceparent)
    newest = select(*columns).where(Table.model == model).order_by(Table.created_at.desc())
    for row in connection.execute(_of_trace(newest, "traceparent", trace, most)):
        found = trace_id(row.traceparent) or ""
        yield _row(row.created_at, "run", row.run_id or "", row.state, row.version, row.reason, found)


def _dead_letters(connection: Connection, trace: str | None, most: int = MOST) -> Iterator[TraceRow]:
    """Those that are open: there is an index of them, by the time when each came last."""
    from functions.dead_letters import store

    count = 0
    for row in store.summaries(connection, "open", SEARCHED if trace else most):
        found = trace_id(str(row.attributes.get("traceparent", ""))) or trace_id(row.id) or ""
        if trace in (None, found) and (count := count + 1) <= most:
            yield _row(row.last_at, "dead-letter", row.key[:12], str(row.code or ""), None, row.reason, found)


def _of_trace(newest: Any, column: str, trace: str | None, most: int) -> Any:
    """The first `most` of a statement's rows, or of its first SEARCHED those with the trace."""
    from sqlalchemy import select

    if trace is None:
        return newest.limit(most)
    searched = newest.limit(SEARCHED).subquery()
    return select(searched).where(searched.c[column].like(f"%-{trace}-%")).limit(most)


def _answer_id(row: Any) -> str:
    return f"{row.id}/{row.place}" if row.place else str(row.id)


def _row(at: float, kind: Kind, key: str, code: str, version: str | None, text: str, trace: str) -> TraceRow:
    return {"at": at, "kind": kind, "key": key, "code": code, "version": version, "text": text, "trace": trace}
