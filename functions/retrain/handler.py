"""retrain's HTTP side: a drift or a request is noted, and it and every ping mean look.

A request is an event of its own type, or the tick of a schedule whose data gives a reason.
"""

from __future__ import annotations

import os
import time

from flask import Request, Response

from common.errors import UnavailableError
from common.event_types import DRIFT_DETECTED, PING, RETRAINING_REQUESTED
from common.mlflow.registry import ModelRegistry
from functions.clocks import when
from functions.database import connect, transaction
from functions.events import BadEventError, Event, check_key, parse_json
from functions.http import respond
from functions.retrain.decision import Drift, RetrainRequest, asks, read_drift, read_request
from functions.retrain.look import Retrain, settings
from functions.retrain.pipelines import Pipelines
from functions.retrain.store import ask
from functions.sink import Sink, trace_of

_settings = settings(os.environ)
_engine = connect(os.environ)
_registry = ModelRegistry(os.environ, _settings.model)
_retrain = Retrain(_settings, _engine, _registry, Pipelines(os.environ), Sink(os.environ).send)


def handle(request: Request) -> Response:
    return respond(request, "retrain", _act)


def _act(event: Event) -> str:
    said = ""
    if event.type == DRIFT_DETECTED:
        drift = read_drift(parse_json(event.data))
        if drift.model != _settings.model:
            raise BadEventError(f"model: this function retrains {_settings.model}, found {drift.model!a}"[:200])
        said = _note(event, drift, "drift")
    elif event.type == RETRAINING_REQUESTED or _asks(event):
        at = when(event, time.time()).at
        asked = read_request(parse_json(event.data), _settings.model, at, f"{event.source} {event.id}")
        said = _note(event, asked, "request")
    elif event.type != PING:
        known = f"{DRIFT_DETECTED}, {RETRAINING_REQUESTED} and {PING}"
        raise BadEventError(f"type: retrain knows {known}, found {event.type[:120]!r}")
    try:
        return said + _retrain.look()
    except UnavailableError as error:
        # The next ping looks again within a minute, and what the event said is in the database: retries and dead
        # letters of pings would help nobody.
        return f"{said}not now: {error}"


def _note(event: Event, asked: Drift | RetrainRequest, what: str) -> str:
    check_key(event)
    with transaction(_engine) as connection:
        new = ask(connection, asked, event.source, event.id, trace_of(event, asked.key), time.time())
    return f"{what} noted; " if new else f"this {what} is known; "


def _asks(event: Event) -> bool:
    try:
        return event.type == PING and asks(parse_json(event.data))
    except BadEventError:
        return False
