"""collect's HTTP side: an event, the facts in it, one transaction. A ping means "delete what is too old"."""

from __future__ import annotations

import os
import time

from flask import Request, Response

from common.event_types import PING
from functions.collect.feedback import check
from functions.collect.parsing import FeedbackEvent, parse_event
from functions.collect.payloads import NoInferenceError
from functions.collect.store import record
from functions.database import connect, transaction
from functions.events import Event
from functions.http import Pending, respond
from functions.retention import DAY, forget, period

_engine = connect(os.environ)
_kept = period(os.environ)


def handle(request: Request) -> Response:
    return respond(request, "collect", _collect)


def _collect(event: Event) -> str | Pending:
    if event.type == PING:
        return _forget()
    try:
        facts = parse_event(event, time.time())
    except NoInferenceError as reason:
        return f"nothing to record: {reason}"
    with transaction(_engine) as connection:
        if not record(connection, facts):
            return "known already"
        # A refusal rolls the row back.
        feedback = check(connection, facts) if isinstance(facts, FeedbackEvent) else None
    if feedback == "unknown-answer":
        return Pending("recorded: no answer with this id is known yet")
    return "recorded" if feedback in (None, "counted") else f"recorded: {feedback}"


def _forget() -> str:
    if _kept is None:
        return "everything is kept: MCQA_RETENTION_DAYS is 0"
    deleted, done = forget(_engine, time.time() - _kept)
    return f"{deleted} rows older than {_kept / DAY:g} days deleted{'' if done else ', more next time'}"
