"""What the kill script does beside killing: fills the disk of a loop, and steps its clock.

Neither is anything that the product knows of. The disk is a tmpfs at the loop's folder, which takes the right to mount.
The clock is libfaketime's (Debian: `libfaketime`), preloaded into every process of the loop by `benchmarks.stepped`; it
reads its offset from a file, moves CLOCK_REALTIME and leaves CLOCK_MONOTONIC alone, as setting a machine's clock does.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
)
STEP_SECONDS = 3600


@dataclass
class Disk:
    """A file system of a size that can be filled; `mounted` is why there is none, or ""."""

    path: Path
    filled: int = 0
    problem: str = ""

    @classmethod
    def mount(cls, path: Path, size: str) -> Disk:
        path.mkdir(parents=True, exist_ok=True)
        program = shutil.which("mount")
        if program is None:
            return cls(path, problem="there is no mount")
        command = [program, "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return cls(path, problem=done.stderr.strip() if done.returncode else "")

    def fill_for(self, seconds: float) -> None:
        """Takes all room, and what is freed meanwhile, for so long; then gives it back."""
        self.filled += 1
        ballast = self.path / ".ballast"
        until = time.monotonic() + seconds
        try:
            with ballast.open("ab", buffering=0) as file:
                while time.monotonic() < until:
                    for size in (1 << 20, 1 << 12):
                        with contextlib.suppress(OSError):
                            while time.monotonic() < until:
                                file.write(bytes(size))
                    time.sleep(0.02)
        finally:
            ballast.unlink(missing_ok=True)

    def unmount(self) -> None:
        if not self.problem:
            subprocess.run(["umount", "-l", str(self.path)], check=False)


@dataclass
class Clock:
    """The offset of the loop's clock from the machine's, stepped by an hour back or forth."""

    file: Path
    library: str
    offset: int = 0
    steps: list[int] = field(default_factory=list)

    @classmethod
    def found(cls, file: Path) -> Clock | None:
        """None where libfaketime is not installed."""
        library = next((one for one in LIBRARIES if Path(one).exists()), "")
        if not library:
            return None
        clock = cls(file, library)
        clock._write()
        return clock

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to live by this clock."""
        return {
            "LD_PRELOAD": self.library,
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            "NO_FAKE_STAT": "1",
        }

    def step(self, chance: random.Random) -> int:
        """An hour back or forth, never further than one from the machine's time; the step in seconds."""
        to = chance.choice([value for value in (-STEP_SECONDS, 0, STEP_SECONDS) if value != self.offset])
        step, self.offset = to - self.offset, to
        self.steps.append(step)
        self._write()
        return step

    def _write(self) -> None:
        part = self.file.with_suffix(".part")
        part.write_text(f"{self.offset:+d}\n")
        os.replace(part, self.file)


def in_background(disk: Disk, seconds: float) -> threading.Thread:
    """Fills the disk while the caller goes on."""
    thread = threading.Thread(target=disk.fill_for, args=(seconds,), daemon=True)
    thread.start()
    return thread
