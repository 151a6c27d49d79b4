"""One port for all services: routes by host, splits by percent, waits for replicas, streams both ways.

HTTP/1.1 only: gRPC and WebSockets are not proxied (the manifests' revisions have no gRPC port either). Answers of the
gateway itself: 404 for a host nobody has, 503 while nothing is ready or too much waits, 504 when no replica or no
answer came in time, 502 when a replica broke off.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from local.serving.hosts import PREDICTOR, parse_host, parse_path, without_name
from local.serving.payload_logger import (
    REQUEST,
    RESPONSE,
    LogTarget,
    Payload,
    PayloadLogger,
    event_id,
    logged_headers,
)
from local.serving.pool import Pool, Refused, Replica
from local.serving.traffic import Target, choose, tagged

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade"}
)  # fmt: skip
_WHOLE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Route:
    """A service's targets, and where each revision's payloads are logged."""

    targets: tuple[Target, ...] = ()
    loggers: Mapping[str, LogTarget] = field(default_factory=dict)


Key = tuple[str, str]
"""(namespace, name)"""


def find(routes: Mapping[Key, Route], name: str, namespace: str) -> tuple[Key, str] | None:
    """The service and the tag that a host's first label means: `name`, or `tag-name`; also by InferenceService."""
    for candidate, tag in _readings(name):
        for service in (candidate, candidate + PREDICTOR):
            route = routes.get((namespace, service))
            if route is not None and (not tag or tagged(route.targets, tag)):
                return (namespace, service), tag
    return None


def _readings(label: str) -> Iterable[tuple[str, str]]:
    yield label, ""
    parts = label.split("-")
    for index in range(1, len(parts)):
        yield "-".join(parts[index:]), "-".join(parts[:index])


