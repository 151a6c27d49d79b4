"""A workload's process: started in its own process group, found again after a kill of the platform, stopped gracefully.

A pod has two files: `<pod>.json`, written before the start, and `<pod>.pid`, which a shell writes about itself before
it becomes the workload, so a running workload is never unknown. The environment contains the pod's name, which
distinguishes the process from a later one with the same number.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp

from local.serving.process_spec import Probe, ProcessSpec

POD_VARIABLE = "EMBEDDED_POD"
MAX_LOG = 16 * 1024 * 1024
_LAUNCH = 'echo $$ > "$0" && exec "$@"'
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Pod:
    """A workload as recorded on the disk."""

    name: str
    namespace: str
    revision: str
    uid: str
    port: int
    probe: Probe


class WorkloadProcess:
    """A workload's process, started by us or adopted."""

    def __init__(self, folder: Path, pod: Pod, pid: int = 0) -> None:
        self.pod = pod
        self.pid = pid
        self._folder = folder
        self._child: asyncio.subprocess.Process | None = None

    @classmethod
    async def start(
        cls, folder: Path, namespace: str, revision: str, uid: str, spec: ProcessSpec, cwd: Path
    ) -> WorkloadProcess:
        """Starts it; OSError if that is impossible. Its output goes to `logs/<namespace>/<revision>.log`."""
        pod = Pod(f"{revision}-{secrets.token_hex(4)}", namespace, revision, uid, spec.port, spec.probe)
        process = cls(folder, pod)
        (folder / "pods").mkdir(parents=True, exist_ok=True)
        process._file("json").write_text(json.dumps(asdict(pod)))
        env = {**spec.env, POD_VARIABLE: pod.name}
        with open_log(log_file(folder, namespace, revision)) as log:
            process._child = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", _LAUNCH, str(process._file("pid")), *spec.argv,
                cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        process.pid = process._child.pid
        return process

    def alive(self) -> bool:
        return bool(self.pid) and _is_pod(self.pid, self.pod.name)

    async def wait(self) -> int | None:
        """Its exit status once it has ended; None for an adopted one, whose status is unknown."""
        if self._child:
            return await self._child.wait()
        while self.alive():  # noqa: ASYNC110 - an adopted process is not our child
            await asyncio.sleep(_POLL_SECONDS)
        return None

    async def stop(self, grace: float) -> None:
        """SIGTERM, `grace` seconds, SIGKILL; both to the whole process group."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await self.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self.wait()

    def forget(self) -> None:
        """After it has ended: kills what is left of its group and deletes its files."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with suppress(OSError):  # remaining files are cleaned up at the next start
            for suffix in ("json", "pid"):
                self._file(suffix).unlink(missing_ok=True)

    def _signal(self, signal_number: int) -> None:
        if self._child is None and not self.alive():
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal_number)

    def _file(self, suffix: str) -> Path:
        return self._folder / "pods" / f"{self.pod.name}.{suffix}"


def find_left_behind(folder: Path) -> Iterator[WorkloadProcess]:
    """The live workloads of a platform that was killed; removes the files of dead ones."""
    for path in sorted((folder / "pods").glob("*.json")):
        try:
            data: dict[str, Any] = json.loads(path.read_text())
            probe = Probe(**{**data["probe"], "headers": tuple(map(tuple, data["probe"]["headers"]))})
            pod = Pod(**{**data, "probe": probe})
        except (ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)
            continue
        try:
            pid = int(path.with_suffix(".pid").read_text())
        except (OSError, ValueError):
            pid = 0
        process = WorkloadProcess(folder, pod, pid)
        if process.alive():
            yield process
        else:
            for suffix in (".json", ".pid"):
                path.with_suffix(suffix).unlink(missing_ok=True)


def log_file(folder: Path, namespace: str, revision: str) -> Path:
    return folder / "logs" / namespace / f"{revision}.log"


def open_log(path: Path) -> Any:
    """Opens a log to append to; beyond MAX_LOG a new one is started and the last one kept as `.1`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > MAX_LOG:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def last_lines(path: Path, count: int = 3) -> str:
    """The end of a log, on one line."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 4096))
            lines = log.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return " | ".join([line.strip() for line in lines if line.strip()][-count:])[:500]


async def probe(session: aiohttp.ClientSession, pod: Pod) -> bool:
    """Whether a pod is ready now."""
    check = pod.probe
    try:
        async with asyncio.timeout(check.timeout):
            if not check.path:
                _, writer = await asyncio.open_connection("127.0.0.1", pod.port)
                writer.close()
                return True
            headers: Mapping[str, str] = {"user-agent": "kube-probe/1.32", **dict(check.headers)}
            url = f"http://127.0.0.1:{pod.port}{check.path}"
            async with session.get(url, headers=headers, allow_redirects=False) as response:
                return 200 <= response.status < 400
    except (TimeoutError, OSError, aiohttp.ClientError, ValueError):
        return False


def _is_pod(pid: int, name: str) -> bool:
    entry = f"{POD_VARIABLE}={name}"
    try:
        return entry.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        if Path("/proc/self/environ").exists():
            return False
    environment = subprocess.run(["ps", "eww", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return entry in environment.split()
