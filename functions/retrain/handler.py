"""retrain's HTTP side: a drift or a request is noted, and it and every ping mean "reconcile".

A request is an event of its own type, or the tick of a schedule whose data gives a reason.
"""

from __future__ import annotations

import os
import time

from flask import Request, Response

from common.errors import UnavailableError
from common.event_types import DRIFT_DETECTED, PING, RETRAINING_REQUESTED
from common.kubeflow import KubeflowClient
from common.mlflow.registry import ModelRegistry
from functions.clocks import event_times
from functions.database import connect, transaction
from functions.events import BadEventError, Event, check_key, parse_json
from functions.http import respond
from functions.reasons import InitiatedBy
from functions.retrain.decision import DetectedDrift, RetrainRequest, is_request, read_drift, read_request
from functions.retrain.reconcile import RetrainReconciler
from functions.retrain.settings import read_settings
from functions.retrain.store import insert_waiting
from functions.sink import Sink, trace_of

_settings = read_settings(os.environ)
_engine = connect(os.environ)
_registry = ModelRegistry(os.environ, _settings.model)
_retrain = RetrainReconciler(_settings, _engine, _registry, KubeflowClient(os.environ), Sink(os.environ).send)


def handle(request: Request) -> Response:
    return respond(request, "retrain", _act)


def _act(event: Event) -> str:
    noted = ""
    if event.type == DRIFT_DETECTED:
        drift = read_drift(parse_json(event.data))
        if drift.model != _settings.model:
            raise BadEventError(f"model: this function retrains {_settings.model}, found {drift.model!a}"[:200])
        noted = _note(event, drift, InitiatedBy.DRIFT, "drift")
    elif event.type == RETRAINING_REQUESTED or _is_scheduled(event):
        at = event_times(event, time.time()).at
        request = read_request(parse_json(event.data), _settings.model, at, f"{event.source} {event.id}")
        by = InitiatedBy.SCHEDULE if event.type == PING else InitiatedBy.OPERATOR
        noted = _note(event, request, by, "request")
    elif event.type != PING:
        known = f"{DRIFT_DETECTED}, {RETRAINING_REQUESTED} and {PING}"
        raise BadEventError(f"type: retrain knows {known}, found {event.type[:120]!r}")
    try:
        return noted + _retrain.reconcile()
    except UnavailableError as error:
        # The next ping reconciles within a minute, and the event's content is in the database: retries and dead letters
        # of pings would help nobody.
        return f"{noted}not now: {error}"


def _note(event: Event, requested: DetectedDrift | RetrainRequest, by: InitiatedBy, what: str) -> str:
    check_key(event)
    trace = trace_of(event, requested.key)
    with transaction(_engine) as connection:
        new = insert_waiting(connection, requested, by, event.source, event.id, trace, time.time())
    return f"{what} noted; " if new else f"this {what} is known; "


def _is_scheduled(event: Event) -> bool:
    try:
        return event.type == PING and is_request(parse_json(event.data))
    except BadEventError:
        return False
