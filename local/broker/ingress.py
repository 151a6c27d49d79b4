"""`POST /{namespace}/{broker}`: CloudEvents in, 202 once they are on the disk.

Plain ASGI: every event takes this path, and a routing framework would cost more than the work itself.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from typing import Any

from starlette.types import Receive, Scope, Send

from local.broker.cloudevent import CloudEventError
from local.broker.content_encoding import CODINGS, BodyTooLargeError, CodingError, UnknownCodingError, decoded
from local.broker.delivery_requests import forwarded_headers
from local.broker.http_binding import read_events
from local.broker.metrics import Metrics, code_class
from local.broker.service import BrokerService, UnknownBrokerError
from local.broker.store import StoreError

log = logging.getLogger("broker")

_ALLOW = [(b"allow", b"POST, OPTIONS")]
# The HTTP webhook specification's response to a validation request (section 4.2): any origin, any rate.
_HANDSHAKE = [*_ALLOW, (b"webhook-allowed-origin", b"*"), (b"webhook-allowed-rate", b"*")]


class Ingress:
    def __init__(self, broker: BrokerService) -> None:
        self._broker = broker
        self._limit = broker.settings.max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        segments = scope["path"].removesuffix("/").split("/")[1:]
        namespace, name = segments if len(segments) == 2 else ("", "")
        method = scope["method"]
        if method == "OPTIONS":
            await _respond(send, 200, headers=_HANDSHAKE)
            return
        if method != "POST":
            await _respond(send, 405, f"{method} is not allowed here; POST a CloudEvent", _ALLOW)
            return
        status, message = await self._receive_events(scope, receive, namespace, name)
        metrics: Metrics = self._broker.metrics
        # Made-up names must not become labels.
        labels = (namespace, name) if self._broker.has_broker(namespace, name) else ("unknown", "unknown")
        metrics.ingress.labels(*labels, code_class(status)).inc()
        metrics.ingress_seconds.observe(time.perf_counter() - start)
        await _respond(send, status, message)

    async def _receive_events(self, scope: Scope, receive: Receive, namespace: str, name: str) -> tuple[int, str]:
        """The response's status and, if it is an error, the message."""
        if not namespace or not name:
            return (404 if scope["path"] in ("", "/") else 400), "the path must be /{namespace}/{broker}"
        try:
            body = await read_body(scope, receive, self._limit)
            events = read_events(scope["headers"], decoded(scope["headers"], body, self._limit))
            await self._broker.accept(namespace, name, events, forwarded_headers(scope["headers"]))
        except BodyTooLargeError as error:
            return 413, str(error)
        except UnknownCodingError as error:
            return 415, str(error)
        except (CloudEventError, CodingError) as error:
            return 400, str(error)
        except UnknownBrokerError as error:
            return 404, str(error.args[0])
        except (StoreError, sqlite3.Error) as error:
            log.debug("an event was refused: %s", error)  # the store has already logged what is wrong
            return 503, f"the broker cannot store events at the moment; send it again: {error}"[:300]
        return 202, ""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body; BodyTooLargeError, before reading if Content-Length says so; CloudEventError if it ends early."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:18]) > limit:
            raise BodyTooLargeError(f"the body is larger than {limit} bytes")
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CloudEventError("the sender disconnected in the middle of the body")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise BodyTooLargeError(f"the body is larger than {limit} bytes")
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _respond(
    send: Send, status: int, message: str = "", headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    body = json.dumps({"error": message}).encode() if message else b""
    own = [(b"content-length", str(len(body)).encode())]
    if body:
        own.append((b"content-type", b"application/json"))
    if status == 503:
        own.append((b"retry-after", b"1"))
    elif status == 415:
        own.append((b"accept-encoding", ", ".join(CODINGS).encode()))
    start: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": [*own, *(headers or [])]}
    await send(start)
    await send({"type": "http.response.body", "body": body})
