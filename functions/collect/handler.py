"""collect's HTTP side: an event, the facts in it, one transaction. A ping means: delete what is too old."""

from __future__ import annotations

import os
import time

from flask import Request, Response

from functions.collect.decision import understand
from functions.collect.store import record
from functions.database import connect, transaction
from functions.events import PING, Event
from functions.http import respond
from functions.retention import DAY, forget, period

_engine = connect(os.environ)
_kept = period(os.environ)


def handle(request: Request) -> Response:
    return respond(request, "collect", _collect)


def _collect(event: Event) -> str:
    if event.type == PING:
        return _forget()
    if (facts := understand(event, time.time())) is None:
        return "no inference: nothing to record"
    with transaction(_engine) as connection:
        return "recorded" if record(connection, facts) else "known already"


def _forget() -> str:
    if _kept is None:
        return "everything is kept: MCQA_RETENTION_DAYS is 0"
    deleted, done = forget(_engine, time.time() - _kept)
    return f"{deleted} rows older than {_kept / DAY:g} days deleted{'' if done else ', more next time'}"
