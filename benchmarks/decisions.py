"""How good the loop's decisions are, simulated with the functions that decide: `python -m benchmarks.decisions`.

Drift: hourly checks of 200 answers against a reference of 1,000 measured answers, drawn again for every month (the
reference's own noise is part of what a detector has to cope with). A shift moves the latent difficulty that confidence,
margin and entropy share. On the same streams, each by its published defaults and with the hour as its window:

- alibi-detect's TabularDrift: Kolmogorov-Smirnov or chi-square per feature, drift when any p < 0.05 / features
  (p_val 0.05, correction "bonferroni"; docs.seldon.ai/alibi-detect/api-reference/cd/tabular);
- Evidently's DataDriftPreset: up to 1,000 reference rows Kolmogorov-Smirnov or chi-square per column at p < 0.05,
  drift of the data set when at least half of the columns drifted (docs.evidentlyai.com/reports/data-drift).

A false alarm is the start of one: flagged hours in a row count once.

Gate: 500 questions of the current mix and 500 of the old one, a fifth of them discordant, every guard measured.

Canary: 150 requests per minute, half of them with feedback, one analysis per minute, at most one day per step.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
from numpy.random import Generator  # noqa: E402

from benchmarks.results import Row, report  # noqa: E402
from functions.drift import decision as drift  # noqa: E402
from functions.drift.reference import Reference, summarise  # noqa: E402
from functions.drift.window import Window  # noqa: E402
from functions.rollout.analysis import AnalysisResult, analyse  # noqa: E402
from functions.rollout.evidence import Arm, StepEvidence  # noqa: E402
from pipelines.evaluation.answer_records import AnswerRecord  # noqa: E402
from pipelines.quality_gate import PairedAnswers, evaluate_gate  # noqa: E402

HOURS = 720
ANSWERS_PER_HOUR = 200
REFERENCE = 1000
SHIFTS = (0.2, 0.3, 0.5)

QUESTIONS = 500
DISCORDANCE = 0.2
IMPROVEMENTS = (-5, -2, 0, 2, 5, 8)

REQUESTS_PER_ANALYSIS = 150
FEEDBACK = 0.5
ANALYSES_PER_STEP = 1440
STEPS = (10, 25, 50)


@dataclass(frozen=True, slots=True)
class Size:
    """How often each part is repeated."""

    months: int
    delays: int
    gates: int
    canaries: int


FULL = Size(months=20, delays=60, gates=400, canaries=200)
QUICK = Size(months=1, delays=4, gates=12, canaries=8)


def answers(rng: Generator, n: int, shift: float = 0.0) -> tuple[dict[str, np.ndarray], list[str]]:
    """Answers as the predictor gives them: three features of one latent difficulty, two of their own, a letter."""

    def logistic(x: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-x)))

    ease = rng.normal(size=n) - shift
    noise = rng.normal(size=(4, n))
    features = {
        "confidence": 0.25 + 0.75 * logistic(0.8 + 1.2 * ease),
        "margin": logistic(0.3 + 1.4 * (0.97 * ease + 0.24 * noise[0])),
        "entropy": 1.386 * logistic(-0.5 - 1.3 * (0.97 * ease + 0.24 * noise[1])),
        "letter_mass": logistic(4 + 1.5 * noise[2]),
        "prompt_tokens": np.round(np.exp(4.8 + 0.35 * noise[3])),
    }
    return features, rng.choice(list("ABCD"), p=[0.27, 0.26, 0.25, 0.22], size=n).tolist()


class Detector:
    """The product's drift check, with its state and its open window."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._state = drift.State("1")
        self._window = Window(reference)

    def check(self, features: dict[str, np.ndarray], letters: list[str], hour: float) -> bool:
        self._window.add(features, letters)
        check = drift.evaluate(self._reference, self._window.summary(), self._state, hour)
        if check.state.since != self._state.since:
            self._window = Window(self._reference)
        self._state = check.state
        return check.alarm


