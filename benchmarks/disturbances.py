"""What the kill script does besides killing: fills the disk of a loop, and steps its clock.

The product knows of neither. The disk is a tmpfs at the loop's folder, which requires the right to mount. The clock is
a small library (`stepped_clock.c`, built by the C compiler), preloaded into every process of the loop by
`benchmarks.stepped`: it moves CLOCK_REALTIME by the value in a file and leaves CLOCK_MONOTONIC alone, as setting a
machine's clock does. Written by hand because under libfaketime 0.9.10 time.sleep fails in Python 3.11.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).with_name("stepped_clock.c")
STEP_SECONDS = 3600


@dataclass
class Disk:
    """A file system of a size that can be filled; `problem` is why there is none, or ""."""

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
        completed = subprocess.run(command, capture_output=True, text=True, check=False)
        return cls(path, problem=completed.stderr.strip() if completed.returncode else "")

    def fill_for(self, seconds: float) -> None:
        """Takes all free space, and what is freed meanwhile, for so long; then gives it back."""
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
    library: Path
    offset: int = 0
    steps: list[int] = field(default_factory=list)

    @classmethod
    def build(cls, folder: Path) -> Clock | str:
        """The clock, with its files in `folder`; or why there is none."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            return "there is no C compiler"
        library = folder / "stepped_clock.so"
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
        completed = subprocess.run(command, capture_output=True, text=True, check=False)
        if completed.returncode:
            return f"it does not compile: {completed.stderr.strip()[:200]}"
        clock = cls(folder / "clock", library)
        clock.file.write_bytes(struct.pack("=q", 0))
        return clock

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use this clock."""
        return {"LD_PRELOAD": str(self.library), "STEPPED_CLOCK": str(self.file)}

    def step(self, rng: random.Random) -> int:
        """An hour back or forth, never further than one from the machine's time; the step in seconds."""
        offset = rng.choice([value for value in (-STEP_SECONDS, 0, STEP_SECONDS) if value != self.offset])
        step, self.offset = offset - self.offset, offset
        self.steps.append(step)
        with self.file.open("r+b") as file:  # in place: every process has this very file mapped
            file.write(struct.pack("=q", self.offset))
        return step


def in_background(disk: Disk, seconds: float) -> threading.Thread:
    """Fills the disk while the caller continues."""
    thread = threading.Thread(target=disk.fill_for, args=(seconds,), daemon=True)
    thread.start()
    return thread
