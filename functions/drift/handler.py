"""drift's HTTP side: a ping means "check"."""

from __future__ import annotations

import os
import time

from flask import Request, Response

from common.event_types import PING
from common.mlflow.registry import ModelRegistry
from functions.database import connect
from functions.drift.announce import announce
from functions.drift.checker import DriftChecker
from functions.drift.settings import read_settings
from functions.events import BadEventError, Event
from functions.http import respond
from functions.sink import Sink

_settings = read_settings(os.environ)
_engine = connect(os.environ)
_sink = Sink(os.environ)
_drift = DriftChecker(_settings, _engine, ModelRegistry(os.environ, _settings.model))


def handle(request: Request) -> Response:
    return respond(request, "drift", _check)


def _check(event: Event) -> str:
    if event.type != PING:
        raise BadEventError(f"type: drift knows {PING}, found {event.type[:120]!r}")
    now = time.time()
    try:
        return _drift.check(event, now)
    finally:
        # Whatever the check came to: an alarm of an earlier one may still wait.
        announce(_engine, _settings.model, _sink.send, now)