class Gateway:
    """The reverse proxy. `routes` and `pools` are the controller's, and may change between any two requests."""

    def __init__(
        self,
        domain: str,
        session: aiohttp.ClientSession,
        logger: PayloadLogger,
        chance: Callable[[], float] | None,
        default: Key | None = None,
    ) -> None:
        self.routes: dict[Key, Route] = {}
        self.pools: dict[Key, Pool] = {}
        self._domain, self._session, self._logger = domain, session, logger
        self._chance = chance or random.random
        self._default = (default[1], default[0]) if default else None
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """OSError when the port is taken; 0 takes a free one."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=30.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            raise OSError(
                error.errno, f"cannot listen on {host}:{port}: {error.strerror}; choose another port"
            ) from None
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Takes no more requests and waits for those under way."""
        if self._runner:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        place, path = parse_host(request.host, self._domain), request.raw_path
        if without_name(request.host):
            place, path = parse_path(path) or (self._default, path)
        found = find(self.routes, *place) if place else None
        if not found:
            return _refusal(404, f"no service has the host {request.host}")
        (namespace, name), tag = found
        route = self.routes[namespace, name]
        revision = tagged(route.targets, tag) if tag else choose(route.targets, self._chance())
        pool = self.pools.get((namespace, revision))
        if pool is None:
            return _refusal(503, f"service {name} in {namespace} has no ready revision", retry=True)
        target = route.loggers.get(revision)
        payload = await self._logged(request, target) if target else None
        body = payload.body if payload else (request.content if request.can_read_body else None)
        try:
            upstream, replica = await self._send(request, path, pool, body)
        except Refused as refused:
            return _refusal(refused.status, str(refused), retry=refused.status == 503)
        try:
            async with upstream:
                return await self._relay(request, upstream, payload)
        except (aiohttp.ClientError, OSError) as error:
            if request.transport and not request.transport.is_closing():
                request.transport.abort()  # half an answer is out: only an aborted connection says so
            raise ConnectionResetError(f"revision {revision} broke off: {error}") from None
        finally:
            pool.release(replica)

    async def _send(
        self, request: web.Request, path: str, pool: Pool, body: bytes | aiohttp.StreamReader | None
    ) -> tuple[aiohttp.ClientResponse, Replica]:
        """The response's head, and the replica that is busy with it until released. Raises Refused."""
        headers = _passed(request.headers.items())
        headers["X-Forwarded-For"] = request.remote or ""
        headers["X-Forwarded-Proto"] = "http"
        headers["X-Forwarded-Host"] = request.host
        deadline = asyncio.get_running_loop().time() + pool.timeout
        while True:
            replica = await pool.acquire()
            try:
                async with asyncio.timeout_at(deadline):
                    url = URL(f"http://127.0.0.1:{replica.port}{path}", encoded=True)
                    upstream = await self._session.request(
                        request.method,
                        url,
                        data=body,
                        headers=headers,
                        allow_redirects=False,
                        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                    )
                return upstream, replica
            except aiohttp.ClientConnectorError:
                pool.release(replica)  # nothing was sent: another replica, or this one's successor, may have it
                if asyncio.get_running_loop().time() > deadline:
                    raise Refused(504, f"no replica of {pool.who.revision} accepts connections") from None
                await asyncio.sleep(0.05)
            except TimeoutError:
                pool.release(replica)
                raise Refused(504, f"revision {pool.who.revision} did not answer in {pool.timeout:g} s") from None
            except (aiohttp.ClientError, OSError) as error:
                pool.release(replica)
                raise Refused(502, f"revision {pool.who.revision} broke off: {error or type(error).__name__}") from None
            except BaseException:
                pool.release(replica)
                raise

    async def _relay(
        self, request: web.Request, upstream: aiohttp.ClientResponse, payload: Payload | None
    ) -> web.StreamResponse:
        headers = _passed(upstream.headers.items())
        small = upstream.content_length is not None and upstream.content_length <= _WHOLE
        if small and request.method != "HEAD":
            try:
                whole = await upstream.read()
            except (aiohttp.ClientError, OSError) as error:
                return _refusal(502, f"the replica broke off: {error or type(error).__name__}")
            self._log_response(upstream, payload, whole)
            return web.Response(status=upstream.status, reason=upstream.reason, body=whole, headers=headers)
        response = web.StreamResponse(status=upstream.status, reason=upstream.reason, headers=headers)
        await response.prepare(request)
        copy: list[bytes] = []
        async for chunk in upstream.content.iter_any():
            if payload:
                copy.append(chunk)
            await response.write(chunk)
        await response.write_eof()
        self._log_response(upstream, payload, b"".join(copy))
        return response

    async def _logged(self, request: web.Request, target: LogTarget) -> Payload:
        """The request's event, which is sent at once, as the agent does, whatever becomes of the request."""
        payload = Payload(
            target,
            REQUEST,
            event_id(request.headers.get("ce-id", "")),
            request.headers.get("content-type", ""),
            logged_headers(target, request.headers.items()),
            await request.content.read(),
            datetime.now(UTC),
        )
        self._logger.send(payload)
        return payload

    def _log_response(self, upstream: aiohttp.ClientResponse, payload: Payload | None, body: bytes) -> None:
        if payload and upstream.status == 200:
            self._logger.send(
                Payload(
                    payload.target,
                    RESPONSE,
                    payload.id,
                    payload.content_type,
                    payload.metadata,
                    body,
                    datetime.now(UTC),
                )
            )


def _passed(headers: Iterable[tuple[str, str]]) -> CIMultiDict[str]:
    """End-to-end headers: all but the hop-by-hop ones and those that Connection names (RFC 9110, section 7.6.1)."""
    items = list(headers)
    named = {name.strip().lower() for key, value in items if key.lower() == "connection" for name in value.split(",")}
    return CIMultiDict(
        (name, value) for name, value in items if name.lower() not in HOP_BY_HOP and name.lower() not in named
    )


def _refusal(status: int, why: str, *, retry: bool = False) -> web.Response:
    return web.json_response({"error": why}, status=status, headers={"Retry-After": "1"} if retry else None)
