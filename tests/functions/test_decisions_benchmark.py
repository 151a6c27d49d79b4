"""The simulation's quick form, held loosely to the targets of its full one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.decisions import QUICK, simulate
from benchmarks.results import Row

LOOSE = {
    "drift: false alarms, coding-mcqa": (0, 2),
    "drift: delay, 0.5 sd, coding-mcqa, median": (2, 4),
    "drift: delay, 0.3 sd, coding-mcqa, median": (2, 24),
    "gate: -5 points, promoted": (0, 0),
    "gate: +0 points, promoted": (0, 30),
    "gate: +8 points, promoted": (70, 100),
    "canary: equal, promoted": (70, 100),
    "canary: 5 points better, promoted": (80, 100),
    "canary: 5 points worse, promoted": (0, 30),
    "canary: 2% more errors, promoted": (0, 15),
}


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    return {row.name: row for row in simulate(QUICK)}


@pytest.mark.parametrize("name", LOOSE)
def test_target(rows: dict[str, Row], name: str) -> None:
    low, high = LOOSE[name]
    assert low <= rows[name].value <= high


def test_the_peers_raise_more_false_alarms(rows: dict[str, Row]) -> None:
    ours = rows["drift: false alarms, coding-mcqa"].value
    assert all(rows[f"drift: false alarms, {peer}"].value > ours for peer in ("alibi-detect", "Evidently"))


HEAVY = ("kserve", "mlflow", "kfp", "torch", "pandas", "scipy", "transformers")


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("functions.drift.decision", HEAVY),
        ("functions.rollout.decision", (*HEAVY, "numpy")),
        ("functions.rollout.analysis", (*HEAVY, "numpy")),
        ("pipelines.quality_gate", HEAVY),
    ],
)
def test_a_decision_imports_only_what_it_needs(module: str, forbidden: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([m for m in {forbidden!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
