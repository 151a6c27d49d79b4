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
    found = dead_letter(event)
    with transaction(_engine) as connection:
        record(connection, found, time.time())
    return f"kept {found.key[:12]}: {found.destination or 'unknown destination'} answered {found.code}: {found.reason}"[
        :300
    ]
