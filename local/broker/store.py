"""The broker's durable store: operations are batched into one commit, with one disk flush for all of them.

Statements run on the event loop (microseconds each), the COMMIT with its flush on a thread: a thread that ran the
statements would contend with the loop for the interpreter lock at every one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
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

from local.broker.schema import VERSION, connect, create
from local.sqlite import inode, restore_file
from local.storage import DESCRIPTIONS, StorageFailure, backoff_delays, failure_code

log = logging.getLogger("broker")

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

MAX_BATCH = 512
LOCK_SECONDS = 0.1  # statements run on the event loop, which another process's lock must not block


class StoreError(RuntimeError):
    """The store cannot be used, for the moment or at all; the message says why in one line."""


@dataclass(slots=True)
class _Pending:
    run: Operation[Any]
    committed: Callable[[Any], None] | None
    future: asyncio.Future[Any] | None
    result: Any = None
    error: BaseException | None = None


class Store:
    """One writer, and one reader that sees what is committed. `on_commit` gets every commit's size and seconds.

    While the disk cannot be written, `write` fails immediately, and what was submitted waits in order.
    """

    def __init__(self, path: Path, on_commit: Callable[[int, float], None] | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _acquire_lock(path.with_name(path.name + ".lock"), path)
        try:
            self._writer = connect(str(path))
            create(self._writer)
            self.reader = connect(str(path))
        except (sqlite3.Error, RuntimeError) as error:
            self._lock.close()
            raise StoreError(f"cannot open the broker's database {path}: {error}") from None
        self._writer.execute(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000:.0f}")
        self._path, self._inode = path, inode(path)
        self._on_commit = on_commit
        self._waiting: list[_Pending] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="broker-commit")
        self._task: asyncio.Task[None] | None = None
        self._fatal_error: Exception | None = None
        self._storage_failure: StorageFailure | None = None
        self._next_delay = backoff_delays()
        self._writable, self._closing = asyncio.Event(), asyncio.Event()
        self._writable.set()

    def submit(self, run: Operation[T], committed: Callable[[T], None] | None = None) -> None:
        """Queues an operation; `committed` is called on the event loop with its result once it is on the disk.

        Operations run in the order of submission. One that fails is left out of its batch; while the disk cannot be
        written, all wait.
        """
        self._queue(_Pending(run, committed, None))

    async def write(self, run: Operation[T], committed: Callable[[T], None] | None = None) -> T:
        """The operation's result, once it is on the disk; StoreError if it cannot be written now."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue(_Pending(run, committed, future))
        return await future

    async def flush(self) -> None:
        """Waits until everything submitted so far is on the disk."""
        await self.write(lambda db: None)

    async def wait_until_writable(self) -> None:
        """Waits until the disk can be written."""
        await self._writable.wait()

    async def close(self) -> None:
        self._closing.set()
        while self._task is not None:
            await asyncio.wait([self._task])
        if self._waiting:
            log.warning("%d results could not be written; their events will be delivered again", len(self._waiting))
        self._thread.shutdown()
        self.reader.close()
        self._writer.close()
        self._lock.close()

    def _queue(self, pending: _Pending) -> None:
        if self._fatal_error is not None or (self._storage_failure is not None and pending.future is not None):
            raise StoreError(f"the broker's database: {self.failure}")
        self._waiting.append(pending)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write_batches())

    async def _write_batches(self) -> None:
        try:
            while self._waiting or self._storage_failure is not None:
                if self._storage_failure is not None and not await self._wait_for_retry():
                    return
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                start = time.perf_counter()
                try:
                    await self._commit(batch or [_Pending(_write_probe, None, None)])
                except Exception as error:  # noqa: BLE001 - classified there
                    self._commit_failed(batch, error)
                else:
                    self._recovered()
                if self._on_commit is not None:
                    self._on_commit(len(batch), time.perf_counter() - start)
                for pending in batch:
                    self._complete(pending)
        finally:
            self._task = None

    async def _wait_for_retry(self) -> bool:
        """Waits before the next try; returns whether there is one: a store that is being closed does not wait."""
        try:
            async with asyncio.timeout(self._next_delay()):
                await self._closing.wait()
        except TimeoutError:
            pass
        else:
            return False
        if self._storage_failure is not None and self._storage_failure.code not in ("full", "locked"):
            # After an input/output error nothing that a connection has cached is certain.
            loop = asyncio.get_running_loop()
            try:
                if inode(self._path) == self._inode:  # otherwise the next commit restores the file
                    self._writer = await loop.run_in_executor(self._thread, self._reopen, self._writer)
            except (sqlite3.Error, OSError):
                log.debug("the broker's database cannot be opened yet")
        return True

    def _reopen(self, old: sqlite3.Connection) -> sqlite3.Connection:
        connection = self._connect()
        old.close()
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = connect(str(self._path))
        connection.execute(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000:.0f}")
        return connection

    def _recovered(self) -> None:
        if self._storage_failure is not None:
            log.info(
                "the broker's database can be written again, after %.1f s", time.time() - self._storage_failure.since
            )
            self._storage_failure, self._next_delay = None, backoff_delays()
            self._writable.set()

    async def _commit(self, batch: list[_Pending]) -> None:
        if inode(self._path) != self._inode:
            restore_file(self._path, self._writer, self.reader)
            self.reader, self._writer = connect(str(self._path)), self._connect()
            self._inode = inode(self._path)
        self._run(batch)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.execute, "COMMIT")

    def _commit_failed(self, batch: list[_Pending], error: Exception) -> None:
        """Handles a failed commit: retried if storage is the cause, otherwise the store is unusable from now on."""
        if self._writer.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
        code = failure_code(error, self._path.parent)
        if code is None:
            log.critical("the broker's database failed, nothing more is accepted: %s", error)
            self._fatal_error = error
        elif self._storage_failure is None:
            log.error("the broker's database cannot be written: %s; retrying", DESCRIPTIONS[code])
            self._storage_failure = StorageFailure("broker", str(self._path), code, time.time())
            self._writable.clear()
        failure = StoreError(f"the broker's database: {self.failure}")
        all_pending, self._waiting = [*batch, *self._waiting], []
        for pending in all_pending:
            if pending.future is None and code is not None:
                pending.error = None
                self._waiting.append(pending)
            else:
                pending.error = failure
        for pending in all_pending[len(batch) :]:
            if pending.error is not None:
                self._complete(pending)
        batch[:] = [pending for pending in batch if pending.error is not None]

    def _run(self, batch: list[_Pending]) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            for pending in batch:
                pending.result = pending.run(self._writer)
        except Exception as error:
            if failure_code(error):  # SQLite may have rolled back all of the batch by itself
                raise
            # One of them is at fault: repeat, each within its own savepoint.
            self._writer.execute("ROLLBACK")
            self._writer.execute("BEGIN IMMEDIATE")
            for pending in batch:
                self._run_in_savepoint(pending)

    def _run_in_savepoint(self, pending: _Pending) -> None:
        self._writer.execute("SAVEPOINT operation")
        try:
            pending.result = pending.run(self._writer)
        except Exception as error:
            if failure_code(error):
                raise
            self._writer.execute("ROLLBACK TO operation")
            pending.error = error
        self._writer.execute("RELEASE operation")

    def _complete(self, pending: _Pending) -> None:
        error = pending.error
        if error is None and pending.committed is not None:
            try:
                pending.committed(pending.result)
            except Exception:
                log.exception("a callback after a commit failed")
        if pending.future is None:
            if error is not None:
                log.error("a write to the broker's database failed: %s", error)
        elif not pending.future.done():
            if error is None:
                pending.future.set_result(pending.result)
            else:
                pending.future.set_exception(error)

    @property
    def failure(self) -> str | None:
        """Why nothing can be written at the moment; None if it can."""
        if self._fatal_error is not None:
            return f"it failed: {self._fatal_error}"
        return f"cannot be written: {DESCRIPTIONS[self._storage_failure.code]}" if self._storage_failure else None

    @property
    def storage_failure(self) -> StorageFailure | None:
        """The storage failure that prevents writing now, if it may be temporary."""
        return self._storage_failure


def _write_probe(db: sqlite3.Connection) -> None:
    """Writes something, to find out whether that is possible."""
    db.execute(f"PRAGMA user_version = {VERSION}")


def _acquire_lock(lock: Path, path: Path) -> IO[str]:
    """Locks the database: two brokers on one database would deliver everything twice."""
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
