"""The embedded platform's Kubeflow-Pipelines-shaped API as a process of its own."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

from local.tokens import read_or_create_token

ROOT = Path(__file__).resolve().parents[1]

_FOLDER = Path(tempfile.mkdtemp(prefix="kfp-token-"))
atexit.register(shutil.rmtree, _FOLDER, True)
TOKEN = read_or_create_token(_FOLDER / "token")
"""What every server here asks for."""
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
ENVIRON = {"MCQA_KFP_TOKEN_PATH": str(_FOLDER / "token")}


class KfpServer:
    """`python -m local.pipelines` on a free port. `folder` holds its database, `log` its output.

    `environ` is what the server, and so every step, has in its environment beyond ours.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None, *options: str) -> None:
        self.folder = folder
        self.log = folder / "server.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._environ = {**os.environ, "OMP_NUM_THREADS": "1", **(environ or {})}
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers; AssertionError with its log when it does not within 60 s."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = (
            sys.executable, "-m", "local.pipelines", "--folder", str(self.folder), "--port", str(self.port),
            "--token-file", ENVIRON["MCQA_KFP_TOKEN_PATH"],
            *self._options,
        )  # fmt: skip
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while not self._healthy():
            assert self._process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def wait(self) -> None:
        """Until the server has ended."""
        if self._process:
            self._process.wait(60)

    def kill(self) -> None:
        """kill -9 of the server; its runs go on."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Ends the server and, of its runs, whatever is still there."""
        for run in self._unfinished():
            with contextlib.suppress(httpx2.HTTPError):
                httpx2.post(f"{self.url}/apis/v2beta1/runs/{run}:terminate", headers=HEADERS, timeout=10)
        deadline = time.monotonic() + 20
        while self._unfinished() and time.monotonic() < deadline:
            time.sleep(0.05)
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def _unfinished(self) -> list[str]:
        ids: list[str] = []
        for state in ("PENDING", "RUNNING", "CANCELING"):
            predicate = f'{{"predicates":[{{"operation":"EQUALS","key":"state","string_value":"{state}"}}]}}'
            query = {"filter": predicate, "page_size": "200"}
            with contextlib.suppress(httpx2.HTTPError):
                answer = httpx2.get(f"{self.url}/apis/v2beta1/runs", params=query, headers=HEADERS, timeout=10).json()
                ids += [run["run_id"] for run in answer.get("runs", [])]
        return ids

    def _healthy(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/apis/v2beta1/healthz", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False


@contextlib.contextmanager
def kfp_server(folder: Path, environ: Mapping[str, str] | None = None, *options: str) -> Iterator[KfpServer]:
    """A running server; `.url` is what `kfp.Client(host=…)` and KFP_ENDPOINT take. Its runs end with it."""
    server = KfpServer(folder, environ, *options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def make_client(url: str) -> Any:
    """kfp's own client."""
    import kfp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kfp.Client(host=url, existing_token=TOKEN)
