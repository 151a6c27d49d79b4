from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import httpx2
import pytest

from common.question import Answer
from mcqa import server_process
from mcqa.errors import CommandError
from mcqa.quickstart import find_disagreement

pytestmark = pytest.mark.usefixtures("processes")

ANSWER = Answer("B", 1, "y", (0.25, 0.75), 0.75, 0.5, 0.56, 0.9, 12, "7")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (ANSWER, None),
        (replace(ANSWER, probabilities=(0.2501, 0.7499)), None),
        (replace(ANSWER, letter="A"), "v2 REST answers A where v1 REST answers B"),
        (replace(ANSWER, probabilities=(0.3, 0.7)), "v2 REST gives A 0.3000 where v1 REST gives 0.2500"),
    ],
)
def test_what_differs_is_said(other: Answer, says: str | None) -> None:
    assert find_disagreement({"v1 REST": ANSWER, "v2 REST": other}) == says


def test_a_port_in_use_is_named_with_its_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(CommandError, match=rf"port {port} is in use.*--grpc-port"):
            server_process.claim_port(port, "--grpc-port")
        other = server_process.claim_port(None, "--grpc-port", port)
        assert other != port
        stderr = capsys.readouterr().err
        assert f"port {port} is in use" in stderr
        assert f"using {other} (--grpc-port chooses another)" in stderr
    assert server_process.claim_port(port, "--port") == port
    assert server_process.claim_port(0, "--port") > 0
    assert server_process.claim_port(None, "--port", port) == port
    with pytest.raises(CommandError, match=r"port 70000 is not a port.*--port"):
        server_process.claim_port(70000, "--port")


def test_a_server_that_cannot_start_says_why() -> None:
    ports = server_process.free_port(), server_process.free_port()
    with (
        pytest.raises(CommandError, match=r"the server exited with code .*no-such-model"),
        server_process.running("/no-such-model", *ports),
    ):
        pass


def _quickstart(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mcqa", "quickstart", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "160", "PYTHONUNBUFFERED": "1"},
    )


def test_once_tells_the_whole_story_and_ends() -> None:
    with _quickstart("--once", "--seed", "1", "--port", "0", "--grpc-port", "0") as process:
        shown, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    for piece in ("coding-mcqa is ready", "v1 REST", "v2 REST", "v2 gRPC", "the three protocols agree", "hf://Qwen/"):
        assert piece in shown
    assert "✓ right" in shown or "✗ wrong" in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_on_until_it_is_told_to_end(number: signal.Signals) -> None:
    port = server_process.free_port()
    with _quickstart("--port", str(port), "--grpc-port", "0") as process:
        assert process.stdout
        curl = ""
        for line in process.stdout:
            curl = line.strip() if line.strip().startswith("curl") else curl
            if line.startswith("serving"):
                break
        if shutil.which("curl"):
            answer = subprocess.run(curl, shell=True, capture_output=True, check=True).stdout
            assert json.loads(answer)["predictions"][0]["letter"] in "ABCD"
        assert httpx2.get(f"http://127.0.0.1:{port}/v2/models/coding-mcqa/ready").status_code == 200
        process.send_signal(number)
        assert process.wait(60) == (0 if number == signal.SIGINT else 128 + number)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:  # nothing is left behind
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return
    pytest.fail(f"something still listens on {port}")