def flags(reference: Reference, features: dict[str, np.ndarray], letters: list[str]) -> dict[str, bool]:
    """The peers' verdicts on one hour, from the same statistics."""
    window = Window(reference)
    window.add(features, letters)
    p_values = [e.p for e in drift.compare(reference, window.summary(), drift.Config())]
    return {
        "alibi-detect": min(p_values) < 0.05 / len(p_values),
        "Evidently": sum(p < 0.05 for p in p_values) >= len(p_values) / 2,
    }


def month(rng: Generator, shift: float = 0.0) -> dict[str, list[int]]:
    """The hours at which each detector raises an alarm; a shifted month ends when all have."""
    features, letters = answers(rng, REFERENCE)
    reference = summarise({name: values.tolist() for name, values in features.items()}, letters)
    detector = Detector(reference)
    alarms: dict[str, list[int]] = {"coding-mcqa": [], "alibi-detect": [], "Evidently": []}
    before: dict[str, bool] = {}
    for hour in range(1, HOURS + 1):
        hourly = answers(rng, ANSWERS_PER_HOUR, shift)
        current = {"coding-mcqa": detector.check(*hourly, hour), **flags(reference, *hourly)}
        for name, flagged in current.items():
            if flagged and not before.get(name, False):
                alarms[name].append(hour)
        before = current
        if shift and all(alarms.values()):
            break
    return alarms


def drift_rows(rng: Generator, size: Size) -> list[Row]:
    rows = []
    quiet = [month(rng) for _ in range(size.months)]
    for detector in quiet[0]:
        value = sum(len(m[detector]) for m in quiet) / size.months
        target = 1.0 if detector == "coding-mcqa" else None
        rows.append(Row(f"drift: false alarms, {detector}", value, "per month", at_most=target))
    for shift in SHIFTS:
        months = [month(rng, shift) for _ in range(size.delays)]
        for detector in months[0]:
            delays = [m[detector][0] if m[detector] else HOURS for m in months]
            rows.append(Row(f"drift: delay, {shift} sd, {detector}, median", float(np.median(delays)), "h"))
            if detector == "coding-mcqa":
                rows.append(Row("  its 90th percentile", float(np.quantile(delays, 0.9)), "h"))
    return rows


def pairs(rng: Generator, n: int, difference: float, discordance: float, accuracy: float = 0.6) -> PairedAnswers:
    """Both versions' records, with the challenger better by `difference` in expectation."""
    gained, lost = (discordance + difference) / 2, (discordance - difference) / 2
    kind = rng.choice(4, size=n, p=[accuracy - lost, lost, gained, 1 - accuracy - gained])
    right = rng.integers(0, 4, n)

    def records(correct: np.ndarray) -> tuple[AnswerRecord, ...]:
        confidence = np.clip(rng.beta(6, 4, size=n) + np.where(correct, 0.05, -0.08), 0.26, 0.98)
        chosen = np.where(correct, right, (right + rng.integers(1, 4, n)) % 4)
        rest = (1 - confidence) / 3
        rows = [tuple(float(confidence[i]) if k == chosen[i] else float(rest[i]) for k in range(4)) for i in range(n)]
        return tuple(AnswerRecord(str(i), "", int(right[i]), int(chosen[i]), rows[i], 0.99, 120) for i in range(n))

    return PairedAnswers(records(kind <= 1), records((kind == 0) | (kind == 2)))


def gate_rows(rng: Generator, size: Size) -> list[Row]:
    rows = []
    for points in IMPROVEMENTS:
        verdicts: Counter[str] = Counter()
        for _ in range(size.gates):
            seconds = rng.gamma(20, 0.01, QUESTIONS)
            times = (seconds.tolist(), (seconds * rng.normal(1, 0.05, QUESTIONS)).tolist())
            old = pairs(rng, QUESTIONS, 0.0, DISCORDANCE / 2)
            verdicts[evaluate_gate(pairs(rng, QUESTIONS, points / 100, DISCORDANCE), old, times).verdict] += 1
        share = {verdict: 100 * verdicts[verdict] / size.gates for verdict in ("pass", "inconclusive")}
        target = {-5: 1.0, -2: 1.0, 0: 5.0}.get(points)
        rows.append(Row(f"gate: {points:+d} points, promoted", share["pass"], "%", at_most=target))
        rows.append(Row("  inconclusive", share["inconclusive"], "%"))
    return rows


