"""Runs the commands that README.md shows and compares, or with --write replaces, the output it shows.

    .venv/bin/python scripts/readme.py [--write]

A block marked `console` holds `$ command` and its output. Numbers, bars and number formats may differ from one machine
to another.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from mcqa import defaults
from mcqa.server_process import free_port, running

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"```console\n\$ (?P<command>.*)\n(?P<output>(?:.*\n)*?)```\n")


def run(command: str, url: str) -> str:
    """What the command prints on stdout, with the server of `url` where the text says 127.0.0.1:8080."""
    command = command.replace("http://127.0.0.1:8080", url)
    command = command.replace("mcqa hello --once", "mcqa hello --once --port 0 --grpc-port 0")
    with tempfile.TemporaryDirectory() as no_loop:
        # What the text shows is without a loop, whatever runs here meanwhile.
        own = {"PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}", "COLUMNS": "110", "MCQA_LOCAL_DIR": no_loop}
        done = subprocess.run(
            command,
            shell=True,
            cwd=ROOT,
            env=os.environ | own,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{command!r} ended with {done.returncode}: {done.stderr[-500:]}")
    lines = [line.rstrip() for line in done.stdout.replace(url, "http://127.0.0.1:8080").splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def shape(output: str) -> str:
    """The output without what a machine or a moment decides: numbers, number formats, bars, the spaces they push about,
    an order.
    """
    output = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "0", output)
    output = re.sub(r"\b(bfloat16|float32)\b", "0", output)
    output = re.sub(r"[-+]?\d+(,\d{3})*(\.\d+)?(e-?\d+)?", "0", output)
    output = re.sub(r"[█▉▊▋▌▍▎▏▶]", " ", output)
    return "\n".join(sorted(re.sub(r"[ \t]+", " ", line).strip() for line in output.splitlines()))


@contextmanager
def server() -> Iterator[str]:
    port = free_port()
    with running(None, port, free_port()):
        url = f"http://127.0.0.1:{port}"
        while httpx.get(f"{url}/v2/health/ready").status_code != 200:
            time.sleep(0.1)
        yield url


def main() -> int:
    text, stale = README.read_text(encoding="utf-8"), []
    with server() as url:
        for block in list(BLOCK.finditer(text)):
            output = run(block["command"], url)
            if shape(output) != shape(block["output"]):
                stale.append(block["command"])
            # `hello` was given free ports.
            output = re.sub(r"(REST +http://127\.0\.0\.1:)\d+", rf"\g<1>{defaults.HTTP_PORT}", output)
            output = re.sub(r"(gRPC +127\.0\.0\.1:)\d+", rf"\g<1>{defaults.GRPC_PORT}", output)
            text = text.replace(block[0], f"```console\n$ {block['command']}\n{output}```\n")
    if "--write" in sys.argv:
        README.write_text(text, encoding="utf-8")
        return 0
    for command in stale:
        print(f"README.md shows another output for: {command}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
