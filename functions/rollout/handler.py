"""rollout's HTTP side: MLflow's webhooks at /mlflow, CloudEvents everywhere else. Every event means "reconcile"."""

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
from functions.rollout.inference_service import InferenceServiceClient
from functions.rollout.reconcile import Dependencies, EventSink, reconcile
from functions.rollout.settings import Settings, read_settings
from functions.sink import Sink

WEBHOOK_PATH = "/mlflow"

_settings = read_settings(os.environ)
_dependencies = Dependencies(
    _settings,
    connect(os.environ),
    ModelRegistry(os.environ, _settings.model),
    InferenceServiceClient(_settings.namespace, _settings.service, _settings.model),
    Sink(os.environ),
)


def handle(request: Request) -> Response:
    if request.path.rstrip("/") == WEBHOOK_PATH:
        return receive_webhook(request, _settings, _dependencies.engine, _dependencies.sink, time.time())
    return respond(request, "rollout", _reconcile)


def _reconcile(event: Event) -> str:
    decision = reconcile(_dependencies, event.extensions.get("traceparent"))
    return f"{decision.phase}: {decision.reason}"[:500]


def receive_webhook(request: Request, settings: Settings, engine: Engine, sink: EventSink, now: float) -> Response:
    """The answer to a webhook call. MLflow repeats it, with the same delivery id, on 429 and 5xx.

    The reconciliation is requested before the delivery is noted: after a crash in between MLflow asks again.
    """
    if request.method != "POST":
        return Response("MLflow's webhooks come by POST\n", 405, {"Allow": "POST"}, mimetype="text/plain")
    # At most one byte more than allowed is read, whatever Content-Length says.
    body = request.stream.read(webhook.MAX_BYTES + 1)
    verdict = webhook.verify(
        dict(request.headers), body, settings.webhook_secrets, settings.model, settings.webhook_max_age, now
    )
    status, message = verdict.status, verdict.message
    if verdict.reconcile:
        try:
            status, message = _request_once(verdict.delivery, settings, engine, sink, now) or (status, message)
        except UnavailableError as error:
            status, message = 503, str(error)
    log("rollout", f"webhook: {message}", status)
    return Response(status=202) if status == 202 else Response(f"{message}\n", status, mimetype="text/plain")


def _request_once(
    delivery: str, settings: Settings, engine: Engine, sink: EventSink, now: float
) -> tuple[int, str] | None:
    """Requests a reconciliation and notes the delivery; another status where it was noted before."""
    with transaction(engine) as connection:
        if store.delivered(connection, delivery):
            return 409, "this delivery was accepted before"
    sink.send(webhook.reconcile_request(delivery, now))
    older = now - settings.webhook_max_age - webhook.CLOCK_SKEW
    with transaction(engine) as connection:
        store.note_delivery(connection, delivery, now, older)
    return None
