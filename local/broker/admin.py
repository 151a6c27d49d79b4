"""The broker's own HTTP interface, under `/-`: no namespace can have that name.

    GET     /-/objects                                   Brokers and Triggers as applied
    PUT     /-/objects                                   apply one Broker or Trigger (a Kubernetes object in JSON)
    DELETE  /-/brokers/{namespace}/{name}                204, or 404
    DELETE  /-/triggers/{namespace}/{name}               204, or 404
    GET     /-/events?type=&id=&source=&before=&limit=   newest first, without payloads
    GET     /-/events/{seq}                              the event, its payload and its deliveries
    GET     /-/dead-letters?trigger=&before=&limit=      newest first
    GET     /-/dead-letters/{name}
    POST    /-/dead-letters/{name}/replay                202: queued for the Trigger's subscriber again
    GET     /-/figures                                   depth, delivered, retried, failed of every Trigger

and `/metrics`, `/healthz`, `/readyz`. Errors are `{"error": "one line"}`. All but the two probes needs the token
(`guarded` in app.py): whoever may apply a Trigger gets every event.
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

from local.broker import history
from local.broker.cloudevent import CloudEventError
from local.broker.coding import TooLarge
from local.broker.config import ConfigError
from local.broker.ingress import read_body
from local.broker.service import BrokerService, ReplayError

PREFIX = "/-/"
PROBES = frozenset({"/healthz", "/readyz"})
ROOT_PATHS = PROBES | {"/metrics"}
MAX_OBJECT = 2**20


def admin(broker: BrokerService) -> Starlette:
    """The admin interface of a broker; every answer but the probes' and the metrics' is JSON."""
    end = _Endpoints(broker)
    routes = [
        Route("/metrics", end.metrics),
        Route("/healthz", end.health),
        Route("/readyz", end.health),
        Route("/-/objects", end.objects, methods=["GET"]),
        Route("/-/objects", end.apply, methods=["PUT"]),
        Route("/-/brokers/{namespace}/{name}", end.remove_broker, methods=["DELETE"]),
        Route("/-/triggers/{namespace}/{name}", end.remove_trigger, methods=["DELETE"]),
        Route("/-/events", end.events),
        Route("/-/events/{seq:int}", end.event),
        Route("/-/dead-letters", end.dead_letters),
        Route("/-/dead-letters/{name}", end.dead_letter),
        Route("/-/dead-letters/{name}/replay", end.replay, methods=["POST"]),
        Route("/-/figures", end.figures),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _refused, Exception: _refused})


class Json(Response):
    """JSON in ASCII: a payload may hold half of a surrogate pair, which UTF-8 cannot."""

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
        return PlainTextResponse(failure or "ok", 503 if failure else 200)

    async def objects(self, request: Request) -> Response:
        return Json({"items": self._broker.objects()})

    async def apply(self, request: Request) -> Response:
        try:
            body = await read_body(request.scope, request.receive, MAX_OBJECT)
        except TooLarge:
            raise HTTPException(413, f"an object may have {MAX_OBJECT} bytes", {"connection": "close"}) from None
        except CloudEventError as error:
            raise HTTPException(400, str(error)) from None
        try:
            item = json.loads(body)
        except (ValueError, RecursionError):
            raise HTTPException(400, "the body must be a Broker or a Trigger in JSON") from None
        try:
            await self._broker.apply(item)
        except ConfigError as error:
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
        found = history.events(
            self._broker.reader,
            type=query.get("type"),
            id=query.get("id"),
            source=query.get("source"),
            before=_number(request, "before", None),
            limit=_number(request, "limit", 50) or 50,
        )
        return Json({"items": found})

    async def event(self, request: Request) -> Response:
        seq = request.path_params["seq"]
        found = history.event(self._broker.reader, seq) if seq < 2**62 else None
        if found is None:
            raise HTTPException(404, f"there is no event {seq}: it never was, or is forgotten")
        return Json(found)

    async def dead_letters(self, request: Request) -> Response:
        found = history.dead_letters(
            self._broker.reader,
            trigger=request.query_params.get("trigger"),
            before=_number(request, "before", None),
            limit=_number(request, "limit", 50) or 50,
        )
        return Json({"items": found})

    async def dead_letter(self, request: Request) -> Response:
        name = request.path_params["name"]
        found = history.dead_letter(self._broker.reader, name)
        if found is None:
            raise HTTPException(404, f"there is no dead letter {name[:40]!r}")
        return Json(found)

    async def replay(self, request: Request) -> Response:
        name = request.path_params["name"]
        try:
            await self._broker.replay(name)
        except ReplayError as error:
            raise HTTPException(404, str(error)) from None
        return Json({"replayed": name}, 202)

    async def figures(self, request: Request) -> Response:
        return Json(history.figures(self._broker.reader))


async def _refused(request: Request, error: Exception) -> Response:
    """Every error as JSON, without what went on inside."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail: Any = error.detail if isinstance(error, HTTPException) else "the broker failed; its log says why"
    headers = error.headers if isinstance(error, HTTPException) else None
    return Json({"error": detail}, status, headers)


def _number(request: Request, name: str, default: int | None) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 18):
        raise HTTPException(400, f"{name}: must be a whole number, found {text[:40]!r}")
    return int(text)
