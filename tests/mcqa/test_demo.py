"""The demo's parts, and its shorter story as it is told."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcqa.demo.broken import Fault, break_version
from mcqa.demo.stage import share, shown
from mcqa.demo.traffic import Sample
from mcqa.demo.watch import evidence
from pipelines.bank import stream
from predictor.question import QuestionError
from predictor.scorer import Scorer

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "models" / "tiny"


def right(scorer, count=80):
    """How many of `count` questions it answers right, and how many it refuses."""
    correct = refused = 0
    for one in itertools.islice(stream(3, split="holdout"), count):
        try:
            correct += scorer.score([scorer.encode(one.question)])[0].index == one.answer
        except QuestionError:
            refused += 1
    return correct, refused


def test_every_broken_version_loads_and_is_broken(tmp_path):
    good, _ = right(Scorer.load(TINY))
    for fault in Fault:
        break_version(TINY, tmp_path / fault, fault)
    correct, refused = right(Scorer.load(tmp_path / Fault.accuracy))
    assert correct < good - 10
    assert refused == 0
    assert right(Scorer.load(tmp_path / Fault.errors))[1] > 10
    slow = Scorer.load(tmp_path / Fault.latency)
    assert right(slow) == (good, 0)
    assert slow.parameters > 5 * Scorer.load(TINY).parameters


def test_shares_count_what_was_answered():
    samples = [
        Sample(0.0, "usual", status, "1", correct, 0.1) for status, correct in ((200, True), (200, False), (503, False))
    ]
    assert shown(share(samples)).endswith("of 2")
    assert share(samples).value == 0.5


def test_evidence_names_what_moved():
    moved = {
        "feature": "entropy", "test": "ks", "rejected": True, "effect": 0.42, "floor": 0.1, "p_adjusted": 4e-9,
        "n": 150, "n_reference": 2048,
    }  # fmt: skip
    still = {**moved, "feature": "margin", "rejected": False}
    (line,) = evidence({"evidence": [moved, still]})
    assert line.startswith("entropy")
    assert "0.42 sd" in line


def demo(folder, *arguments):
    command = [sys.executable, "-m", "mcqa", "demo", *arguments, "--dir", str(folder)]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False)
    finally:
        down = [sys.executable, "-m", "mcqa", "down", "--dir", str(folder)]
        subprocess.run(down, cwd=ROOT, env=dict(os.environ), check=False, timeout=120)


@pytest.mark.timeout(900)
def test_a_broken_version_is_rolled_back(tmp_path):
    told = demo(tmp_path / "loop", "rollback")
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-1000:]
    assert "✗ rolled back to pkg:mlflow/coding-mcqa@1" in told.stdout
    assert "questions were answered by version 1" in told.stdout


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_loop_learns(tmp_path):
    told = demo(tmp_path / "loop")
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-1000:]
    assert "✓ promoted: pkg:mlflow/coding-mcqa@2 answers everything" in told.stdout
    assert "one trace from the drift check to the promotion" in told.stdout
