"""dead_letters' HTTP side."""

from __future__ import annotations

import os
import time

from flask import Request, Response

from functions.database import connect, transaction
from functions.dead_letters.parsing import dead_letter
from functions.dead_letters.store import record
from functions.events import Event
from functions.http import respond

_engine = connect(os.environ)


def handle(request: Request) -> Response:
    return respond(request, "dead-letters", _keep)


def _keep(event: Event) -> str:
    letter = dead_letter(event)
    with transaction(_engine) as connection:
        record(connection, letter, time.time())
    destination = letter.destination or "unknown destination"
    return f"kept {letter.key[:12]}: {destination} answered {letter.code}: {letter.reason}"[:300]
