"""A step's log has a limit, whoever is still writing to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from local.pipelines import logs


def test_only_the_end_of_a_long_log_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "step.log"
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(1000)))
    logs.trim(path, most=10_000, kept=100)
    assert path.read_bytes().startswith(b"line 0\n")
    with path.open("ab") as writer:
        logs.trim(path, most=1000, kept=100)
        writer.write(b"the writer goes on\n")
    lines = path.read_text().splitlines()
    assert lines[0] == "[the first 8,791 bytes of this log were dropped]"
    assert lines[-2:] == ["line 999", "the writer goes on"]
    assert lines[1].startswith("line 98")


@pytest.mark.usefixtures("processes")
def test_a_step_that_writes_without_end_does_not_fill_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "step.log"
    program = (
        "import sys, time\n"
        "for _ in range(60):\n"
        "    sys.stdout.buffer.write(b'x' * 999_999 + b'\\n'); sys.stdout.flush(); time.sleep(0.03)\n"
        "print('done')"
    )
    with path.open("ab") as log:
        process = subprocess.Popen([sys.executable, "-c", program], stdout=log)
    assert logs.wait_and_trim(process, path) == 0
    logs.trim(path)
    assert path.stat().st_size <= logs.MAX_BYTES
    assert logs.excerpt(path).endswith("done")
