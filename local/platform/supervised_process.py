"""The platform's long-lived processes (broker, MLflow, pipelines): started, watched, restarted, adopted."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import aiohttp

from local.platform.settings import HOST, ROOT
from local.ports import check_free
from local.serving.process_spec import Probe, ProcessSpec
from local.serving.workload import WorkloadProcess, find_left_behind, last_lines, log_file, probe

log = logging.getLogger("platform")

NAMESPACE = "platform"
START_SECONDS = 180.0
LONGEST_PAUSE = 10.0
HEALTHY_SECONDS = 20.0

ProcessState = Literal["starting", "ready", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Program:
    """A process of the platform: its command, its environment, the port it listens on, how it is known to be ready."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    port: int
    path: str = ""

    @property
    def digest(self) -> str:
        """Of all that a running process was started with: one with another digest is not adopted."""
        return hashlib.sha256(json.dumps([self.argv, sorted(self.env.items()), self.port]).encode()).hexdigest()[:32]


@dataclass(slots=True)
class SupervisedProcess:
    """A program and how it does now."""

    program: Program
    folder: Path
    changed: Callable[[], None]
    state: ProcessState = "starting"
    message: str = ""
    pid: int = 0
    restarts: int = 0
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: bool = False
    _process: WorkloadProcess | None = None

    async def supervise(self, session: aiohttp.ClientSession, adopted: WorkloadProcess | None) -> None:
        """Runs it until `stop`; `adopted` is its process where a killed supervisor left one."""
        pause = 0.5
        while not self._stopping:
            try:
                process = adopted or await self._start()
            except OSError as error:
                self._set("failed", error.strerror or str(error))
            else:
                adopted, self._process, self.pid = None, process, process.pid
                started = time.monotonic()
                if await self._until_ready(session, process):
                    self._set("ready")
                    self.ready.set()
                    await process.wait()
                self.ready.clear()
                process.forget()
                self.pid = 0
                if self._stopping:
                    break
                pause = 0.5 if time.monotonic() - started > HEALTHY_SECONDS else min(pause * 2, LONGEST_PAUSE)
                self._set("failed", f"exited: {last_lines(self.log, 1)}")
                log.warning("%s exited and is started again in %.1f s", self.program.name, pause)
                self.restarts += 1
            await asyncio.sleep(pause)
        self._set("stopped")

    async def stop(self, grace: float = 30.0) -> None:
        self._stopping = True
        if self._process:
            await self._process.stop(grace)

    @property
    def log(self) -> Path:
        return log_file(self.folder, NAMESPACE, self.program.name)

    async def _start(self) -> WorkloadProcess:
        program = self.program
        check_free(HOST, program.port)
        self._set("starting")
        spec = ProcessSpec(program.argv, program.env, Probe(program.path, timeout=2.0), program.port)
        return await WorkloadProcess.start(self.folder, NAMESPACE, program.name, program.digest, spec, ROOT)

    async def _until_ready(self, session: aiohttp.ClientSession, process: WorkloadProcess) -> bool:
        ended = asyncio.ensure_future(process.wait())
        deadline = time.monotonic() + START_SECONDS
        try:
            while not await probe(session, process.pod):
                if ended.done() or self._stopping:
                    return False
                if time.monotonic() > deadline:
                    log.warning("%s did not become ready within %.0f s", self.program.name, START_SECONDS)
                    await process.stop(5.0)
                    return False
                await asyncio.sleep(0.1)
            return not ended.done()
        finally:
            ended.cancel()

    def _set(self, state: ProcessState, message: str = "") -> None:
        self.state, self.message = state, message
        self.changed()


async def adopt(folder: Path, programs: list[Program]) -> dict[str, WorkloadProcess]:
    """What a killed supervisor left running, by name; what no longer matches is ended."""
    programs_by_name = {program.name: program for program in programs}
    adopted: dict[str, WorkloadProcess] = {}
    for process in find_left_behind(folder):
        program = programs_by_name.get(process.pod.revision)
        if program and process.pod.uid == program.digest and program.name not in adopted:
            log.info("adopting %s, process %d", program.name, process.pid)
            adopted[program.name] = process
        else:
            log.info("ending an old %s, process %d", process.pod.revision, process.pid)
            await process.stop(5.0)
            process.forget()
    return adopted
