"""retrain's HTTP side: a drift is noted, and it and every ping mean look."""

from __future__ import annotations

import os
import time

from flask import Request, Response

from functions.database import connect, transaction
from functions.events import DRIFT_DETECTED, PING, BadEventError, Event, check_key, parse_json
from functions.http import UnavailableError, respond
from functions.registry import ModelRegistry
from functions.retrain.decision import read_drift
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
        said = _note(event)
    elif event.type != PING:
        raise BadEventError(f"type: retrain knows {DRIFT_DETECTED} and {PING}, found {event.type[:120]!r}")
    try:
        return said + _retrain.look()
    except UnavailableError as error:
        # The next ping looks again within a minute, and what the event said is in the database: retries and dead
        # letters of pings would help nobody.
        return f"{said}not now: {error}"


def _note(event: Event) -> str:
    check_key(event)
    drift = read_drift(parse_json(event.data))
    if drift.model != _settings.model:
        raise BadEventError(f"model: this function retrains {_settings.model}, found {drift.model!a}"[:200])
    with transaction(_engine) as connection:
        new = ask(connection, drift, event.source, event.id, trace_of(event, drift.key), time.time())
    return "drift noted; " if new else "this drift is known; "
