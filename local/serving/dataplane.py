"""The controller's end of the gateway: keeps the process, tells it the state, and knows how busy everything is."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

import aiohttp

from local.gateway.control import short
from local.gateway.state import LIMIT, Key, Load, Report, State, read_report, write_state
from local.platform.supervised_process import Program, SupervisedProcess, adopt
from local.serving.runner import left_behind
from local.serving.settings import GATEWAY, ServingSettings, gateway_ports, note_gateway_ports

log = logging.getLogger("serving")

STOP_SECONDS = 40.0
_AGAIN_SECONDS = 0.05
_IDLE = Load()


class Dataplane:
    """`changed` is called when requests begin or end to wait for a revision. Entered, the gateway is being started."""

    def __init__(self, settings: ServingSettings, changed: Callable[[Key], None]) -> None:
        self._settings, self._changed = settings, changed
        self._folder = settings.folder / GATEWAY
        self._socket = self._folder / "control.sock"
        self._state, self.version = State(), 0
        self._report: Report | None = None
        self._told, self._news = asyncio.Event(), asyncio.Condition()
        self._closed = False
        self.port = self.internal_port = 0

    async def start(self, session: aiohttp.ClientSession) -> None:
        """OSError when a port is taken by something else than our own gateway."""
        self.port, self.internal_port = self._ports()
        settings = self._settings
        argv = [sys.executable, "-m", "local.gateway", "--socket", str(self._socket), "--host", settings.host]
        argv += ["--port", str(self.port), "--internal-port", str(self.internal_port)]
        argv += ["--seed", str(settings.seed)] if settings.seed is not None else []
        program = Program(GATEWAY, tuple(argv), dict(settings.env), self.port)
        found = (await adopt(self._folder, [program])).get(GATEWAY)
        if not found:
            _require(settings.host, self.port)
            _require("127.0.0.1", self.internal_port)
        self.part = SupervisedProcess(program, self._folder, lambda: None)
        self._kept = asyncio.create_task(self.part.supervise(session, found), name="gateway")
        self._talking = asyncio.create_task(self._talk(), name="gateway's control")

    async def stop(self) -> None:
        """Ends the gateway: it takes no more requests and answers those under way."""
        if self._closed:
            return
        await self.part.stop(STOP_SECONDS)
        self._closed = True
        await asyncio.wait({self._kept}, timeout=1.0)
        for task in (self._kept, self._talking):
            task.cancel()
        await asyncio.gather(self._kept, self._talking, return_exceptions=True)

    def push(self, state: State) -> int:
        """Makes this the state; the version by which it is known."""
        if state != self._state or not self.version:
            self._state = state
            self.version += 1
            self._told.set()
        return self.version

    async def in_force(self, seconds: float) -> bool:
        """Whether the gateway has the last state, waited for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(lambda: self._has(self.version))
        return self._has(self.version)

    def load(self, key: Key) -> Load | None:
        """None while there is no gateway that could know."""
        return self._report.loads.get(key, _IDLE) if self._report else None

    def done(self, replica: str, version: int) -> bool:
        """Whether a replica that is not in the state of this version has answered all it ever got.

        While no gateway says so it is not known: one that was killed is soon replaced, and the new one knows of none.
        """
        if self._closed:
            return True
        return self._has(version) and self._report is not None and replica not in self._report.in_flight

    def _has(self, version: int) -> bool:
        return self._report is not None and self._report.version >= version

    async def _talk(self) -> None:
        while True:
            try:
                with short(self._socket) as name:
                    reader, writer = await asyncio.open_unix_connection(name, limit=LIMIT)
            except OSError:
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            telling = asyncio.create_task(self._tell(writer))
            try:
                while line := await reader.readline():
                    await self._hear(read_report(line))
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("the gateway's word is lost: %s", error or type(error).__name__)
            finally:
                telling.cancel()
                writer.close()
                self._report = None
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _tell(self, writer: asyncio.StreamWriter) -> None:
        """Each state once; the last one first to a gateway that is new."""
        self._told.set()
        with suppress(OSError):
            while True:
                await self._told.wait()
                self._told.clear()
                if self.version:
                    writer.write(write_state(self._state, self.version))
                    await writer.drain()

    async def _hear(self, report: Report) -> None:
        before, self._report = self._report, report
        for key, load in report.loads.items():
            if bool(load.waiting) != bool(before and before.loads.get(key, _IDLE).waiting):
                self._changed(key)
        async with self._news:
            self._news.notify_all()

    def _ports(self) -> tuple[int, int]:
        """As set. Where 0 was: those of a gateway that was left behind, or free ones. They are noted for the next."""
        wanted = (self._settings.port, self._settings.internal_port)
        had = gateway_ports(self._settings.folder)
        fits = had and all(want in (0, old) for want, old in zip(wanted, had, strict=True))
        if had and fits and (any(left_behind(self._folder)) or all(map(_free, had))):
            return had
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            ports = (wanted[0] or one.getsockname()[1], wanted[1] or other.getsockname()[1])
        note_gateway_ports(self._settings.folder, ports)
        return ports


def _free(port: int) -> bool:
    try:
        _require("127.0.0.1", port)
    except OSError:
        return False
    return True


def _require(host: str, port: int) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            reason = f"cannot listen on {host}:{port}: {error.strerror}; choose another port"
            raise OSError(error.errno, reason) from None
