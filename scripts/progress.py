"""What setting up shows while it works: one line that is written over on a terminal, a line now and then elsewhere.

Standard library only. ASCII only, because nothing is known of the terminal yet.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

TICK_SECONDS = 0.2
PLAIN_SECONDS = 30.0
"""Between two lines where nobody watches."""


class Line:
    """The line of what goes on; `say` writes lines that stay."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream, self._told = stream, 0.0
        self._began = time.monotonic()
        self.live = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def say(self, text: str) -> None:
        self.clear()
        head = "\033[1msetup\033[0m" if self.live and "NO_COLOR" not in os.environ else "setup"
        print(f"{head} {self.elapsed()}  {text}", file=self._stream, flush=True)
        self._told = time.monotonic()

    def update(self, text: str) -> None:
        if self.live:
            width = shutil.get_terminal_size().columns
            shown = f"      {self.elapsed()}  {text}"
            # The last column stays free: a full line would wrap, and could not be written over any more.
            self._stream.write("\r" + (shown if len(shown) < width else shown[: max(0, width - 4)] + "...") + "\033[K")
            self._stream.flush()
        elif time.monotonic() - self._told > PLAIN_SECONDS:
            self.say(text)

    def clear(self) -> None:
        if self.live:
            self._stream.write("\r\033[K")
            self._stream.flush()

    def elapsed(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        return f"{minutes}:{seconds:02d}"


class Watched:
    """A command whose output is read line by line and kept in a log, while `state` is shown."""

    def __init__(self, log: Path) -> None:
        self.lines: list[str] = []
        self._log = log

    def run(
        self, command: Sequence[str], line: Line, state: Callable[[list[str]], str], env: Mapping[str, str], lock: int
    ) -> int:
        """Its exit status. The command has the descriptor `lock`, too: it holds the lock when we are killed."""
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
            errors="replace", env=dict(env), pass_fds=(lock,),
        )  # fmt: skip
        reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        reader.start()
        try:
            while process.poll() is None:
                line.update(state(self.lines))
                time.sleep(TICK_SECONDS)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        reader.join()
        line.clear()
        return process.returncode

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for text in process.stdout:
            self.lines.append(text.rstrip())
            try:
                with self._log.open("a", encoding="utf-8") as log:
                    log.write(text)
            except OSError:  # a full disk: what pip says of it is what counts
                pass


def pip_state(title: str, total: int, downloads: Path, packages: Path) -> Callable[[list[str]], str]:
    """What pip is at, by its output, by what lies in its temporary folder, and by what is installed."""
    before = len(list(packages.glob("*.dist-info")))

    def state(lines: list[str]) -> str:
        if any(one.startswith("Installing collected") for one in lines):
            new = len(list(packages.glob("*.dist-info"))) - before
            return f"{title}: unpacking" + (f", {min(max(0, new), total)} of {total}" if total > 1 else "")
        seen = sum(one.startswith(("Collecting", "Requirement already", "Processing")) for one in lines)
        there = size(downloads)
        counted = f" {min(seen, total)} of {total}" if total > 1 else ""
        return f"{title}:{counted}, {there / 1e6:,.0f} MB"

    return state


def size(folder: Path) -> int:
    """Bytes of the files below a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue
    return total
