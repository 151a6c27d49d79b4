"""Proxies one request: waits for a replica, forwards the request, and streams the response back as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import h11

from local.gateway.activator import Replica, RevisionThrottler
from local.gateway.context import GatewayContext
from local.gateway.control_protocol import NamespacedName
from local.gateway.errors import GatewayError, UnavailableError, UpstreamAbortedError
from local.gateway.http_message import Headers, RequestBody, RequestHead, end_to_end_headers, upstream_request
from local.gateway.payload_recorder import PayloadRecorder, is_probe
from local.gateway.routing import RouteMatch
from local.gateway.stream import Stream
from local.gateway.upstream import UpstreamConnection, UpstreamUnreachableError

_FLUSH_BYTES = 64 * 1024
_RETRY_SECONDS = 0.05


class ProxiedRequest:
    """`run` raises GatewayError before any of the response is sent, UpstreamAbortedError if it stops halfway."""

    def __init__(
        self,
        context: GatewayContext,
        head: RequestHead,
        body: RequestBody,
        route_match: RouteMatch,
        revision: NamespacedName,
        peer: str,
    ) -> None:
        self._context, self._head, self._body = context, head, body
        self._target, self._revision, self._peer = route_match.target, revision, peer
        logger_spec = route_match.route.loggers.get(revision[1])
        self._recorder = (
            PayloadRecorder(context.logger, logger_spec, head, body) if logger_spec and not is_probe(head) else None
        )

    def client_disconnected(self) -> None:
        if self._recorder:
            self._recorder.client_disconnected()

    async def run(self, client: h11.Connection, stream: Stream) -> None:
        try:
            await self._run(client, stream)
        except (asyncio.CancelledError, OSError, TimeoutError):
            self.client_disconnected()  # a replica's failures are UpstreamAbortedError or GatewayError
            raise
        finally:
            if self._recorder:
                self._recorder.failed()  # no effect if the outcome is recorded

    async def _run(self, client: h11.Connection, stream: Stream) -> None:
        revision = self._context.revisions.get(self._revision)
        if revision is None:
            raise UnavailableError(f"revision {self._revision[1]} is gone")

        def interim(event: h11.InformationalResponse) -> None:
            if self._head.version >= b"1.1" and event.status_code != 100 and not stream.lost:
                stream.write(client.send(event) or b"")

        upstream, response, replica = await self._forward(revision, interim)
        if self._recorder:
            self._recorder.began()
        try:
            await self._relay(client, stream, upstream, response, revision.timeout)
        except UpstreamAbortedError as error:
            upstream.close()
            if client.our_state is h11.SEND_RESPONSE:
                raise GatewayError(502, f"revision {revision.name} aborted the response: {error}") from None
            raise
        except BaseException:
            upstream.close()
            raise
        else:
            self._context.upstreams.give_back(upstream, replica.port)
        finally:
            revision.release(replica)

    async def _forward(
        self, revision: RevisionThrottler, interim: Callable[[h11.InformationalResponse], None]
    ) -> tuple[UpstreamConnection, h11.Response, Replica]:
        """The response's head, and the replica, which stays reserved until it is released."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + revision.timeout
        events = upstream_request(replace(self._head, target=self._target), self._body, self._forwarded_headers())
        while True:
            replica = await revision.acquire(deadline)
            if self._recorder:
                self._recorder.forwarded()
            try:
                async with asyncio.timeout_at(deadline):
                    upstream, response = await self._context.upstreams.request(replica.port, events, interim)
            except UpstreamUnreachableError:
                revision.release(replica)  # nothing was sent, so another replica may get it
                if loop.time() > deadline:
                    raise GatewayError(504, f"no replica of {revision.name} accepts connections") from None
                await asyncio.sleep(_RETRY_SECONDS)
            except TimeoutError:
                revision.release(replica)
                raise GatewayError(504, f"revision {revision.name} did not respond in {revision.timeout:g} s") from None
            except (UpstreamAbortedError, OSError) as error:
                revision.release(replica)
                raise GatewayError(502, f"revision {revision.name} aborted the response: {error}") from None
            except BaseException:
                revision.release(replica)
                raise
            else:
                return upstream, response, replica

    async def _relay(
        self,
        client: h11.Connection,
        stream: Stream,
        upstream: UpstreamConnection,
        response: h11.Response,
        idle_seconds: float,
    ) -> None:
        """Sends the response: small ones as a whole, so that an abort can still become a 502; others as they arrive."""
        headers, chunked, length = _response_headers(response)
        if self._context.stopping:
            headers.append((b"Connection", b"close"))
        start = h11.Response(status_code=response.status_code, headers=headers, reason=response.reason)
        small = length is not None and length <= _FLUSH_BYTES
        out: list[h11.Event] = [start]
        recorded: list[bytes] = []
        size = 0
        while True:
            event = upstream.next_event()
            if type(event) is h11.Data:
                event = h11.Data(data=bytes(event.data))
                out.append(event)
                size += len(event.data)
                if self._recorder:
                    recorded.append(event.data)
            elif type(event) is h11.EndOfMessage:
                trailers = event.headers.raw_items() if chunked and self._head.version >= b"1.1" else []
                if self._recorder:
                    self._recorder.responded(response.status_code, b"".join(recorded))
                await self._flush(client, stream, [*out, h11.EndOfMessage(headers=trailers)])
                return
            elif event is not h11.NEED_DATA:
                raise UpstreamAbortedError("it closed the connection in the middle of its response")
            if out and (size > _FLUSH_BYTES or (event is h11.NEED_DATA and not small)):
                await self._flush(client, stream, out)
                out, size, small = [], 0, False
            if event is h11.NEED_DATA:
                try:
                    async with asyncio.timeout(idle_seconds):
                        await upstream.receive()
                except TimeoutError:
                    raise UpstreamAbortedError(f"nothing arrived for {idle_seconds:g} s") from None

    async def _flush(self, client: h11.Connection, stream: Stream, events: list[h11.Event]) -> None:
        data = b"".join([client.send(event) or b"" for event in events])
        await stream.send(data, self._context.settings.write_timeout)

    def _forwarded_headers(self) -> Headers:
        host = self._head.host
        forwarded = [(b"X-Forwarded-For", self._peer.encode()), (b"X-Forwarded-Proto", b"http")]
        return [*forwarded, (b"X-Forwarded-Host", host)] if host else forwarded


def _response_headers(response: h11.Response) -> tuple[Headers, bool, int | None]:
    """The headers to pass on, whether the body is chunked, and its length if stated."""
    headers = end_to_end_headers(response.headers.raw_items())
    if any(name == b"transfer-encoding" for name, _ in response.headers):
        # It overrides a length (RFC 9112, section 6.3).
        return [(name, value) for name, value in headers if name.lower() != b"content-length"], True, None
    length = next((int(value) for name, value in response.headers if name == b"content-length"), None)
    return headers, False, length
