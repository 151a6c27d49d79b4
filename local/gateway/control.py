"""The controller's side of the gateway: a Unix socket that only this user may open; states in, reports out.

One controller counts, the one that connected last: the one before was killed, or lives on by mistake.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from local.gateway.activator import Revision
from local.gateway.exchange import Shared
from local.gateway.state import LIMIT, Report, State, read_state, write_report

log = logging.getLogger("gateway")

REPORT_SECONDS = 0.1


class Control:
    """Takes states into `shared`."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._version = 0
        self._leaving: list[Revision] = []
        self._writer: asyncio.StreamWriter | None = None
        self._wake = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._reporting: asyncio.Task[None] | None = None

    async def start(self, path: Path) -> None:
        """OSError where the socket cannot be made."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            with short(path) as name:
                self._server = await asyncio.start_unix_server(self._serve, name, limit=LIMIT)
        finally:
            os.umask(before)
        self._reporting = asyncio.create_task(self._report())

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        if self._reporting:
            self._reporting.cancel()
        if self._writer:
            self._writer.close()

    def notice(self) -> None:
        """Something that the controller must hear of at once."""
        self._wake.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer:
            self._writer.close()
        self._writer, self._version = writer, 0
        self._wake.set()
        try:
            while line := await reader.readline():
                if self._writer is not writer:
                    return
                state, version = read_state(line)
                self._apply(state)
                self._version = version
                self._wake.set()
        except (ValueError, KeyError, TypeError) as error:
            log.error("a state cannot be read: %s: %s", type(error).__name__, error)
        except OSError:
            pass
        finally:
            if self._writer is writer:
                self._writer = None
            writer.close()

    def _apply(self, state: State) -> None:
        shared = self._shared
        for key, wanted in state.revisions.items():
            if key in shared.revisions:
                shared.revisions[key].update(wanted)
            else:
                shared.revisions[key] = Revision(key[1], wanted, self.notice)
        for key in set(shared.revisions) - set(state.revisions):
            gone = shared.revisions.pop(key)
            gone.retire()
            self._leaving.append(gone)
        shared.current = state
        shared.known.set()

    async def _report(self) -> None:
        said = None
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_SECONDS):
                    await self._wake.wait()
            self._leaving = [one for one in self._leaving if not one.idle]
            loads = {key: revision.load() for key, revision in self._shared.revisions.items()}
            busy: dict[str, int] = {}
            for revision in (*self._shared.revisions.values(), *self._leaving):
                busy |= revision.in_flight()
            report = Report(self._version, loads, busy)
            full = self._writer and self._writer.transport.get_write_buffer_size() > LIMIT
            if self._writer and not full and (self._wake.is_set() or report != said):
                self._writer.write(write_report(report))
                said = report
            self._wake.clear()


@contextmanager
def short(path: Path) -> Iterator[str]:
    """A name of a socket that fits into an address (some 100 bytes), however deep its folder lies."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    if not Path("/proc/self/fd").exists():
        raise OSError(f"{path} is too long for the name of a socket; choose a folder with a shorter path")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
