"""The broker's own HTTP interface, under `/-`: no namespace can have that name.

    GET     /-/objects                                   the Brokers and Triggers as applied
    PUT     /-/objects                                   apply one Broker or Trigger (a Kubernetes object in JSON)
    DELETE  /-/brokers/{namespace}/{name}                204, or 404
    DELETE  /-/triggers/{namespace}/{name}               204, or 404
    GET     /-/events?type=&not_type=&id=&source=&trace=&text=&before=&limit=
                                                         newest first, without payloads; the answer's `before`
                                                         continues
    GET     /-/events/{seq}                              the event, its payload, its deliveries and the replies to them
    GET     /-/dead-letters?trigger=&before=&limit=      newest first
    GET     /-/dead-letters/{name}
    POST    /-/dead-letters/{name}/replay                202: queued for the Trigger's subscriber again
    GET     /-/figures                                   every Trigger's depth, delivered, retried and failed counts;
                                                         what is wrong with the disk, if anything

and `/metrics`, `/healthz`, `/readyz`. Errors are `{"error": "one line"}`. Everything but the two probes requires the
token (`protected_app` in app.py), because whoever may apply a Trigger can read every event.
"""

from __future__ import annotations

import json
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from common.trace_context import trace_id
from local.broker import history
from local.broker.cloudevent import CloudEventError
from local.broker.content_encoding import BodyTooLargeError
from local.broker.ingress import read_body
from local.broker.resources import ResourceError
from local.broker.search import EventQuery, find_events
from local.broker.service import BrokerService, ReplayError
from local.broker.store import StoreError

PREFIX = "/-/"
PROBES = frozenset({"/healthz", "/readyz"})
ROOT_PATHS = PROBES | {"/metrics"}
MAX_OBJECT = 2**20


def admin(broker: BrokerService) -> Starlette:
    """A broker's admin interface; every response but those of the probes and the metrics is JSON."""
    endpoints = _Endpoints(broker)
    routes = [
        Route("/metrics", endpoints.metrics),
        Route("/healthz", endpoints.health),
        Route("/readyz", endpoints.health),
        Route("/-/objects", endpoints.objects, methods=["GET"]),
        Route("/-/objects", endpoints.apply, methods=["PUT"]),
        Route("/-/brokers/{namespace}/{name}", endpoints.remove_broker, methods=["DELETE"]),
        Route("/-/triggers/{namespace}/{name}", endpoints.remove_trigger, methods=["DELETE"]),
        Route("/-/events", endpoints.events),
        Route("/-/events/{seq:int}", endpoints.event),
        Route("/-/dead-letters", endpoints.dead_letters),
        Route("/-/dead-letters/{name}", endpoints.dead_letter),
        Route("/-/dead-letters/{name}/replay", endpoints.replay, methods=["POST"]),
        Route("/-/figures", endpoints.figures),
    ]
    return Starlette(
        routes=routes, exception_handlers=dict.fromkeys((HTTPException, StoreError, Exception), _error_response)
    )


class AsciiJsonResponse(Response):
    """JSON in ASCII: a payload may contain half of a surrogate pair, which UTF-8 cannot encode."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode()


class _Endpoints:
    def __init__(self, broker: BrokerService) -> None:
        self._broker = broker

    async def metrics(self, request: Request) -> Response:
        return Response(generate_latest(self._broker.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def health(self, request: Request) -> Response:
        failure = self._broker.store.failure
        return PlainTextResponse(f"the database {failure}" if failure else "ok", 503 if failure else 200)

    async def objects(self, request: Request) -> Response:
        return AsciiJsonResponse({"items": self._broker.objects()})

    async def apply(self, request: Request) -> Response:
        try:
            body = await read_body(request.scope, request.receive, MAX_OBJECT)
        except BodyTooLargeError:
            raise HTTPException(413, f"an object may have at most {MAX_OBJECT} bytes") from None
        except CloudEventError as error:
            raise HTTPException(400, str(error)) from None
        try:
            item = json.loads(body)
        except (ValueError, RecursionError):
            raise HTTPException(400, "the body must be a Broker or a Trigger in JSON") from None
        try:
            await self._broker.apply(item)
        except ResourceError as error:
            raise HTTPException(422, str(error)) from None
        return Response(status_code=204)

    async def remove_broker(self, request: Request) -> Response:
        return await self._remove("Broker", request)

    async def remove_trigger(self, request: Request) -> Response:
        return await self._remove("Trigger", request)

    async def _remove(self, kind: str, request: Request) -> Response:
        namespace, name = request.path_params["namespace"], request.path_params["name"]
        if not await self._broker.remove(kind, namespace, name):
            raise HTTPException(404, f"there is no {kind} {namespace}/{name}")
        return Response(status_code=204)

    async def events(self, request: Request) -> Response:
        query = request.query_params
        if (trace := query.get("trace")) is not None and (trace := trace_id(trace)) is None:
            raise HTTPException(400, f"trace: must be a trace id of 32 hex digits, found {query['trace'][:40]!r}")
        page = find_events(
            self._broker.reader,
            EventQuery(
                type=query.get("type"),
                not_type=query.get("not_type"),
                id=query.get("id"),
                source=query.get("source"),
                trace=trace,
                text=query.get("text"),
                before=_int_parameter(request, "before", None),
                limit=_int_parameter(request, "limit", 50) or 50,
            ),
        )
        return AsciiJsonResponse({"items": page.items, "before": page.before})

    async def event(self, request: Request) -> Response:
        seq = request.path_params["seq"]
        event = history.get_event(self._broker.reader, seq) if seq < 2**62 else None
        if event is None:
            raise HTTPException(404, f"there is no event {seq}: it never existed or has been deleted")
        return AsciiJsonResponse(event)

    async def dead_letters(self, request: Request) -> Response:
        items = history.list_dead_letters(
            self._broker.reader,
            trigger=request.query_params.get("trigger"),
            before=_int_parameter(request, "before", None),
            limit=_int_parameter(request, "limit", 50) or 50,
        )
        return AsciiJsonResponse({"items": items})

    async def dead_letter(self, request: Request) -> Response:
        name = request.path_params["name"]
        dead_letter = history.get_dead_letter(self._broker.reader, name)
        if dead_letter is None:
            raise HTTPException(404, f"there is no dead letter {name[:40]!r}")
        return AsciiJsonResponse(dead_letter)

    async def replay(self, request: Request) -> Response:
        name = request.path_params["name"]
        try:
            await self._broker.replay(name)
        except ReplayError as error:
            raise HTTPException(404, str(error)) from None
        return AsciiJsonResponse({"replayed": name}, 202)

    async def figures(self, request: Request) -> Response:
        failure = self._broker.store.storage_failure
        return AsciiJsonResponse(
            history.figures(self._broker.reader) | {"storage": [failure.to_json()] if failure else []}
        )


async def _error_response(request: Request, error: Exception) -> Response:
    """Every error as JSON, without internal details."""
    if isinstance(error, StoreError):
        return AsciiJsonResponse({"error": str(error)}, 503, {"retry-after": "1"})
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail: Any = error.detail if isinstance(error, HTTPException) else "the broker failed; its log says why"
    return AsciiJsonResponse({"error": detail}, status)


def _int_parameter(request: Request, name: str, default: int | None) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 18):
        raise HTTPException(400, f"{name}: must be a whole number, found {text[:40]!r}")
    return int(text)
