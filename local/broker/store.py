"""The broker's durable store: operations are gathered and committed together, one disk flush for all of them.

Statements run on the event loop (microseconds each), the COMMIT with its flush on a thread: a thread that ran the
statements would fight the loop for the interpreter's lock at every one of them.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from local.broker.schema import connect, create

log = logging.getLogger("broker")

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

MAX_BATCH = 512
FULL_DELAY = 1.0  # until what a full disk refused is tried again


class StoreError(RuntimeError):
    """The store cannot be used; the message says why in one line."""


@dataclass(slots=True)
class _Pending:
    run: Operation[Any]
    committed: Callable[[Any], None] | None
    future: asyncio.Future[Any] | None
    result: Any = None
    error: BaseException | None = None


class Store:
    """One writer, one reader that sees what is committed. `on_commit` hears every commit's size and seconds."""

    def __init__(self, path: Path, on_commit: Callable[[int, float], None] | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(path.with_name(path.name + ".lock"), path)
        try:
            self._writer = connect(str(path))
            create(self._writer)
            self.reader = connect(str(path))
        except (sqlite3.Error, RuntimeError) as error:
            self._lock.close()
            raise StoreError(f"cannot open the broker's database {path}: {error}") from None
        self._on_commit = on_commit
        self._waiting: list[_Pending] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="broker-commit")
        self._task: asyncio.Task[None] | None = None
        self._broken: Exception | None = None
        self._full = self._closed = False

    def submit(self, run: Operation[T], committed: Callable[[T], None] | None = None) -> None:
        """Queues an operation; `committed` is called on the event loop with its result once that is on the disk.

        Operations run in the order of submission. One that fails is left out of its batch, and tried again later when
        the disk was full: so it must not mind what was written meanwhile.
        """
        self._queue(_Pending(run, committed, None))

    async def write(self, run: Operation[T], committed: Callable[[T], None] | None = None) -> T:
        """The operation's result, once it is on the disk."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue(_Pending(run, committed, future))
        return await future

    async def flush(self) -> None:
        """Waits until everything submitted so far is on the disk."""
        await self.write(lambda db: None)

    async def close(self) -> None:
        self._closed = True
        while self._task is not None:
            await asyncio.wait([self._task])
        self._thread.shutdown()
        self.reader.close()
        self._writer.close()
        self._lock.close()

    def _queue(self, pending: _Pending) -> None:
        if self._broken is not None:
            raise StoreError(f"the broker's database failed: {self._broken}")
        self._waiting.append(pending)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write_batches())

    async def _write_batches(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                start = time.perf_counter()
                try:
                    await self._commit(batch)
                except Exception as error:
                    self._fail(batch, error)
                if self._on_commit is not None:
                    self._on_commit(len(batch), time.perf_counter() - start)
                self._full = any(is_full(pending.error) for pending in batch)
                for pending in batch:
                    self._settle(pending)
        finally:
            self._task = None

    async def _commit(self, batch: list[_Pending]) -> None:
        self._run(batch)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.execute, "COMMIT")

    def _fail(self, batch: list[_Pending], error: Exception) -> None:
        """The commit itself failed. A full disk may have room again; after any other error nothing is certain."""
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")
        for pending in batch:
            pending.error = error
        if not is_full(error):
            log.critical("the broker's database failed, nothing more is accepted: %s", error)
            self._broken = error
            for pending in self._waiting:
                pending.error = StoreError(f"the broker's database failed: {error}")
                self._settle(pending)
            self._waiting = []

    def _run(self, batch: list[_Pending]) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            for pending in batch:
                pending.result = pending.run(self._writer)
        except Exception as error:
            if is_full(error):  # SQLite may have rolled back all of the batch by itself
                raise
            # One of them is at fault: again, each within a savepoint of its own.
            self._writer.execute("ROLLBACK")
            self._writer.execute("BEGIN IMMEDIATE")
            for pending in batch:
                self._run_apart(pending)

    def _run_apart(self, pending: _Pending) -> None:
        self._writer.execute("SAVEPOINT one")
        try:
            pending.result = pending.run(self._writer)
        except Exception as error:
            if is_full(error):
                raise
            self._writer.execute("ROLLBACK TO one")
            pending.error = error
        self._writer.execute("RELEASE one")

    def _settle(self, pending: _Pending) -> None:
        error = pending.error
        if error is None and pending.committed is not None:
            try:
                pending.committed(pending.result)
            except Exception:
                log.exception("what follows a commit failed")
        if pending.future is None:
            if is_full(error):
                asyncio.get_running_loop().call_later(FULL_DELAY, self._again, pending)
            elif error is not None:
                log.error("a write to the broker's database failed: %s", error)
        elif not pending.future.done():
            if error is None:
                pending.future.set_result(pending.result)
            else:
                pending.future.set_exception(error)

    def _again(self, pending: _Pending) -> None:
        if self._broken is None and not self._closed:
            pending.error = None
            self._queue(pending)

    @property
    def failure(self) -> str | None:
        """Why the store takes nothing at the moment, if so."""
        if self._broken is not None:
            return f"the database failed: {self._broken}"
        return "the disk is full" if self._full else None


def is_full(error: BaseException | None) -> bool:
    """Whether this is SQLite's way of saying that the disk is full."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def _locked(lock: Path, path: Path) -> IO[str]:
    """The lock of this database: two brokers on one would deliver everything twice."""
    file = lock.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise StoreError(f"another broker (process {owner}) uses {path}: stop it or choose another database") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
