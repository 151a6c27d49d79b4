"""A disk of its own for a test, small enough to be filled; and other ways in which writing fails for a while."""

from __future__ import annotations

import contextlib
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

BALLAST = "ballast"


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system of limited size, mounted at `path`."""

    path: Path

    def fill(self) -> None:
        """Takes every byte there is; what another process frees meanwhile too."""
        with (self.path / BALLAST).open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                try:
                    file.write(bytes(1 << 20))
                except OSError:
                    file.write(bytes(1 << 10))

    def empty(self) -> None:
        (self.path / BALLAST).unlink(missing_ok=True)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        self.fill()
        try:
            yield
        finally:
            self.empty()


@contextlib.contextmanager
def disk(path: Path, size: str, inodes: int = 0) -> Iterator[Disk]:
    """A tmpfs of this size at `path`; the test is skipped where mounting is not permitted."""
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={size}" + (f",nr_inodes={inodes}" if inodes else "")
    mount = shutil.which("mount")
    done = subprocess.run(
        [mount or "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)],
        capture_output=True, text=True, check=False,
    ) if mount else None  # fmt: skip
    if done is None or done.returncode:
        pytest.skip(f"no disk to fill: mount is not permitted here ({done.stderr.strip() if done else 'no mount'})")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=False)


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process's write lock on a SQLite file."""
    with contextlib.closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def limited(pid: int, limit: int, soft: int) -> Iterator[None]:
    """A process under a lower limit of the kernel's: RLIMIT_FSIZE makes its writes fail, RLIMIT_NOFILE its opens."""
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (soft, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, limit, before)


def open_files(pid: int) -> int:
    return max(int(descriptor.name) for descriptor in Path(f"/proc/{pid}/fd").iterdir()) + 1
