"""One request and its answer: a replica is waited for, asked, and its answer streamed back as it comes."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import h11

from local.gateway.activator import Replica, Revision
from local.gateway.errors import Broken, Refusal, Unavailable
from local.gateway.link import Link
from local.gateway.payloads import PayloadLogger
from local.gateway.requests import Body, Head, Headers, passed_on, upstream_request
from local.gateway.routing import Place
from local.gateway.settings import Settings
from local.gateway.state import Key, State
from local.gateway.tap import Tap, is_probe
from local.gateway.upstream import Unreachable, Upstream, Upstreams
from local.serving.traffic import choose, tagged

_FLUSH = 64 * 1024
_AGAIN_SECONDS = 0.05


class Shared:
    """What all connections have in common: the state in force, the revisions, connections to replicas, budgets."""

    def __init__(self, settings: Settings, logger: PayloadLogger) -> None:
        self.settings, self.logger = settings, logger
        self.upstreams = Upstreams()
        self.revisions: dict[Key, Revision] = {}
        self.stopping = False
        self.buffered = 0
        self.known = asyncio.Event()
        self.current = State()
        self._chance = random.Random(settings.seed).random

    async def state(self) -> State:
        """The state in force; Refusal when the controller has said nothing yet."""
        if not self.known.is_set():
            try:
                async with asyncio.timeout(self.settings.state_timeout):
                    await self.known.wait()
            except TimeoutError:
                raise Unavailable("the gateway does not know the services yet") from None
        return self.current

    def choose(self, place: Place) -> Key:
        """The key of the revision that a request falls to."""
        name = tagged(place.route.targets, place.tag) if place.tag else choose(place.route.targets, self._chance())
        key = (place.key[0], name)
        if key not in self.revisions:
            raise Unavailable(f"service {place.key[1]} in {place.key[0]} has no ready revision")
        return key


class Exchange:
    """`run` raises Refusal while nothing is out yet, Broken when the answer stopped half-way."""

    def __init__(self, shared: Shared, head: Head, body: Body, place: Place, key: Key, peer: str) -> None:
        self._shared, self._head, self._body = shared, head, body
        self._target, self._key, self._peer = place.target, key, peer
        target = place.route.loggers.get(key[1])
        self._tap = Tap(shared.logger, target, head, body) if target and not is_probe(head) else None

    def left(self) -> None:
        """The client is gone."""
        if self._tap:
            self._tap.left()

    async def run(self, client: h11.Connection, link: Link) -> None:
        try:
            await self._run(client, link)
        except (asyncio.CancelledError, OSError, TimeoutError):
            self.left()  # a replica's troubles are Broken or Refusal: this is the client's
            raise
        finally:
            if self._tap:
                self._tap.failed()  # unless it was settled

    async def _run(self, client: h11.Connection, link: Link) -> None:
        revision = self._shared.revisions.get(self._key)
        if revision is None:
            raise Unavailable(f"revision {self._key[1]} is gone")

        def interim(event: h11.InformationalResponse) -> None:
            if self._head.version >= b"1.1" and event.status_code != 100 and not link.lost:
                link.write(client.send(event) or b"")

        upstream, response, replica = await self._ask(revision, interim)
        try:
            await self._relay(client, link, upstream, response, revision.timeout)
        except Broken as error:
            upstream.close()
            if client.our_state is h11.SEND_RESPONSE:
                raise Refusal(502, f"revision {revision.name} broke off: {error}") from None
            raise
        except BaseException:
            upstream.close()
            raise
        else:
            self._shared.upstreams.give_back(upstream, replica.port)
        finally:
            revision.release(replica)

    async def _ask(self, revision: Revision, interim: Any) -> tuple[Upstream, h11.Response, Replica]:
        """The response's head, and the replica that is busy with it until released."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + revision.timeout
        head = self._head
        events = upstream_request(_at(head, self._target), self._body, self._forwarded())
        while True:
            replica = await revision.acquire(deadline)
            if self._tap:
                self._tap.handed_over()
            try:
                async with asyncio.timeout_at(deadline):
                    upstream, response = await self._shared.upstreams.ask(replica.port, events, interim)
                return upstream, response, replica
            except Unreachable:
                revision.release(replica)  # nothing was sent: another one, or this one's successor, may have it
                if loop.time() > deadline:
                    raise Refusal(504, f"no replica of {revision.name} accepts connections") from None
                await asyncio.sleep(_AGAIN_SECONDS)
            except TimeoutError:
                revision.release(replica)
                raise Refusal(504, f"revision {revision.name} did not answer in {revision.timeout:g} s") from None
            except (Broken, OSError) as error:
                revision.release(replica)
                raise Refusal(502, f"revision {revision.name} broke off: {error}") from None
            except BaseException:
                revision.release(replica)
                raise

    async def _relay(
        self, client: h11.Connection, link: Link, upstream: Upstream, response: h11.Response, timeout: float
    ) -> None:
        """The answer: a small one whole, so that one that breaks off can still become a 502, others as they come."""
        headers, chunked, length = _answer_headers(response)
        if self._shared.stopping:
            headers.append((b"Connection", b"close"))
        start = h11.Response(status_code=response.status_code, headers=headers, reason=response.reason)
        small = length is not None and length <= _FLUSH
        out: list[h11.Event] = [start]
        copy: list[bytes] = []
        size = 0
        while True:
            event = upstream.event()
            if type(event) is h11.Data:
                event = h11.Data(data=bytes(event.data))
                out.append(event)
                size += len(event.data)
                if self._tap:
                    copy.append(event.data)
            elif type(event) is h11.EndOfMessage:
                trailers = event.headers.raw_items() if chunked and self._head.version >= b"1.1" else []
                if self._tap:
                    self._tap.answered(response.status_code, b"".join(copy))
                await self._flush(client, link, [*out, h11.EndOfMessage(headers=trailers)])
                return
            elif event is not h11.NEED_DATA:
                raise Broken("it closed the connection in the middle of its answer")
            if out and (size > _FLUSH or (event is h11.NEED_DATA and not small)):
                await self._flush(client, link, out)
                out, size, small = [], 0, False
            if event is h11.NEED_DATA:
                try:
                    async with asyncio.timeout(timeout):
                        await upstream.more()
                except TimeoutError:
                    raise Broken(f"nothing came for {timeout:g} s") from None

    async def _flush(self, client: h11.Connection, link: Link, events: list[h11.Event]) -> None:
        data = b"".join([client.send(event) or b"" for event in events])
        await link.send(data, self._shared.settings.write_timeout)

    def _forwarded(self) -> Headers:
        host = self._head.host
        forwarded = [(b"X-Forwarded-For", self._peer.encode()), (b"X-Forwarded-Proto", b"http")]
        return [*forwarded, (b"X-Forwarded-Host", host)] if host else forwarded


def _answer_headers(response: h11.Response) -> tuple[Headers, bool, int | None]:
    """The headers to pass on, whether the body is chunked, and its length where it is stated."""
    headers = passed_on(response.headers.raw_items())
    if any(name == b"transfer-encoding" for name, _ in response.headers):
        # It wins over a length (RFC 9112, section 6.3).
        return [(name, value) for name, value in headers if name.lower() != b"content-length"], True, None
    length = next((int(value) for name, value in response.headers if name == b"content-length"), None)
    return headers, False, length


def _at(head: Head, target: bytes) -> Head:
    return Head(head.method, target, head.host, head.headers, head.version, head.framing, head.length)
