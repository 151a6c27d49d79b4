"""The gateway's side of the control connection: a Unix socket that only this user may open; states in, reports out.

Only the controller that connected last counts: an earlier one was killed, or is still running by mistake.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from local.gateway.activator import RevisionThrottler
from local.gateway.context import GatewayContext
from local.gateway.control_protocol import MAX_LINE_BYTES, GatewayState, LoadReport, decode_state, encode_report

log = logging.getLogger("gateway")

REPORT_SECONDS = 0.1


class ControlServer:
    """Applies states to `context`."""

    def __init__(self, context: GatewayContext) -> None:
        self._context = context
        self._version = 0
        self._draining: list[RevisionThrottler] = []
        self._writer: asyncio.StreamWriter | None = None
        self._wake = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._report_task: asyncio.Task[None] | None = None

    async def start(self, path: Path) -> None:
        """OSError if the socket cannot be created."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - nothing is served yet
        previous_umask = os.umask(0o177)
        try:
            with short_socket_path(path) as name:
                self._server = await asyncio.start_unix_server(self._serve, name, limit=MAX_LINE_BYTES)
        finally:
            os.umask(previous_umask)
        self._report_task = asyncio.create_task(self._report())

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        if self._report_task:
            self._report_task.cancel()
        if self._writer:
            self._writer.close()

    def wake(self) -> None:
        """Sends a report at once."""
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
                state, version = decode_state(line)
                self._apply(state)
                self._version = version
                self._wake.set()
        except (ValueError, KeyError, TypeError) as error:
            log.error("a state cannot be decoded: %s: %s", type(error).__name__, error)  # noqa: TRY400 - no bug
        except OSError:
            pass
        finally:
            if self._writer is writer:
                self._writer = None
            writer.close()

    def _apply(self, state: GatewayState) -> None:
        context = self._context
        for key, revision_state in state.revisions.items():
            if key in context.revisions:
                context.revisions[key].update(revision_state)
            else:
                context.revisions[key] = RevisionThrottler(key[1], revision_state, self.wake)
        for key in set(context.revisions) - set(state.revisions):
            removed = context.revisions.pop(key)
            removed.retire()
            self._draining.append(removed)
        context.current = state
        context.state_known.set()

    async def _report(self) -> None:
        last_report = None
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_SECONDS):
                    await self._wake.wait()
            self._draining = [throttler for throttler in self._draining if not throttler.idle]
            loads = {key: revision.load() for key, revision in self._context.revisions.items()}
            busy: dict[str, int] = {}
            for revision in (*self._context.revisions.values(), *self._draining):
                busy |= revision.in_flight()
            report = LoadReport(self._version, loads, busy)
            full = self._writer and self._writer.transport.get_write_buffer_size() > MAX_LINE_BYTES
            if self._writer and not full and (self._wake.is_set() or report != last_report):
                self._writer.write(encode_report(report))
                last_report = report
            self._wake.clear()


@contextmanager
def short_socket_path(path: Path) -> Iterator[str]:
    """A path of a socket that fits into an address (about 100 bytes), however deep its folder is."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    if not Path("/proc/self/fd").exists():
        raise OSError(f"{path} is too long for a socket; choose a folder with a shorter path")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
