"""collect's HTTP side: an event, the facts in it, one transaction."""

from __future__ import annotations

import os
import time

from flask import Request, Response

from functions.collect.decision import understand
from functions.collect.store import record
from functions.database import connect, transaction
from functions.events import Event
from functions.http import respond

_engine = connect(os.environ)


def handle(request: Request) -> Response:
    return respond(request, "collect", _collect)


def _collect(event: Event) -> str:
    if (facts := understand(event, time.time())) is None:
        return "no inference: nothing to record"
    with transaction(_engine) as connection:
        return "recorded" if record(connection, facts) else "known already"