@dataclass(frozen=True, slots=True)
class Truth:
    """A version's true rates."""

    accuracy: float = 0.65
    errors: float = 0.005


def arrivals(rng: Generator, arm: Arm, requests: int, truth: Truth) -> Arm:
    """The arm after `requests` more."""
    failures = int(rng.binomial(requests, truth.errors))
    answered = requests - failures
    slow = int(rng.binomial(answered, 0.03))
    labelled = int(rng.binomial(answered, FEEDBACK))
    confidence = np.clip(truth.accuracy + 0.15 * rng.normal(size=labelled), 0.26, 0.99)
    right = rng.random(labelled) < confidence
    squares = (confidence - right) ** 2
    letters = rng.multinomial(answered, [0.25] * 4)
    return Arm(
        arm.requests + requests,
        arm.failures + failures,
        {20: arm.latencies.get(20, 0) + answered - slow, 30: arm.latencies.get(30, 0) + slow},
        {letter: arm.letters.get(letter, 0) + int(n) for letter, n in zip("ABCD", letters, strict=True)},
        arm.labelled + labelled,
        arm.correct + int(right.sum()),
        arm.squares + float(squares.sum()),
        arm.fourths + float((squares**2).sum()),
    )


def canary(rng: Generator, champion: Truth, challenger: Truth) -> tuple[str, float]:
    """("promoted", "rolled back" or "held", after how many minutes)."""
    done: list[StepEvidence] = []
    now = 0.0
    for percent in STEPS:
        since, arms = now, (Arm(), Arm())
        result: AnalysisResult | None = None
        for _ in range(ANALYSES_PER_STEP):
            now += 60.0
            share = int(rng.binomial(REQUESTS_PER_ANALYSIS, percent / 100))
            arms = (
                arrivals(rng, arms[0], REQUESTS_PER_ANALYSIS - share, champion),
                arrivals(rng, arms[1], share, challenger),
            )
            result = analyse([*done, StepEvidence(percent, since, *arms)], now)
            if result.verdict != "inconclusive":
                break
        if result is None or result.verdict != "pass":
            return ("rolled back" if result is not None and result.verdict == "fail" else "held"), now / 60
        done.append(StepEvidence(percent, since, *arms))
    return "promoted", now / 60


SCENARIOS: dict[str, tuple[Truth, float | None, float | None]] = {
    "equal": (Truth(), None, 90.0),
    "5 points better": (Truth(accuracy=0.70), None, 95.0),
    "2 points worse (within the margin)": (Truth(accuracy=0.63), None, None),
    "5 points worse": (Truth(accuracy=0.60), 5.0, None),
    "2% more errors": (Truth(errors=0.025), 5.0, None),
}


def canary_rows(rng: Generator, size: Size) -> list[Row]:
    rows = []
    for name, (challenger, at_most, at_least) in SCENARIOS.items():
        ends = [canary(rng, Truth(), challenger) for _ in range(size.canaries)]
        promoted = 100 * sum(end == "promoted" for end, _ in ends) / len(ends)
        rows.append(Row(f"canary: {name}, promoted", promoted, "%", at_least=at_least, at_most=at_most))
        rows.append(Row("  minutes until decided, median", float(np.median([m for _, m in ends])), "min"))
    return rows


PARTS: Sequence[tuple[str, Callable[[Generator, Size], list[Row]]]] = (
    ("drift", drift_rows),
    ("gate", gate_rows),
    ("canary", canary_rows),
)


def simulate(size: Size, seed: int = 0) -> list[Row]:
    """Every figure; each part has its own stream, so one can change without the others."""
    rows = []
    for number, (name, part) in enumerate(PARTS):
        start = time.perf_counter()
        rows += part(np.random.default_rng([seed, number]), size)
        print(f"  {name}: {time.perf_counter() - start:.0f} s", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few repetitions, seconds instead of minutes")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else FULL
    title = f"decisions: {size.months} months, {size.delays} shifts, {size.gates} gates, {size.canaries} canaries"
    report(title, simulate(size, arguments.seed))


if __name__ == "__main__":
    main()
