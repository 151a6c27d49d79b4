"""notify's HTTP side."""

from __future__ import annotations

import os
import time

from flask import Request, Response

from functions.database import connect
from functions.events import Event
from functions.http import respond
from functions.notify.delivery import deliver, targets
from functions.notify.message import build

_engine = connect(os.environ)
_urls = targets(os.environ)


def handle(request: Request) -> Response:
    return respond(request, "notify", _notify)


def _notify(event: Event) -> str:
    if (message := build(event)) is None:
        return "no notification for this event"
    if not _urls:
        return f"MCQA_NOTIFY_URLS is empty, so only here: {message.title}. {' '.join(message.body.split())}"
    sent = deliver(_engine, event, message, _urls, time.time())
    return f"sent to {sent} of {len(_urls)} targets: {message.title}" if sent else f"sent before: {message.title}"
