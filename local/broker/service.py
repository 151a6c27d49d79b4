"""The broker as a library: configuration, accepting events, the lanes, replay, and the pruning of what is old."""

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

from local.broker import history, records
from local.broker.cloudevent import CloudEvent
from local.broker.config import Broker, ConfigError, Object, parse_broker, parse_trigger
from local.broker.delivery import Context, Deliveries
from local.broker.metrics import Metrics
from local.broker.records import Queued
from local.broker.rules import arrived
from local.broker.sender import Sender
from local.broker.settings import Settings
from local.broker.store import Operation, Store, StoreError

log = logging.getLogger("broker")

PRUNE_CHUNK = 200


class UnknownBroker(LookupError):
    """Nobody has configured a Broker of this name."""


class ReplayError(LookupError):
    """A dead letter cannot be replayed; the message says why in one line."""


class BrokerService:
    """`async with BrokerService(settings) as broker:` takes up where an earlier process stopped, however it ended."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics(self._depths)
        self._brokers: dict[str, Broker] = {}
        self._broker_objects: dict[str, Mapping[str, Any]] = {}
        self._trigger_objects: dict[str, Mapping[str, Any]] = {}
        self._deliveries: dict[str, Deliveries] = {}
        self._by_broker: dict[str, list[Deliveries]] = {}
        self._configuring = asyncio.Lock()

    async def __aenter__(self) -> BrokerService:
        self.store = Store(self.settings.database, self.metrics.committed)
        self._sender = Sender(self.settings.connect_to, self.settings.max_body)
        self._context = Context(
            self.store, self._sender, self.metrics, self.settings, self._brokers, self._accept_reply
        )
        brokers, triggers = records.configuration(self.store.reader)
        for item in brokers:
            with _reported():
                self._set_broker(item)
        for number, item in triggers:
            with _reported():
                self._set_trigger(number, item)
        self._pruning = asyncio.get_running_loop().create_task(self._prune_forever())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pruning.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pruning
        await asyncio.gather(*(one.stop(self.settings.grace) for one in self._deliveries.values()))
        with contextlib.suppress(Exception):
            await self.store.flush()
        await self.store.close()
        await self._sender.__aexit__(None, None, None)

    async def accept(self, namespace: str, name: str, events: Iterable[CloudEvent], headers: dict[str, str]) -> None:
        """Returns when the events are on the disk: all of them or, after an error, none.

        UnknownBroker; TtlExhausted; StoreError when the disk fails.
        """
        key = f"{namespace}/{name}"
        if key not in self._brokers:
            raise UnknownBroker(f"there is no Broker {key}; there are {', '.join(self._brokers) or 'none'}")
        now = datetime.now(UTC)
        accepted = [(arrived(event, now), headers) for event in events]
        operation, committed = self._storing(key, accepted, now.timestamp())
        await self.store.write(operation, committed)

    async def apply(self, item: Object) -> None:
        """Creates or replaces a Broker or a Trigger, durably; ConfigError. A Trigger's Broker may come later.

        A new Trigger sees the events from now on; a replaced one keeps its queue, delivered as the new spec says.
        """
        kind = item.get("kind") if isinstance(item, Mapping) else None
        item = _kept(item) if isinstance(item, Mapping) else item
        async with self._configuring:
            if kind == "Broker":
                broker = parse_broker(item)
                await self.store.write(partial(records.put_broker, key=broker.key, item=dict(item)))
                self._set_broker(item)
            elif kind == "Trigger":
                trigger = parse_trigger(item)
                known = self._deliveries.get(trigger.key)
                if known is not None and known.trigger.broker != trigger.broker:
                    raise ConfigError(
                        f"Trigger {trigger.key}: spec.broker cannot change from {known.trigger.broker} to"
                        f" {trigger.broker}: delete the Trigger first"
                    )
                number = await self.store.write(partial(records.put_trigger, key=trigger.key, item=dict(item)))
                self._set_trigger(number, item)
            else:
                raise ConfigError(f"kind must be Broker or Trigger, found {kind!r}")

    async def remove(self, kind: str, namespace: str, name: str) -> bool:
        """Removes a Broker, or a Trigger with its pending deliveries (dead letters stay); whether it was there.

        A Broker's Triggers stay and finish their queues, without new events.
        """
        key = f"{namespace}/{name}"
        async with self._configuring:
            if kind == "Broker":
                if key not in self._brokers:
                    return False
                await self.store.write(partial(records.delete_broker, key=key))
                del self._brokers[key], self._broker_objects[key]
                return True
            found = self._deliveries.get(key)
            if found is None:
                return False
            await self.store.write(partial(records.remove_trigger, number=found.number))
            del self._deliveries[key], self._trigger_objects[key]
            self._by_broker[found.trigger.broker].remove(found)
        await found.stop(0)
        await self._drop_queues()
        return True

    async def replay(self, name: str) -> None:
        """Delivers a dead letter once more, to its Trigger's subscriber only; ReplayError."""
        numbers = history.split_name(name)
        letter = None if numbers is None else history.dead_letter(self.store.reader, name)
        if numbers is None or letter is None:
            raise ReplayError(f"there is no dead letter {name[:40]!r}")
        deliveries = self._deliveries.get(letter["trigger"])
        if deliveries is None:
            raise ReplayError(f"dead letter {name}: its Trigger {letter['trigger']} is gone; apply it again first")

        def offer(item: Queued | None) -> None:
            if item is not None:
                deliveries.subscriber.offer(item)

        replay = partial(records.replay, event=numbers[0], trigger=numbers[1], to=deliveries.number)
        if await self.store.write(replay, offer) is None:
            raise ReplayError(f"dead letter {name} is on its way to the dead letter sink; replay it once it is there")

    def has(self, namespace: str, name: str) -> bool:
        """Whether there is such a Broker."""
        return f"{namespace}/{name}" in self._brokers

    def objects(self) -> list[Mapping[str, Any]]:
        """The Brokers and Triggers as they were applied."""
        return [*self._broker_objects.values(), *self._trigger_objects.values()]

    @property
    def reader(self) -> sqlite3.Connection:
        """For the questions of `local.broker.history`."""
        return self.store.reader

    def _set_broker(self, item: Mapping[str, Any]) -> None:
        broker = parse_broker(item)
        self._brokers[broker.key] = broker
        self._broker_objects[broker.key] = item

    def _set_trigger(self, number: int, item: Mapping[str, Any]) -> None:
        trigger = parse_trigger(item)
        self._trigger_objects[trigger.key] = item
        known = self._deliveries.get(trigger.key)
        if known is not None:
            known.trigger = trigger
            return
        deliveries = Deliveries(self._context, number, trigger)
        self._deliveries[trigger.key] = deliveries
        self._by_broker.setdefault(trigger.broker, []).append(deliveries)
        deliveries.start()

    def _storing(
        self, broker: str, events: list[tuple[CloudEvent, dict[str, str]]], now: float
    ) -> tuple[Operation[list[int]], Callable[[list[int]], None]]:
        """What stores the events, each with a delivery for every Trigger that wants it now, and what follows."""
        candidates = self._by_broker.get(broker, ())
        wanted = [[one for one in candidates if one.trigger.filter.matches(event)] for event, _ in events]

        def store(db: sqlite3.Connection) -> list[int]:
            return [
                records.insert_event(db, broker, event, headers, now, [one.number for one in takers])
                for (event, headers), takers in zip(events, wanted, strict=True)
            ]

        def committed(seqs: list[int]) -> None:
            for seq, (event, headers), takers in zip(seqs, events, wanted, strict=True):
                for one in takers:
                    one.subscriber.offer(Queued(seq, event, headers))

        return store, committed

    def _accept_reply(
        self,
        broker: str,
        event: CloudEvent,
        headers: dict[str, str],
        also: Operation[None],
        then: Callable[[], None],
    ) -> None:
        operation, committed = self._storing(broker, [(event, headers)], time.time())

        def store(db: sqlite3.Connection) -> list[int]:
            also(db)
            return operation(db)

        def after(seqs: list[int]) -> None:
            then()
            committed(seqs)

        self.store.submit(store, after)

    def _depths(self) -> Iterable[tuple[tuple[str, str, str], int]]:
        for deliveries in self._deliveries.values():
            yield from deliveries.depths()

    async def _prune_forever(self) -> None:
        while True:
            try:
                await self._drop_queues()
                await self.prune()
            except StoreError:
                await self.store.usable()
                continue
            except Exception:
                log.exception("pruning the broker's database failed; it is tried again")
            await asyncio.sleep(self.settings.prune_every)

    async def prune(self) -> int:
        """Forgets old events, in small commits so that nobody waits for it; how many these were."""
        now, total = time.time(), 0
        prune = partial(
            history.prune,
            before=now - self.settings.keep_for,
            dead_before=now - self.settings.keep_dead_for,
            keep=self.settings.keep_events,
            limit=PRUNE_CHUNK,
        )
        while pruned := await self.store.write(prune):
            total += pruned
        return total

    async def _drop_queues(self) -> None:
        while await self.store.write(partial(records.drop_queue, limit=PRUNE_CHUNK)):
            pass


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """An object that an older broker took and this one does not must not keep all others from working."""
    try:
        yield
    except ConfigError as error:
        log.error("%s: apply it again", error)


def _kept(item: Object) -> dict[str, Any]:
    """What of an object the broker needs to keep."""
    metadata = item.get("metadata")
    short = {k: metadata[k] for k in ("name", "namespace") if k in metadata} if isinstance(metadata, Mapping) else None
    return {**{k: item[k] for k in ("apiVersion", "kind", "spec", "status") if k in item}, "metadata": short}
