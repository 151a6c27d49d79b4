"""A Trigger at work: its two lanes, and what one attempt's response leads to.

PENDING ──2xx──▶ DELIVERED            (a reply is stored in the same commit)
   │ ▲
   │ └─retry─┐
   └─given up┴▶ DEAD_LETTERING ──2xx──▶ DEAD_LETTERED
        │            └──given up──▶ DEAD
        └─no sink──▶ DEAD
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from local.broker import records
from local.broker.cloudevent import CloudEvent
from local.broker.coding import CodingError, decoded
from local.broker.config import Broker, Delivery, Trigger, effective_delivery
from local.broker.http_binding import Headers
from local.broker.lane import Lane
from local.broker.metrics import Metrics
from local.broker.records import Queued
from local.broker.retry import Done, Retry, judge
from local.broker.rules import (
    BAD_REPLY_STATUS,
    BadReply,
    Reply,
    TtlExhausted,
    error_extensions,
    reply_arrived,
    reply_headers,
    reply_in,
    to_sink,
    to_subscriber,
)
from local.broker.schema import State
from local.broker.sender import Response, Sender
from local.broker.settings import Settings
from local.broker.store import Operation, Store

_MOST_SHOWN = 64 * 1024

# Stores an event for all Triggers of a Broker that want it, and runs the operation in the same commit.
Accept = Callable[[str, CloudEvent, dict[str, str], Operation[None], Callable[[], None]], None]


@dataclass(frozen=True, slots=True)
class Context:
    """What all Triggers share. `brokers` is live: what a Broker is told applies from the next attempt on."""

    store: Store
    sender: Sender
    metrics: Metrics
    settings: Settings
    brokers: Mapping[str, Broker]
    accept: Accept


class Deliveries:
    """The lanes of one Trigger. `trigger` may be replaced while it runs: the next attempt follows the new one."""

    def __init__(self, context: Context, number: int, trigger: Trigger) -> None:
        self.number = number
        self.trigger = trigger
        self._context = context
        self.subscriber = self._lane(State.PENDING, self._attempt)
        self.sink = self._lane(State.DEAD_LETTERING, self._attempt_sink)

    def start(self) -> None:
        self.subscriber.start()
        self.sink.start()

    async def stop(self, grace: float) -> None:
        await asyncio.gather(self.subscriber.stop(grace), self.sink.stop(grace))

    def depths(self) -> Iterable[tuple[tuple[str, str, str], int]]:
        for stage, lane in (("subscriber", self.subscriber), ("dead_letter_sink", self.sink)):
            yield (self.trigger.namespace, self.trigger.name, stage), lane.depth

    @property
    def delivery(self) -> Delivery:
        return effective_delivery(self.trigger, self._context.brokers.get(self.trigger.broker))

    async def _attempt(self, lane: Lane, item: Queued) -> None:
        trigger, delivery, attempts = self.trigger, self.delivery, item.attempts + 1
        headers, body = to_subscriber(item.event, delivery.format, item.headers, trigger.namespace)
        response = await self._post("subscriber", trigger.subscriber, headers, body, delivery)
        now = time.time()
        reply, response = self._reply(item, response, now)
        verdict = judge(delivery, attempts, response.status, response.header(b"retry-after"), now)
        seq, status = item.event_seq, response.status
        if isinstance(verdict, Done) and status is not None:
            delivered = partial(
                records.mark_delivered, event=seq, trigger=self.number, attempts=attempts, status=status, now=now
            )
            if reply is None:
                self._context.store.submit(delivered, lambda _: lane.settle(seq))
            else:
                passed = reply_headers(response.headers, item.headers)
                self._context.accept(trigger.broker, reply, passed, delivered, lambda: lane.settle(seq))
                self._context.metrics.replies.labels(trigger.namespace, trigger.name).inc()
            return
        error = response.error or f"the subscriber answered {status}"
        if isinstance(verdict, Retry):
            self._context.store.submit(
                partial(
                    records.mark_retry,
                    event=seq,
                    trigger=self.number,
                    attempts=attempts,
                    due=now + verdict.delay,
                    status=status,
                    error=error,
                )
            )
            lane.retry(replace(item, attempts=attempts), verdict.delay)
            return
        self._give_up(lane, replace(item, attempts=attempts), response, error, delivery)

    def _reply(self, item: Queued, response: Response, now: float) -> tuple[CloudEvent | None, Response]:
        """The reply as an event to accept, and the response, which a bad reply turns into a failed one."""
        found, response = _read_reply(response, self._context.settings.max_body)
        if found is None:
            return None, response
        try:
            return reply_arrived(found, item.event, datetime.fromtimestamp(now, UTC)), response
        except TtlExhausted as exhausted:
            # As if the broker's own ingress had refused the reply: no retry, and the event becomes a dead letter.
            return None, replace(response, status=400, error=f"its reply was refused: {exhausted}")

    def _give_up(self, lane: Lane, item: Queued, response: Response, error: str, delivery: Delivery) -> None:
        sink = delivery.dead_letter_sink is not None
        body = _shown(response) if response.status is not None else f"dispatch error: {error}".encode()
        errors = error_extensions(self.trigger.subscriber, response.status, body)

        def committed(_: None) -> None:
            lane.settle(item.event_seq)
            if sink:
                self.sink.offer(Queued(item.event_seq, item.event, item.headers, errors=errors))
            else:
                self._dead("kept")

        self._context.store.submit(
            partial(
                records.mark_failed,
                event=item.event_seq,
                trigger=self.number,
                state=State.DEAD_LETTERING if sink else State.DEAD,
                attempts=item.attempts,
                status=response.status,
                error=error,
                errors=errors,
                now=time.time(),
            ),
            committed,
        )

    async def _attempt_sink(self, lane: Lane, item: Queued) -> None:
        delivery, attempts = self.delivery, item.attempts + 1
        if delivery.dead_letter_sink is None:  # taken out of the spec meanwhile
            self._end(lane, item, State.DEAD, None)
            return
        headers, body = to_sink(item.event, item.errors or {}, item.headers, self.trigger.namespace)
        response = await self._post("dead_letter_sink", delivery.dead_letter_sink, headers, body, delivery)
        # A reply has no use here, but a bad one is a failure.
        _, response = _read_reply(response, self._context.settings.max_body)
        now = time.time()
        verdict = judge(delivery, attempts, response.status, response.header(b"retry-after"), now)
        if isinstance(verdict, Done):
            self._end(lane, item, State.DEAD_LETTERED, None)
        elif isinstance(verdict, Retry):
            self._context.store.submit(
                partial(
                    records.mark_sink_retry,
                    event=item.event_seq,
                    trigger=self.number,
                    attempts=attempts,
                    due=now + verdict.delay,
                )
            )
            lane.retry(replace(item, attempts=attempts), verdict.delay)
        else:
            why = response.error or f"it answered {response.status}"
            self._end(lane, item, State.DEAD, f"the dead letter sink failed too: {why}")

    def _end(self, lane: Lane, item: Queued, state: State, error: str | None) -> None:
        self._context.store.submit(
            partial(records.mark_dead_letter, event=item.event_seq, trigger=self.number, state=state, error=error),
            lambda _: lane.settle(item.event_seq),
        )
        self._dead("sent" if state is State.DEAD_LETTERED else "kept")

    def _dead(self, outcome: str) -> None:
        self._context.metrics.dead.labels(self.trigger.namespace, self.trigger.name, outcome).inc()

    async def _post(self, stage: str, url: str, headers: Headers, body: bytes, delivery: Delivery) -> Response:
        timeout = delivery.timeout or self._context.settings.attempt_timeout
        response = await self._context.sender.post(url, headers, body, timeout)
        self._context.metrics.attempted(
            (self.trigger.namespace, self.trigger.name, stage), response.status, response.seconds
        )
        return response

    def _lane(self, state: State, attempt: Callable[[Lane, Queued], Awaitable[None]]) -> Lane:
        settings, reader = self._context.settings, self._context.store.reader

        def refill(limit: int, without: Collection[int]) -> tuple[list[Queued], bool]:
            return records.queued(reader, self.number, state, limit, without, settings.window_bytes)

        return Lane(
            attempt,
            refill,
            depth=records.depth(reader, self.number, state),
            concurrency=settings.concurrency,
            window=settings.window,
            window_bytes=settings.window_bytes,
        )


def _read_reply(response: Response, limit: int) -> tuple[CloudEvent | None, Response]:
    """The event in a successful response; the response as a failed one when it holds something else."""
    if response.status is None or not 200 <= response.status < 300:
        return None, response
    if response.truncated:
        return None, replace(response, status=BAD_REPLY_STATUS, error="a reply larger than an event may be")
    try:
        body = decoded(response.headers, response.body, limit)
    except CodingError as error:
        return None, replace(response, status=BAD_REPLY_STATUS, error=f"an unreadable reply: {error}")
    found = reply_in(response.headers, body)
    if isinstance(found, BadReply):
        return None, replace(response, status=BAD_REPLY_STATUS, error=found.reason)
    return (found.event if isinstance(found, Reply) else None), response


def _shown(response: Response) -> bytes:
    """What a response says, for people: without its coding where that can be taken off, else as it is."""
    try:
        return decoded(response.headers, response.body, _MOST_SHOWN)
    except CodingError:
        return response.body
