"""What setting up shows while it works: on a terminal one line that is overwritten, elsewhere a line now and then.

Standard library only. ASCII only, because nothing is known about the terminal yet.
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
"""Between two lines where the output is not a terminal."""


class ProgressLine:
    """The line that is overwritten; `say` writes lines that stay."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream, self._printed = stream, 0.0
        self._began = time.monotonic()
        self.live = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def say(self, text: str) -> None:
        self.clear()
        head = "\033[1msetup\033[0m" if self.live and "NO_COLOR" not in os.environ else "setup"
        print(f"{head} {self.elapsed()}  {text}", file=self._stream, flush=True)
        self._printed = time.monotonic()

    def update(self, text: str) -> None:
        if self.live:
            width = shutil.get_terminal_size().columns
            shown = f"      {self.elapsed()}  {text}"
            # The last column stays free: a full line would wrap, and could not be overwritten any more.
            self._stream.write("\r" + (shown if len(shown) < width else shown[: max(0, width - 4)] + "...") + "\033[K")
            self._stream.flush()
        elif time.monotonic() - self._printed > PLAIN_SECONDS:
            self.say(text)

    def clear(self) -> None:
        if self.live:
            self._stream.write("\r\033[K")
            self._stream.flush()

    def elapsed(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        return f"{minutes}:{seconds:02d}"


class WatchedCommand:
    """A command whose output is read line by line and kept in a log, while `state` is shown."""

    def __init__(self, log: Path) -> None:
        self.lines: list[str] = []
        self._log = log

    def run(
        self,
        command: Sequence[str],
        line: ProgressLine,
        state: Callable[[list[str]], str],
        env: Mapping[str, str],
        lock: int,
    ) -> int:
        """Its exit status. The command inherits the descriptor `lock`: it holds the lock when we are killed."""
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
            except OSError:  # a full disk, which pip reports
                pass


def pip_state(title: str, total: int, downloads: Path, packages: Path) -> Callable[[list[str]], str]:
    """What pip is doing, by its output, by what is in its temporary folder, and by what is installed."""
    before = len(list(packages.glob("*.dist-info")))

    def state(lines: list[str]) -> str:
        if any(line.startswith("Installing collected") for line in lines):
            new = len(list(packages.glob("*.dist-info"))) - before
            return f"{title}: unpacking" + (f", {min(max(0, new), total)} of {total}" if total > 1 else "")
        collected = sum(line.startswith(("Collecting", "Requirement already", "Processing")) for line in lines)
        downloaded = folder_size(downloads)
        counted = f" {min(collected, total)} of {total}" if total > 1 else ""
        return f"{title}:{counted}, {downloaded / 1e6:,.0f} MB"

    return state


def folder_size(folder: Path) -> int:
    """Bytes of the files below a folder."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).lstat().st_size
            except OSError:
                continue
    return total
