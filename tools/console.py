"""What a long tool prints while it works."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping, Sequence

from tools import process


class Console:
    """Lines with the tool's name and the seconds since its start; with `dry_run`, commands are printed and not run."""

    def __init__(self, tool: str, *, dry_run: bool = False) -> None:
        self._tool, self._began = tool, time.monotonic()
        self.dry_run = dry_run

    @property
    def seconds(self) -> int:
        return int(time.monotonic() - self._began)

    def say(self, message: str, *, to_stderr: bool = False) -> None:
        stream = sys.stderr if to_stderr else sys.stdout
        print(f"\033[1m[{self._tool} {self.seconds:4d}s]\033[0m {message}", file=stream, flush=True)

    def run(self, command: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
        if self.dry_run:
            self.show(command)
        else:
            process.run(command, env=env)

    def show(self, command: Sequence[str], **variables: str) -> None:
        """The command as a person would type it."""
        words = [f"{name}={shlex.quote(value) if value else ''}" for name, value in variables.items()]
        print(" ".join([*words, shlex.join(command)]), flush=True)
