"""The demo's parts, and its shorter scenario as it is narrated."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from common.proportions import wilson
from common.question import QuestionError
from mcqa.demo.faults import Fault, inject_fault
from mcqa.demo.rate_control import MIN_RATE, next_rate
from mcqa.demo.scenario import accuracy, compare, format_share
from mcqa.demo.traffic import Sample
from mcqa.demo.wait_policy import WaitPolicy
from mcqa.demo.watcher import evidence
from pipelines.bank import stream
from predictor.scorer import Scorer

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "models" / "tiny"


def right(scorer: Scorer, count: int = 80) -> tuple[int, int]:
    """How many of `count` questions it answers right, and how many it refuses."""
    correct = refused = 0
    for labelled in itertools.islice(stream(3, split="holdout"), count):
        try:
            correct += scorer.score([scorer.encode(labelled.question)])[0].index == labelled.answer
        except QuestionError:
            refused += 1
    return correct, refused


def test_every_broken_version_loads_and_is_broken(tmp_path: Path) -> None:
    good, _ = right(Scorer.load(TINY))
    for fault in Fault:
        inject_fault(TINY, tmp_path / fault, fault)
    correct, refused = right(Scorer.load(tmp_path / Fault.accuracy))
    assert correct < good - 10
    assert refused == 0
    assert right(Scorer.load(tmp_path / Fault.errors))[1] > 10
    slow = Scorer.load(tmp_path / Fault.latency)
    assert right(slow) == (good, 0)
    assert slow.parameters > 5 * Scorer.load(TINY).parameters


def test_shares_count_what_was_answered() -> None:
    samples = [
        Sample(0.0, "usual", status, "1", correct, 0.1) for status, correct in ((200, True), (200, False), (503, False))
    ]
    assert format_share(accuracy(samples)).endswith("of 2")
    assert accuracy(samples).value == 0.5


@pytest.mark.parametrize(
    ("old", "new", "failed", "better", "says"),
    [
        ((350, 1000), (160, 300), 0, True, r"\+18\.3 points \(\+11\.9 to \+24\.6\)"),
        ((350, 1000), (110, 300), 0, False, "not shown to be better"),
        ((350, 1000), (60, 300), 0, False, "not shown to be better"),
        ((350, 1000), (5, 5), 0, False, "too few answers"),
        ((2, 5), (160, 300), 0, False, "too few answers"),
        ((350, 1000), (160, 300), 5200, False, "were not answered"),
    ],
)
def test_a_tick_needs_answers_and_an_interval_above_zero(
    old: tuple[int, int], new: tuple[int, int], failed: int, better: bool, says: str
) -> None:
    is_better, sentence = compare(wilson(*old), wilson(*new), failed, 1300 + failed)
    assert is_better is better
    assert re.search(says, sentence), sentence


@pytest.mark.parametrize(
    ("latencies", "unanswered", "in_flight", "expected"),
    [
        ([0.05] * 10, 0, 1, 11.0),
        ([], 0, 0, 11.0),
        ([0.05] * 10, 1, 1, 7.0),
        ([2.0] * 10, 0, 5, 7.0),
        ([2.0] * 4 + [0.1] * 6, 0, 5, 11.0),
        ([], 0, 21, 7.0),
    ],
)
def test_the_rate_follows_what_is_answered(
    latencies: list[float], unanswered: int, in_flight: int, expected: float
) -> None:
    assert next_rate(10.0, 25.0, latencies, unanswered, in_flight) == pytest.approx(expected)


def test_the_rate_stays_within_its_bounds() -> None:
    fast = slow = 10.0
    for _ in range(50):
        fast, slow = next_rate(fast, 25.0, [0.1], 0, 0), next_rate(slow, 25.0, [9.0], 1, 99)
    assert (fast, slow) == (25.0, MIN_RATE)


def test_waiting_follows_the_machine_not_the_clock() -> None:
    policy = WaitPolicy(180, 120, 4000)
    assert policy.reason_to_give_up(3600, 5, 3000) is None  # slow, but getting there
    assert policy.reason_to_give_up(60, 5, 5000) is None  # fast
    assert "within 5000 answers" in (policy.reason_to_give_up(200, 5, 5000) or "")
    assert "no progress for 181 s" in (policy.reason_to_give_up(200, 181, 10) or "")
    assert WaitPolicy(360).reason_to_give_up(86400, 100, 10**6) is None


def test_evidence_names_what_moved() -> None:
    moved = {
        "feature": "entropy", "test": "ks", "rejected": True, "effect": 0.42, "floor": 0.1, "p_adjusted": 4e-9,
        "n": 150, "n_reference": 2048,
    }  # fmt: skip
    still = {**moved, "feature": "margin", "rejected": False}
    (line,) = evidence({"evidence": [moved, still]})
    assert line.startswith("entropy")
    assert "0.42 sd" in line


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mcqa", "demo", *arguments, "--dir", str(folder)]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False)
    finally:
        down = [sys.executable, "-m", "mcqa", "down", "--dir", str(folder)]
        subprocess.run(down, cwd=ROOT, env=dict(os.environ), check=False, timeout=120)


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(900)
def test_a_broken_version_is_rolled_back(tmp_path: Path) -> None:
    done = demo(tmp_path / "loop", "rollback")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "✗ rolled back to pkg:mlflow/coding-mcqa@1" in done.stdout
    assert "questions were answered by version 1" in done.stdout


@pytest.mark.usefixtures("processes")
@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_loop_learns(tmp_path: Path) -> None:
    done = demo(tmp_path / "loop")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "✓ promoted: pkg:mlflow/coding-mcqa@2 answers everything" in done.stdout
    assert "one trace from the drift check to the promotion" in done.stdout
