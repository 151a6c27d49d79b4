"""The broker as a library: Brokers and Triggers, accepting events, dispatchers, replay, and pruning of old events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from local.broker import history, queries, retention
from local.broker.cloudevent import CloudEvent
from local.broker.dispatcher import DispatchContext, Dispatcher
from local.broker.extensions import stamp_arrival
from local.broker.metrics import Metrics
from local.broker.queries import QueuedDelivery
from local.broker.resources import Broker, Object, ResourceError, parse_broker, parse_trigger
from local.broker.sender import Sender
from local.broker.settings import Settings
from local.broker.store import Operation, Store, StoreError

log = logging.getLogger("broker")

PRUNE_CHUNK = 200


class UnknownBrokerError(LookupError):
    """There is no Broker with this name."""


class ReplayError(LookupError):
    """Replaying failed; the message says why in one line."""


class BrokerService:
    """`async with BrokerService(settings) as broker:` continues where an earlier process stopped, however it ended."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics(self._depths)
        self._brokers: dict[str, Broker] = {}
        self._broker_objects: dict[str, Mapping[str, Any]] = {}
        self._trigger_objects: dict[str, Mapping[str, Any]] = {}
        self._dispatchers: dict[str, Dispatcher] = {}
        self._dispatchers_by_broker: dict[str, list[Dispatcher]] = {}
        self._configuring = asyncio.Lock()

    async def __aenter__(self) -> BrokerService:
        self.store = Store(self.settings.database, self.metrics.observe_commit)
        self._sender = Sender(self.settings.connect_to, self.settings.max_body)
        self._context = DispatchContext(
            self.store, self._sender, self.metrics, self.settings, self._brokers, self._accept_reply
        )
        brokers, triggers = queries.load_resources(self.store.reader)
        for item in brokers:
            with _log_invalid():
                self._set_broker(item)
        for number, item in triggers:
            with _log_invalid():
                self._set_trigger(number, item)
        self._pruning = asyncio.get_running_loop().create_task(self._prune_forever())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pruning.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pruning
        await asyncio.gather(*(dispatcher.stop(self.settings.grace) for dispatcher in self._dispatchers.values()))
        with contextlib.suppress(StoreError):
            await self.store.flush()
        await self.store.close()
        await self._sender.__aexit__(None, None, None)

    async def accept(self, namespace: str, name: str, events: Iterable[CloudEvent], headers: dict[str, str]) -> None:
        """Returns when the events are on the disk: all of them or, after an error, none.

        UnknownBrokerError; TtlExhaustedError; StoreError if they cannot be written.
        """
        key = f"{namespace}/{name}"
        if key not in self._brokers:
            raise UnknownBrokerError(f"there is no Broker {key}; there are {', '.join(self._brokers) or 'none'}")
        now = datetime.now(UTC)
        accepted = [(stamp_arrival(event, now), headers) for event in events]
        operation, committed = self._prepare_insert(key, accepted, now.timestamp())
        await self.store.write(operation, committed)

    async def apply(self, item: Object) -> None:
        """Creates or replaces a Broker or a Trigger, durably; ResourceError. A Trigger's Broker may be created later.

        A new Trigger gets events from now on; a replaced one keeps its queue, which is delivered as the new spec says.
        """
        kind = item.get("kind") if isinstance(item, Mapping) else None
        item = _stored_fields(item) if isinstance(item, Mapping) else item
        async with self._configuring:
            if kind == "Broker":
                broker = parse_broker(item)
                await self.store.write(partial(queries.save_broker, key=broker.key, item=dict(item)))
                self._set_broker(item)
            elif kind == "Trigger":
                trigger = parse_trigger(item)
                current = self._dispatchers.get(trigger.key)
                if current is not None and current.trigger.broker != trigger.broker:
                    raise ResourceError(
                        f"Trigger {trigger.key}: spec.broker cannot change from {current.trigger.broker} to"
                        f" {trigger.broker}: delete the Trigger first"
                    )
                number = await self.store.write(partial(queries.save_trigger, key=trigger.key, item=dict(item)))
                self._set_trigger(number, item)
            else:
                raise ResourceError(f"kind must be Broker or Trigger, found {kind!r}")

    async def remove(self, kind: str, namespace: str, name: str) -> bool:
        """Removes a Broker, or a Trigger with its pending deliveries (dead letters stay); returns whether it existed.

        A removed Broker's Triggers stay and finish their queues without new events.
        """
        key = f"{namespace}/{name}"
        async with self._configuring:
            if kind == "Broker":
                if key not in self._brokers:
                    return False
                await self.store.write(partial(queries.delete_broker, key=key))
                del self._brokers[key], self._broker_objects[key]
                return True
            dispatcher = self._dispatchers.get(key)
            if dispatcher is None:
                return False
            await self.store.write(partial(queries.mark_trigger_removed, number=dispatcher.number))
            del self._dispatchers[key], self._trigger_objects[key]
            self._dispatchers_by_broker[dispatcher.trigger.broker].remove(dispatcher)
        await dispatcher.stop(0)
        await self._delete_abandoned()
        return True

    async def replay(self, name: str) -> None:
        """Delivers a dead letter again, to its Trigger's subscriber only; ReplayError."""
        numbers = history.parse_dead_letter_name(name)
        dead_letter = None if numbers is None else history.get_dead_letter(self.store.reader, name)
        if numbers is None or dead_letter is None:
            raise ReplayError(f"there is no dead letter {name[:40]!r}")
        dispatcher = self._dispatchers.get(dead_letter["trigger"])
        if dispatcher is None:
            raise ReplayError(f"dead letter {name}: its Trigger {dead_letter['trigger']} is gone; apply it again first")

        def enqueue(item: QueuedDelivery | None) -> None:
            if item is not None:
                dispatcher.subscriber_queue.enqueue(item)

        replay = partial(queries.requeue, event=numbers[0], trigger=numbers[1], to=dispatcher.number)
        if await self.store.write(replay, enqueue) is None:
            raise ReplayError(f"dead letter {name} is on its way to the dead letter sink; replay it once it is there")

    def has_broker(self, namespace: str, name: str) -> bool:
        """Whether there is such a Broker."""
        return f"{namespace}/{name}" in self._brokers

    def objects(self) -> list[Mapping[str, Any]]:
        """The Brokers and Triggers as they were applied."""
        return [*self._broker_objects.values(), *self._trigger_objects.values()]

    @property
    def reader(self) -> sqlite3.Connection:
        """The connection for `local.broker.history`."""
        return self.store.reader

    def _set_broker(self, item: Mapping[str, Any]) -> None:
        broker = parse_broker(item)
        self._brokers[broker.key] = broker
        self._broker_objects[broker.key] = item

    def _set_trigger(self, number: int, item: Mapping[str, Any]) -> None:
        trigger = parse_trigger(item)
        self._trigger_objects[trigger.key] = item
        current = self._dispatchers.get(trigger.key)
        if current is not None:
            current.trigger = trigger
            return
        dispatcher = Dispatcher(self._context, number, trigger)
        self._dispatchers[trigger.key] = dispatcher
        self._dispatchers_by_broker.setdefault(trigger.broker, []).append(dispatcher)
        dispatcher.start()

    def _prepare_insert(
        self, broker: str, events: list[tuple[CloudEvent, dict[str, str]]], now: float
    ) -> tuple[Operation[list[int]], Callable[[list[int]], None]]:
        """The operation that stores the events, each with a delivery for every Trigger that matches it now, and the
        callback for when they are on the disk.
        """
        candidates = self._dispatchers_by_broker.get(broker, ())
        matching = [
            [dispatcher for dispatcher in candidates if dispatcher.trigger.filter.matches(event)] for event, _ in events
        ]

        def store(db: sqlite3.Connection) -> list[int]:
            return [
                queries.insert_event(db, broker, event, headers, now, [dispatcher.number for dispatcher in dispatchers])
                for (event, headers), dispatchers in zip(events, matching, strict=True)
            ]

        def committed(seqs: list[int]) -> None:
            for seq, (event, headers), dispatchers in zip(seqs, events, matching, strict=True):
                for dispatcher in dispatchers:
                    dispatcher.subscriber_queue.enqueue(QueuedDelivery(seq, event, headers))

        return store, committed

    def _accept_reply(
        self,
        broker: str,
        event: CloudEvent,
        headers: dict[str, str],
        with_operation: Operation[None],
        record_reply: Callable[..., None],
        on_committed: Callable[[], None],
    ) -> None:
        operation, committed = self._prepare_insert(broker, [(event, headers)], time.time())

        def store(db: sqlite3.Connection) -> list[int]:
            with_operation(db)
            seqs = operation(db)
            record_reply(db, reply=seqs[0])
            return seqs

        def after(seqs: list[int]) -> None:
            on_committed()
            committed(seqs)

        self.store.submit(store, after)

    def _depths(self) -> Iterable[tuple[tuple[str, str, str], int]]:
        for dispatcher in self._dispatchers.values():
            yield from dispatcher.depths()

    async def _prune_forever(self) -> None:
        while True:
            try:
                await self._delete_abandoned()
                await self.prune()
            except StoreError:
                await self.store.wait_until_writable()
                continue
            except Exception:
                log.exception("pruning the broker's database failed; retrying")
            await asyncio.sleep(self.settings.prune_every)

    async def prune(self) -> int:
        """Deletes old events, in small commits so that nobody waits for them; returns how many."""
        now, total = time.time(), 0
        prune = partial(
            retention.prune,
            before=now - self.settings.keep_for,
            dead_before=now - self.settings.keep_dead_for,
            keep=self.settings.keep_events,
            limit=PRUNE_CHUNK,
        )
        while pruned := await self.store.write(prune):
            total += pruned
        return total

    async def _delete_abandoned(self) -> None:
        while await self.store.write(partial(retention.delete_abandoned, limit=PRUNE_CHUNK)):
            pass


@contextlib.contextmanager
def _log_invalid() -> Iterator[None]:
    """An object that an older broker accepted and this one does not must not stop all others from working."""
    try:
        yield
    except ResourceError as error:
        log.error("%s: apply it again", error)  # noqa: TRY400 - the message says it all


def _stored_fields(item: Object) -> dict[str, Any]:
    """The fields of an object that the broker stores."""
    metadata = item.get("metadata")
    name = {k: metadata[k] for k in ("name", "namespace") if k in metadata} if isinstance(metadata, Mapping) else None
    return {**{k: item[k] for k in ("apiVersion", "kind", "spec", "status") if k in item}, "metadata": name}
