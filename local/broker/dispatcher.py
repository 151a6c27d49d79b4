"""Delivers one Trigger's events: its two queues, and what the response to each attempt leads to.

PENDING ──2xx──▶ DELIVERED            (a reply is stored in the same commit)
   │ ▲
   │ └─retry─┐
   └abandoned┴▶ DEAD_LETTERING ──2xx──▶ DEAD_LETTERED
        │            └──abandoned───▶ DEAD
        └─no sink──▶ DEAD
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from local.broker import queries
from local.broker.cloudevent import CloudEvent
from local.broker.content_encoding import CodingError, decoded
from local.broker.delivery_queue import DeliveryQueue
from local.broker.delivery_requests import dead_letter_request, reply_headers, subscriber_request
from local.broker.extensions import TtlExhaustedError, error_extensions, stamp_reply
from local.broker.http_binding import Headers
from local.broker.metrics import Metrics
from local.broker.queries import QueuedDelivery
from local.broker.replies import INVALID_REPLY_STATUS, InvalidReply, Reply, parse_reply
from local.broker.resources import Broker, DeliverySpec, Trigger, effective_delivery
from local.broker.retry import Delivered, Retry, backoff, next_step
from local.broker.schema import DeliveryState
from local.broker.sender import Response, Sender
from local.broker.settings import Settings
from local.broker.store import Operation, Store

_MAX_ERROR_BODY = 64 * 1024

Accept = Callable[[str, CloudEvent, dict[str, str], Operation[None], Callable[..., None], Callable[[], None]], None]
"""Stores an event for all Triggers of a Broker that match it; in the same commit marks the delivery that it replies to,
and records it as the reply (`db, reply=seq`). The last is called when all of it is on the disk."""


@dataclass(frozen=True, slots=True)
class DispatchContext:
    """What all dispatchers share. `brokers` is live: a changed Broker applies from the next attempt on."""

    store: Store
    sender: Sender
    metrics: Metrics
    settings: Settings
    brokers: Mapping[str, Broker]
    accept: Accept


class Dispatcher:
    """The queues of one Trigger. `trigger` may be replaced while it runs: the next attempt follows the new one."""

    def __init__(self, context: DispatchContext, number: int, trigger: Trigger) -> None:
        self.number = number
        self.trigger = trigger
        self._context = context
        self.subscriber_queue = self._create_queue(DeliveryState.PENDING, self._deliver)
        self.dead_letter_queue = self._create_queue(DeliveryState.DEAD_LETTERING, self._deliver_to_sink)

    def start(self) -> None:
        self.subscriber_queue.start()
        self.dead_letter_queue.start()

    async def stop(self, grace: float) -> None:
        await asyncio.gather(self.subscriber_queue.stop(grace), self.dead_letter_queue.stop(grace))

    def depths(self) -> Iterable[tuple[tuple[str, str, str], int]]:
        for stage, queue in (("subscriber", self.subscriber_queue), ("dead_letter_sink", self.dead_letter_queue)):
            yield (self.trigger.namespace, self.trigger.name, stage), queue.depth

    @property
    def delivery(self) -> DeliverySpec:
        return effective_delivery(self.trigger, self._context.brokers.get(self.trigger.broker))

    async def _deliver(self, queue: DeliveryQueue, item: QueuedDelivery) -> None:
        await (
            self._context.store.wait_until_writable()
        )  # the outcome could not be recorded, and the attempt would be wasted
        trigger, delivery, attempts = self.trigger, self.delivery, item.attempts + 1
        headers, body = subscriber_request(item.event, delivery.format, item.headers, trigger.namespace)
        response = await self._send("subscriber", trigger.subscriber, headers, body, delivery)
        now = time.time()
        reply, response = self._reply(item, response, now)
        step = next_step(delivery, attempts, response.status, response.header(b"retry-after"), now)
        seq, status = item.event_seq, response.status
        if isinstance(step, Delivered) and status is not None:
            delivered = partial(
                queries.mark_delivered, event=seq, trigger=self.number, attempts=attempts, status=status, now=now
            )
            if reply is None:
                self._context.store.submit(delivered, lambda _: queue.complete(seq))
            else:
                forwarded = reply_headers(response.headers, item.headers)
                replied = partial(queries.record_reply, event=seq, trigger=self.number)
                self._context.accept(trigger.broker, reply, forwarded, delivered, replied, lambda: queue.complete(seq))
                self._context.metrics.replies.labels(trigger.namespace, trigger.name).inc()
            return
        error = response.error or f"the subscriber answered {status}"
        if isinstance(step, Retry):
            self._context.store.submit(
                partial(
                    queries.mark_retry,
                    event=seq,
                    trigger=self.number,
                    attempts=attempts,
                    due=now + step.delay,
                    status=status,
                    error=error,
                )
            )
            queue.retry(replace(item, attempts=attempts), step.delay)
            return
        self._give_up(queue, replace(item, attempts=attempts), response, error, delivery)

    def _reply(self, item: QueuedDelivery, response: Response, now: float) -> tuple[CloudEvent | None, Response]:
        """The reply as an event to accept, and the response, which an invalid reply turns into a failure."""
        event, response = _read_reply(response, self._context.settings.max_body)
        if event is None:
            return None, response
        try:
            return stamp_reply(event, item.event, datetime.fromtimestamp(now, UTC)), response
        except TtlExhaustedError as exhausted:
            # As if the broker's ingress had rejected the reply: no retry, and the event becomes a dead letter.
            return None, replace(response, status=400, error=f"its reply was rejected: {exhausted}")

    def _give_up(
        self, queue: DeliveryQueue, item: QueuedDelivery, response: Response, error: str, delivery: DeliverySpec
    ) -> None:
        sink = delivery.dead_letter_sink is not None
        body = _decoded_body(response) if response.status is not None else f"dispatch error: {error}".encode()
        errors = error_extensions(self.trigger.subscriber, response.status, body)

        def committed(_: None) -> None:
            queue.complete(item.event_seq)
            if sink:
                self.dead_letter_queue.enqueue(QueuedDelivery(item.event_seq, item.event, item.headers, errors=errors))
            else:
                self._count_dead_letter("kept")

        self._context.store.submit(
            partial(
                queries.mark_failed,
                event=item.event_seq,
                trigger=self.number,
                state=DeliveryState.DEAD_LETTERING if sink else DeliveryState.DEAD,
                attempts=item.attempts,
                status=response.status,
                error=error,
                errors=errors,
                now=time.time(),
            ),
            committed,
        )

    async def _deliver_to_sink(self, queue: DeliveryQueue, item: QueuedDelivery) -> None:
        await self._context.store.wait_until_writable()
        delivery, attempts = self.delivery, item.attempts + 1
        if delivery.dead_letter_sink is None:  # removed from the spec meanwhile
            self._finish_dead_letter(queue, item, DeliveryState.DEAD, None)
            return
        headers, body = dead_letter_request(item.event, item.errors or {}, item.headers, self.trigger.namespace)
        response = await self._send("dead_letter_sink", delivery.dead_letter_sink, headers, body, delivery)
        # A reply is ignored here, but an invalid one is a failure.
        _, response = _read_reply(response, self._context.settings.max_body)
        now = time.time()
        step = next_step(delivery, attempts, response.status, response.header(b"retry-after"), now)
        if isinstance(step, Delivered):
            self._finish_dead_letter(queue, item, DeliveryState.DEAD_LETTERED, None)
        elif isinstance(step, Retry):
            self._context.store.submit(
                partial(
                    queries.mark_sink_retry,
                    event=item.event_seq,
                    trigger=self.number,
                    attempts=attempts,
                    due=now + step.delay,
                )
            )
            queue.retry(replace(item, attempts=attempts), step.delay)
        else:
            reason = response.error or f"it answered {response.status}"
            self._finish_dead_letter(queue, item, DeliveryState.DEAD, f"the dead letter sink failed too: {reason}")

    def _finish_dead_letter(
        self, queue: DeliveryQueue, item: QueuedDelivery, state: DeliveryState, error: str | None
    ) -> None:
        self._context.store.submit(
            partial(queries.mark_dead_lettered, event=item.event_seq, trigger=self.number, state=state, error=error),
            lambda _: queue.complete(item.event_seq),
        )
        self._count_dead_letter("sent" if state is DeliveryState.DEAD_LETTERED else "kept")

    def _count_dead_letter(self, outcome: str) -> None:
        self._context.metrics.dead_letters.labels(self.trigger.namespace, self.trigger.name, outcome).inc()

    async def _send(self, stage: str, url: str, headers: Headers, body: bytes, delivery: DeliverySpec) -> Response:
        timeout = delivery.timeout or self._context.settings.attempt_timeout
        response = await self._context.sender.post(url, headers, body, timeout)
        self._context.metrics.observe_attempt(
            (self.trigger.namespace, self.trigger.name, stage), response.status, response.seconds
        )
        return response

    def _create_queue(
        self, state: DeliveryState, attempt: Callable[[DeliveryQueue, QueuedDelivery], Awaitable[None]]
    ) -> DeliveryQueue:
        settings, store = self._context.settings, self._context.store

        def load_next(limit: int, exclude: Collection[int]) -> tuple[list[QueuedDelivery], bool]:
            return queries.next_deliveries(store.reader, self.number, state, limit, exclude, settings.window_bytes)

        return DeliveryQueue(
            attempt,
            load_next,
            lambda attempts: backoff(self.delivery, max(attempts - 1, 0)),
            depth=queries.queue_depth(store.reader, self.number, state),
            concurrency=settings.concurrency,
            window=settings.window,
            window_bytes=settings.window_bytes,
        )


def _read_reply(response: Response, limit: int) -> tuple[CloudEvent | None, Response]:
    """The event in a successful response; the response turned into a failure if it contains something else."""
    if response.status is None or not 200 <= response.status < 300:
        return None, response
    if response.truncated:
        return None, replace(response, status=INVALID_REPLY_STATUS, error="a reply larger than the limit for events")
    try:
        body = decoded(response.headers, response.body, limit)
    except CodingError as error:
        return None, replace(response, status=INVALID_REPLY_STATUS, error=f"an unreadable reply: {error}")
    reply = parse_reply(response.headers, body)
    if isinstance(reply, InvalidReply):
        return None, replace(response, status=INVALID_REPLY_STATUS, error=reply.reason)
    return (reply.event if isinstance(reply, Reply) else None), response


def _decoded_body(response: Response) -> bytes:
    """A response's body for people: decoded if possible, otherwise unchanged."""
    try:
        return decoded(response.headers, response.body, _MAX_ERROR_BODY)
    except CodingError:
        return response.body
