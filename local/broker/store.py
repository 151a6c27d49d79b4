"""The broker's durable store: operations are gathered and committed together, one disk flush for all of them.

Statements run on the event loop (microseconds each), the COMMIT with its flush on a thread: a thread that ran the
statements would fight the loop for the interpreter's lock at every one of them.
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
from local.sqlite import inode, put_back
from local.storage import MEANINGS, Trouble, code_of, pauses

log = logging.getLogger("broker")

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

MAX_BATCH = 512
LOCK_SECONDS = 0.1  # statements run on the event loop, which a lock of somebody else's must not hold up


class StoreError(RuntimeError):
    """The store cannot be used, at the moment or at all; the message says why in one line."""


@dataclass(slots=True)
class _Pending:
    run: Operation[Any]
    committed: Callable[[Any], None] | None
    future: asyncio.Future[Any] | None
    result: Any = None
    error: BaseException | None = None


class Store:
    """One writer, one reader that sees what is committed. `on_commit` hears every commit's size and seconds.

    While the disk does not take it, `write` is refused at once, and what was submitted waits in its order.
    """

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
        self._writer.execute(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000:.0f}")
        self._path, self._inode = path, inode(path)
        self._on_commit = on_commit
        self._waiting: list[_Pending] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="broker-commit")
        self._task: asyncio.Task[None] | None = None
        self._broken: Exception | None = None
        self._trouble: Trouble | None = None
        self._pause = pauses()
        self._usable, self._closing = asyncio.Event(), asyncio.Event()
        self._usable.set()

    def submit(self, run: Operation[T], committed: Callable[[T], None] | None = None) -> None:
        """Queues an operation; `committed` is called on the event loop with its result once that is on the disk.

        Operations run in the order of submission. One that fails is left out of its batch; while the disk does not
        take them, all wait.
        """
        self._queue(_Pending(run, committed, None))

    async def write(self, run: Operation[T], committed: Callable[[T], None] | None = None) -> T:
        """The operation's result, once it is on the disk; StoreError when it cannot be written now."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue(_Pending(run, committed, future))
        return await future

    async def flush(self) -> None:
        """Waits until everything submitted so far is on the disk."""
        await self.write(lambda db: None)

    async def usable(self) -> None:
        """Waits until the disk takes what is written."""
        await self._usable.wait()

    async def close(self) -> None:
        self._closing.set()
        while self._task is not None:
            await asyncio.wait([self._task])
        if self._waiting:
            log.warning("%d results could not be written; their deliveries are made again", len(self._waiting))
        self._thread.shutdown()
        self.reader.close()
        self._writer.close()
        self._lock.close()

    def _queue(self, pending: _Pending) -> None:
        if self._broken is not None or (self._trouble is not None and pending.future is not None):
            raise StoreError(f"the broker's database: {self.failure}")
        self._waiting.append(pending)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write_batches())

    async def _write_batches(self) -> None:
        try:
            while self._waiting or self._trouble is not None:
                if self._trouble is not None and not await self._paused():
                    return
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                start = time.perf_counter()
                try:
                    await self._commit(batch or [_Pending(_touch, None, None)])
                except Exception as error:
                    self._fail(batch, error)
                else:
                    self._over()
                if self._on_commit is not None:
                    self._on_commit(len(batch), time.perf_counter() - start)
                for pending in batch:
                    self._settle(pending)
        finally:
            self._task = None

    async def _paused(self) -> bool:
        """Waits before the next try; whether there is one: a store that is being closed does not wait for room."""
        try:
            async with asyncio.timeout(self._pause()):
                await self._closing.wait()
            return False
        except TimeoutError:
            pass
        if self._trouble is not None and self._trouble.code not in ("full", "locked"):
            # After an input or output error nothing that a connection remembers is certain.
            loop = asyncio.get_running_loop()
            try:
                if inode(self._path) == self._inode:  # else the next commit sees to it
                    self._writer = await loop.run_in_executor(self._thread, self._opened, self._writer)
            except (sqlite3.Error, OSError):
                log.debug("the broker's database cannot be opened yet")
        return True

    def _opened(self, old: sqlite3.Connection) -> sqlite3.Connection:
        made = self._connected()
        old.close()
        return made

    def _connected(self) -> sqlite3.Connection:
        made = connect(str(self._path))
        made.execute(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000:.0f}")
        return made

    def _over(self) -> None:
        if self._trouble is not None:
            log.info("the broker's database can be written again, after %.1f s", time.time() - self._trouble.since)
            self._trouble, self._pause = None, pauses()
            self._usable.set()

    async def _commit(self, batch: list[_Pending]) -> None:
        if inode(self._path) != self._inode:
            put_back(self._path, self._writer, self.reader)
            self.reader, self._writer = connect(str(self._path)), self._connected()
            self._inode = inode(self._path)
        self._run(batch)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.execute, "COMMIT")

    def _fail(self, batch: list[_Pending], error: Exception) -> None:
        """The commit itself failed: for a while, or for good where it is no matter of storage."""
        if self._writer.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
        code = code_of(error, self._path.parent)
        if code is None:
            log.critical("the broker's database failed, nothing more is accepted: %s", error)
            self._broken = error
        elif self._trouble is None:
            log.error("the broker's database cannot be written: %s; trying again", MEANINGS[code])
            self._trouble = Trouble("broker", str(self._path), code, time.time())
            self._usable.clear()
        refused = StoreError(f"the broker's database: {self.failure}")
        every, self._waiting = [*batch, *self._waiting], []
        for pending in every:
            if pending.future is None and code is not None:
                pending.error = None
                self._waiting.append(pending)
            else:
                pending.error = refused
        for pending in every[len(batch) :]:
            if pending.error is not None:
                self._settle(pending)
        batch[:] = [pending for pending in batch if pending.error is not None]

    def _run(self, batch: list[_Pending]) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            for pending in batch:
                pending.result = pending.run(self._writer)
        except Exception as error:
            if code_of(error):  # SQLite may have rolled back all of the batch by itself
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
            if code_of(error):
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
            if error is not None:
                log.error("a write to the broker's database failed: %s", error)
        elif not pending.future.done():
            if error is None:
                pending.future.set_result(pending.result)
            else:
                pending.future.set_exception(error)

    @property
    def failure(self) -> str | None:
        """Why the store takes nothing at the moment, if so."""
        if self._broken is not None:
            return f"it failed: {self._broken}"
        return f"cannot be written: {MEANINGS[self._trouble.code]}" if self._trouble else None

    @property
    def trouble(self) -> Trouble | None:
        """What keeps the store from writing now, as far as it may pass."""
        return self._trouble


def _touch(db: sqlite3.Connection) -> None:
    """Writes something, whether it can be."""
    db.execute(f"PRAGMA user_version = {VERSION}")


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
