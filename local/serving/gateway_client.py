"""The controller's client of the gateway: runs its process, sends it the state, and receives its load reports."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import suppress

import aiohttp

from local.gateway.control_protocol import (
    MAX_LINE_BYTES,
    GatewayState,
    LoadReport,
    NamespacedName,
    RevisionLoad,
    decode_report,
    encode_state,
)
from local.gateway.control_server import short_socket_path
from local.platform.supervised_process import Program, SupervisedProcess, adopt
from local.ports import check_free, free_ports, is_free
from local.serving.settings import GATEWAY, ServingSettings, gateway_ports, save_gateway_ports
from local.serving.workload import find_left_behind

log = logging.getLogger("serving")

STOP_SECONDS = 40.0
_RECONNECT_SECONDS = 0.05
_IDLE = RevisionLoad()


class GatewayClient:
    """`changed` is called when requests start or stop waiting for a revision."""

    def __init__(self, settings: ServingSettings, changed: Callable[[NamespacedName], None]) -> None:
        self._settings, self._changed = settings, changed
        self._folder = settings.folder / GATEWAY
        self._socket = self._folder / "control.sock"
        self._state, self.version = GatewayState(), 0
        self._report: LoadReport | None = None
        self._state_pushed, self._report_received = asyncio.Event(), asyncio.Condition()
        self._closed = False
        self.port = self.internal_port = 0

    async def start(self, session: aiohttp.ClientSession) -> None:
        """Starts or adopts the gateway; OSError if a port is used by anything but our own gateway."""
        self.port, self.internal_port = self._ports()
        settings = self._settings
        argv = [sys.executable, "-m", "local.gateway", "--socket", str(self._socket), "--host", settings.host]
        argv += ["--port", str(self.port), "--internal-port", str(self.internal_port)]
        argv += ["--seed", str(settings.seed)] if settings.seed is not None else []
        program = Program(GATEWAY, tuple(argv), dict(settings.env), self.port)
        adopted = (await adopt(self._folder, [program])).get(GATEWAY)
        if not adopted:
            check_free(settings.host, self.port)
            check_free("127.0.0.1", self.internal_port)
        self.part = SupervisedProcess(program, self._folder, lambda: None)
        self._keeping = asyncio.create_task(self.part.supervise(session, adopted), name="gateway")
        self._communicating = asyncio.create_task(self._communicate(), name="gateway's control")

    async def stop(self) -> None:
        """Stops the gateway: it accepts no more requests and answers those in flight."""
        if self._closed:
            return
        await self.part.stop(STOP_SECONDS)
        self._closed = True
        await asyncio.wait({self._keeping}, timeout=1.0)
        for task in (self._keeping, self._communicating):
            task.cancel()
        await asyncio.gather(self._keeping, self._communicating, return_exceptions=True)

    def push(self, state: GatewayState) -> int:
        """Sends a new state; returns its version."""
        if state != self._state or not self.version:
            self._state = state
            self.version += 1
            self._state_pushed.set()
        return self.version

    async def wait_until_in_force(self, seconds: float) -> bool:
        """Waits up to `seconds`; returns whether the gateway has the latest state."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._report_received:
                await self._report_received.wait_for(lambda: self._in_force(self.version))
        return self._in_force(self.version)

    def load(self, key: NamespacedName) -> RevisionLoad | None:
        """A revision's load; None while there is no gateway that knows."""
        return self._report.loads.get(key, _IDLE) if self._report else None

    def drained(self, replica: str, version: int) -> bool:
        """Whether a replica that is not in the state of this version has answered all its requests.

        Unknown, and so False, without a gateway: a killed one is soon replaced, and the new one reports none in flight.
        """
        if self._closed:
            return True
        return self._in_force(version) and self._report is not None and replica not in self._report.in_flight

    def _in_force(self, version: int) -> bool:
        return self._report is not None and self._report.version >= version

    async def _communicate(self) -> None:
        while True:
            try:
                with short_socket_path(self._socket) as name:
                    reader, writer = await asyncio.open_unix_connection(name, limit=MAX_LINE_BYTES)
            except OSError:
                await asyncio.sleep(_RECONNECT_SECONDS)
                continue
            sending = asyncio.create_task(self._send_states(writer))
            try:
                while line := await reader.readline():
                    await self._handle_report(decode_report(line))
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("the connection to the gateway is lost: %s", error or type(error).__name__)
            finally:
                sending.cancel()
                writer.close()
                self._report = None
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _send_states(self, writer: asyncio.StreamWriter) -> None:
        """Sends each state once, and the latest one first to a new gateway."""
        self._state_pushed.set()
        with suppress(OSError):
            while True:
                await self._state_pushed.wait()
                self._state_pushed.clear()
                if self.version:
                    writer.write(encode_state(self._state, self.version))
                    await writer.drain()

    async def _handle_report(self, report: LoadReport) -> None:
        previous_report, self._report = self._report, report
        for key, load in report.loads.items():
            if bool(load.waiting) != bool(previous_report and previous_report.loads.get(key, _IDLE).waiting):
                self._changed(key)
        async with self._report_received:
            self._report_received.notify_all()

    def _ports(self) -> tuple[int, int]:
        """The configured ports. For 0: those of a gateway left behind, or free ones, saved for the next start."""
        settings = self._settings
        configured = (settings.port, settings.internal_port)
        previous = gateway_ports(settings.folder)
        matches = previous and all(port in (0, last) for port, last in zip(configured, previous, strict=True))
        if previous and matches:
            left_behind = any(find_left_behind(self._folder))
            if left_behind or all(is_free("127.0.0.1", port) for port in previous):
                return previous
        free = free_ports(2)
        ports = (configured[0] or free[0], configured[1] or free[1])
        save_gateway_ports(settings.folder, ports)
        return ports
