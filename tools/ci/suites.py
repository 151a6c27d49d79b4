"""Runs one test suite and writes JUnit and coverage reports to build/reports."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import StrEnum

from tools import process
from tools.project import ROOT

REPORTS = "build/reports"
NOTHING_COLLECTED = 5
FLOORS = {"unit": 58, "integration": 0}
"""The least line coverage in percent, some points below what was measured (unit: 62)."""
PARTS = (("predictor", ("tests/predictor",)), ("others", ("tests", "--ignore", "tests/predictor")))
"""Two pytest processes: tritonclient (tests/predictor) and kserve (the others) register the same protobuf names."""


class Suite(StrEnum):
    UNIT = "unit"
    INTEGRATION = "integration"


MARKERS = {Suite.UNIT: "not soak and not integration", Suite.INTEGRATION: "not soak and integration"}


def run(suite: Suite, options: Sequence[str]) -> int:
    """The last failed part's exit status; every part runs, so that a report says everything that is wrong.

    The unit tests also fail below a floor of line coverage. The integration tests run most of the
    product in other processes, where it is not measured.
    """
    (ROOT / REPORTS).mkdir(parents=True, exist_ok=True)
    data = f"{REPORTS}/.coverage-{suite}"
    (ROOT / data).unlink(missing_ok=True)
    # Several servers share the cores: threads that wait must not hold them (predictor/openmp.py).
    env = {"OMP_WAIT_POLICY": "passive", **os.environ, "COVERAGE_FILE": data}
    failed = 0
    for name, paths in PARTS:
        command = [sys.executable, "-m", "pytest", "-m", MARKERS[suite]]
        command += [f"--junit-xml={REPORTS}/junit-{suite}-{name}.xml", "-o", f"junit_suite_name={suite}-{name}"]
        command += ["--cov", "--cov-append", "--cov-report=", *paths, *options]
        status = process.status(command, env=env)
        if status not in (0, NOTHING_COLLECTED):
            failed = status
    coverage = [sys.executable, "-m", "coverage"]
    process.run([*coverage, "xml", "--quiet", "-o", f"{REPORTS}/coverage-{suite}.xml"], env=env)
    report = [*coverage, "report", "--format=total", f"--fail-under={FLOORS[suite]}"]
    print("line coverage, in percent: ", end="", flush=True)
    below = process.status(report, env=env)
    return failed or below
