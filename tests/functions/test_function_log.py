"""The functions' log: one JSON object per line, whoever else writes at the same moment."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from functions.http import log


def test_lines_of_several_threads_stay_apart(capfd: pytest.CaptureFixture[str]) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: log("collect", f"recorded {number}"), range(4000)))
    finally:
        sys.setswitchinterval(interval)
    lines = [json.loads(line)["message"] for line in capfd.readouterr().err.splitlines()]
    assert sorted(lines) == sorted(f"recorded {number}" for number in range(4000))
