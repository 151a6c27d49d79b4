"""Runs the commands that README.md and pages in docs/ show, and compares or, with --write, replaces the output shown.

    .venv/bin/python -m tools.readme [--write]

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

import httpx2

from mcqa import defaults
from mcqa.server_process import free_port, running
from tools.project import ROOT

README = ROOT / "README.md"
BLOCK = re.compile(r"```console\n\$ (?P<command>.*)\n(?P<output>(?:.*\n)*?)```\n")


def pages() -> list[Path]:
    """README.md and the pages in docs/ that show a command with its output."""
    return [path for path in [README, *sorted((ROOT / "docs").glob("*.md"))] if BLOCK.search(path.read_text("utf-8"))]


def run(command: str, url: str) -> str:
    """What the command prints on stdout, with the server at `url` where the page says 127.0.0.1:8080."""
    command = command.replace("http://127.0.0.1:8080", url)
    command = command.replace("mcqa quickstart --once", "mcqa quickstart --once --port 0 --grpc-port 0")
    with tempfile.TemporaryDirectory() as no_loop:
        # The pages show output without a loop, whatever else runs on this machine.
        own = {"PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}", "COLUMNS": "110", "MCQA_LOCAL_DIR": no_loop}
        completed = subprocess.run(
            command,
            shell=True,
            cwd=ROOT,
            env=os.environ | own,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    if completed.returncode:
        raise RuntimeError(f"{command!r} ended with {completed.returncode}: {completed.stderr[-500:]}")
    lines = [line.rstrip() for line in completed.stdout.replace(url, "http://127.0.0.1:8080").splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def shape(output: str) -> str:
    """The output without what depends on the machine or the moment: numbers, number formats, bars, the spaces that they
    shift, an order.
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
        while httpx2.get(f"{url}/v2/health/ready").status_code != 200:
            time.sleep(0.1)
        yield url


def refreshed(text: str, url: str) -> tuple[str, list[str]]:
    """A page with the output that its commands have, and the commands whose output it does not show."""
    outdated = []
    for block in list(BLOCK.finditer(text)):
        output = run(block["command"], url)
        if shape(output) != shape(block["output"]):
            outdated.append(block["command"])
        # `quickstart` was given free ports.
        output = re.sub(r"(REST +http://127\.0\.0\.1:)\d+", rf"\g<1>{defaults.HTTP_PORT}", output)
        output = re.sub(r"(gRPC +127\.0\.0\.1:)\d+", rf"\g<1>{defaults.GRPC_PORT}", output)
        text = text.replace(block[0], f"```console\n$ {block['command']}\n{output}```\n")
    return text, outdated


def main(arguments: list[str]) -> int:
    write, status = "--write" in arguments, 0
    with server() as url:
        for path in pages():
            text, outdated = refreshed(path.read_text(encoding="utf-8"), url)
            if write:
                path.write_text(text, encoding="utf-8")
                continue
            for command in outdated:
                status = 1
                print(f"{path.relative_to(ROOT)} shows another output for: {command}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
