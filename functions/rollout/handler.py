"""rollout's HTTP side: MLflow's webhooks at /mlflow, CloudEvents everywhere else. Every event means "look again"."""

from __future__ import annotations

import os
import time

from flask import Request, Response
from sqlalchemy import Engine

from common.errors import UnavailableError
from common.mlflow.registry import ModelRegistry
from functions.database import connect, transaction
from functions.events import Event
from functions.http import log, respond
from functions.rollout import store, webhook
from functions.rollout.reconcile import EventSink, Parts, reconcile
from functions.rollout.serving import Cluster
from functions.rollout.settings import Settings, read_settings
from functions.sink import Sink

WEBHOOK_PATH = "/mlflow"

_settings = read_settings(os.environ)
_parts = Parts(
    _settings,
    connect(os.environ),
    ModelRegistry(os.environ, _settings.model),
    Cluster(_settings.namespace, _settings.service, _settings.model),
    Sink(os.environ),
)


def handle(request: Request) -> Response:
    if request.path.rstrip("/") == WEBHOOK_PATH:
        return receive(request, _settings, _parts.engine, _parts.sink, time.time())
    return respond(request, "rollout", _look)


def _look(event: Event) -> str:
    decision = reconcile(_parts, event.extensions.get("traceparent"))
    return f"{decision.phase}: {decision.reason}"[:500]


def receive(request: Request, settings: Settings, engine: Engine, sink: EventSink, now: float) -> Response:
    """The answer to a webhook call. MLflow repeats it, with the same delivery id, on 429 and 5xx.

    The look is asked for before the delivery is noted: a crash between makes MLflow ask again.
    """
    if request.method != "POST":
        return Response("MLflow's webhooks come by POST\n", 405, {"Allow": "POST"}, mimetype="text/plain")
    # One byte more than allowed is read at most, whatever the length is said to be.
    body = request.stream.read(webhook.MAX_BYTES + 1)
    verdict = webhook.judge(
        dict(request.headers), body, settings.webhook_secrets, settings.model, settings.webhook_max_age, now
    )
    status, reason = verdict.status, verdict.reason
    if verdict.look:
        try:
            status, reason = _ask(verdict.delivery, settings, engine, sink, now) or (status, reason)
        except UnavailableError as error:
            status, reason = 503, str(error)
    log("rollout", f"webhook: {reason}", status)
    return Response(status=202) if status == 202 else Response(f"{reason}\n", status, mimetype="text/plain")


def _ask(delivery: str, settings: Settings, engine: Engine, sink: EventSink, now: float) -> tuple[int, str] | None:
    """Sends the look's event and notes the delivery; another status where it was noted before."""
    with transaction(engine) as connection:
        if store.delivered(connection, delivery):
            return 409, "this delivery was accepted before"
    sink.send(webhook.request_event(delivery, now))
    older = now - settings.webhook_max_age - webhook.CLOCK_SKEW
    with transaction(engine) as connection:
        store.note_delivery(connection, delivery, now, older)
    return None
