"""The canary's verdict: challenger against champion on the same traffic, valid at any number of looks.

Each measure has a *margin*, the harm that may not remain possible when the step is left, and a *harm* that ends the
rollout when it is proven. pass: every measure is proven within its margin. fail: one is proven beyond its harm.
Otherwise inconclusive: wait for more evidence, and hold when the step's time is over. A version worse by a margin is
therefore promoted with probability <= `alpha_pass`, whatever the traffic, and an equal one rolled back with
probability <= the sum of `alpha_fail` over six measures.

Margins follow the exposure: at 10% of the traffic a harm five times as large costs the users the same as at 50%,
so early steps need little evidence and the last one the full margin (early margins are at most three times it).

Failures and slow answers are judged on the current step. Accuracy, calibration and letters need feedback, which is
scarce, so they use all steps of the rollout: differences are taken within a step, where both versions saw the same
mix of questions, and combined by their information (pooling the counts instead would compare different hours).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from functions.reasons import Closed
from functions.rollout.evidence import BUCKETS_PER_DOUBLING, Arm, StepEvidence, seconds_at
from functions.rollout.sequential import radius, rate_bounds
from functions.rollout.state import Verdict

MIN_STRATUM = 10


@dataclass(frozen=True, slots=True)
class Limit:
    """How much worse than the champion, as a share: `margin` must be excluded to pass, `harm` proven to fail."""

    margin: float
    harm: float

    def __post_init__(self) -> None:
        if not 0 <= self.harm <= self.margin or self.margin <= 0:
            raise ValueError(f"0 <= harm <= margin is needed, found {self.harm} and {self.margin}")


@dataclass(frozen=True, slots=True)
class Config:
    """The measures' limits at the last step, the errors allowed, and what a step needs at least.

    `slow` counts responses that take more than `slow_factor` times the champion's 95th percentile. `accuracy` in
    share of labelled answers, `calibration` in mean squared error of the confidence, `letters` in share of answers
    with one letter.
    """

    failures: Limit = Limit(0.02, 0.005)
    slow: Limit = Limit(0.05, 0.05)
    accuracy: Limit = Limit(0.05, 0.0)
    calibration: Limit = Limit(0.05, 0.05)
    letters: Limit = Limit(0.15, 0.15)
    slow_factor: float = 1.25
    alpha_pass: float = 0.05
    alpha_fail: float = 0.01
    min_requests: int = 100
    min_seconds: float = 300.0
    last_percent: int = 50
    max_widening: float = 3.0

    def widening(self, percent: int) -> float:
        """How many times its margin a measure has while the challenger's share is `percent`."""
        return max(1.0, min(self.last_percent / percent, self.max_widening))


class Guard(Closed):
    """What is measured, in the order of an analysis. A measure's name says more, for people."""

    SHARE = "share"
    FAILURES = "failures"
    LATENCY = "latency"
    ACCURACY = "accuracy"
    CALIBRATION = "calibration"
    LETTERS = "letters"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure: the challenger's value minus the champion's, signed so that above 0 is worse.

    `of` is what exactly was measured: the latency in milliseconds that counts as slow, or the letter that moved most;
    "" for the others, and before there is evidence. `low` and `high` are its bounds at `alpha_pass`; `n_*` the answers
    behind each.
    """

    guard: Guard
    of: str
    name: str
    verdict: Verdict
    champion: float
    challenger: float
    worse_by: float
    low: float
    high: float
    margin: float
    harm: float
    n_champion: int
    n_challenger: int


_Names = tuple[Guard, str, str]
"""The guard, what of it, and both as a name for people."""


@dataclass(frozen=True, slots=True)
class AnalysisResult:
    """The verdict, the measures or counts behind it as sentences (`details`), and all measures."""

    verdict: Verdict
    details: tuple[str, ...]
    measures: tuple[Measure, ...]

    @property
    def reason(self) -> str:
        return "; ".join(self.details)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "reason": self.reason}


def analyse(steps: Sequence[StepEvidence], now: float, config: Config = Config()) -> AnalysisResult:
    """The verdict on the last of `steps`, the rollout's steps so far in order (at least one)."""
    step = steps[-1]
    wide = config.widening(step.percent)
    measures = [_arrivals(step, config), _failures(step, wide, config), _slow(step, wide, config)]
    accuracy = _difference(Guard.ACCURACY, steps, config.accuracy, wide, config, _right, sign=-1)
    measures += [accuracy, _difference(Guard.CALIBRATION, steps, config.calibration, wide, config, _squares)]
    measures.append(_letters(steps, accuracy, config))
    if any(m.verdict == "fail" for m in measures):
        return _result("fail", measures)
    elapsed = max(0.0, now - step.since)
    if step.challenger.requests < config.min_requests or elapsed < config.min_seconds:
        detail = (
            f"{step.challenger.requests} of at least {config.min_requests} requests, "
            f"{elapsed:.0f} of at least {config.min_seconds:.0f} s at {step.percent}%"
        )
        return AnalysisResult("inconclusive", (detail,), tuple(measures))
    return _result("inconclusive" if any(m.verdict == "inconclusive" for m in measures) else "pass", measures)


def _result(verdict: Verdict, measures: Sequence[Measure]) -> AnalysisResult:
    """`verdict`, with the measures that led to it."""
    return AnalysisResult(verdict, tuple(_describe(m) for m in measures if m.verdict == verdict), tuple(measures))


def _arrivals(step: StepEvidence, config: Config) -> Measure:
    """Sample ratio mismatch: a revision that dies with its logger leaves no failures, only silence."""
    total = step.champion.requests + step.challenger.requests
    expected = step.percent / 100
    low, high = (
        expected - share for share in reversed(rate_bounds(step.challenger.requests, total, config.alpha_pass))
    )
    proven = expected - rate_bounds(step.challenger.requests, total, config.alpha_fail)[1]
    limit = Limit(expected / 2, expected / 2)
    values = [expected, step.challenger.requests / total if total else math.nan]
    counts = (step.champion.requests, step.challenger.requests)
    verdict = _verdict(proven, high, limit, 1.0)
    names = (Guard.SHARE, "", "share of requests")
    return _measure(names, verdict, values, values[0] - values[1], low, high, limit, 1.0, counts)


def _failures(step: StepEvidence, wide: float, config: Config) -> Measure:
    a, b = step.champion, step.challenger
    names = (Guard.FAILURES, "", "failures")
    return _rates(names, (a.failures, a.requests), (b.failures, b.requests), config.failures, wide, config)


def _slow(step: StepEvidence, wide: float, config: Config) -> Measure:
    a, b = step.champion, step.challenger
    threshold = _percentile_bucket(a, 0.95) + round(BUCKETS_PER_DOUBLING * math.log2(config.slow_factor))
    slower = [sum(count for k, count in arm.latencies.items() if k > threshold) for arm in (a, b)]
    limit = f"{seconds_at(threshold + 1) * 1000:.0f}" if a.latencies else ""
    names = (Guard.LATENCY, limit, f"responses over {limit} ms" if limit else "slow responses")
    return _rates(names, (slower[0], a.responses), (slower[1], b.responses), config.slow, wide, config)


def _percentile_bucket(arm: Arm, share: float) -> int:
    seen, needed = 0, share * sum(arm.latencies.values())
    for k in sorted(arm.latencies):
        seen += arm.latencies[k]
        if seen >= needed:
            return k
    return 0


def _rates(
    names: _Names, champion: tuple[int, int], challenger: tuple[int, int], limit: Limit, wide: float, config: Config
) -> Measure:
    """Both arms' exact bounds, half the error each (their difference then errs with at most the whole)."""

    def bounds(alpha: float) -> tuple[float, float]:
        (low_a, high_a), (low_b, high_b) = (rate_bounds(*arm, alpha / 2) for arm in (champion, challenger))
        return low_b - high_a, high_b - low_a

    low, high = bounds(config.alpha_pass)
    proven, _ = bounds(config.alpha_fail)
    values = [events / n if n else math.nan for events, n in (champion, challenger)]
    verdict = _verdict(proven, high, limit, wide)
    return _measure(names, verdict, values, values[1] - values[0], low, high, limit, wide, (champion[1], challenger[1]))


@dataclass(frozen=True, slots=True)
class _Mean:
    n: int
    total: float
    variance: float

    @property
    def value(self) -> float:
        return self.total / self.n if self.n else math.nan


def _share(count: int, n: int) -> _Mean:
    # One success and one failure added to the variance only: an arm without errors so far is not known exactly.
    p = (count + 1) / (n + 2)
    return _Mean(n, count, p * (1 - p))


def _right(arm: Arm) -> _Mean:
    return _share(arm.correct, arm.labelled)


def _squares(arm: Arm) -> _Mean:
    n, mean = arm.labelled, arm.squares / max(arm.labelled, 1)
    # A prior of two squared errors half a unit off, for the same reason.
    return _Mean(n, arm.squares, (max(arm.fourths - n * mean * mean, 0.0) + 0.5) / (n + 2))


def _combined(steps: Sequence[StepEvidence], mean: Callable[[Arm], _Mean]) -> tuple[float, float]:
    """(difference challenger - champion, its information), inverse-variance weighted over the steps."""
    score = information = 0.0
    for step in steps:
        a, b = mean(step.champion), mean(step.challenger)
        if min(a.n, b.n) < MIN_STRATUM:
            continue
        weight = 1 / (a.variance / a.n + b.variance / b.n)
        score += weight * (b.value - a.value)
        information += weight
    return (score / information if information else 0.0), information


def _totals(steps: Sequence[StepEvidence], mean: Callable[[Arm], _Mean]) -> tuple[list[float], tuple[int, int]]:
    """Each version's plain mean and count over all steps: for people, the test compares within steps."""
    values, counts = [], []
    for arms in ([s.champion for s in steps], [s.challenger for s in steps]):
        means = [mean(arm) for arm in arms]
        n = sum(m.n for m in means)
        values.append(math.fsum(m.total for m in means) / n if n else math.nan)
        counts.append(n)
    return values, (counts[0], counts[1])


def _difference(
    guard: Guard,
    steps: Sequence[StepEvidence],
    limit: Limit,
    wide: float,
    config: Config,
    mean: Callable[[Arm], _Mean],
    sign: int = 1,
) -> Measure:
    difference, information = _combined(steps, mean)
    worse = sign * difference
    target = target_information(limit.margin)
    spread = radius(information, target, config.alpha_pass)
    proven = worse - radius(information, target, config.alpha_fail)
    low, high = worse - spread, worse + spread
    values, counts = _totals(steps, mean)
    names = (guard, "", str(guard))
    return _measure(names, _verdict(proven, high, limit, wide), values, worse, low, high, limit, wide, counts)


def _letters(steps: Sequence[StepEvidence], accuracy: Measure, config: Config) -> Measure:
    """The letter whose share moved most. A shift is excused by accuracy proven better: it may be the loss of a bias."""
    letters = sorted({letter for s in steps for arm in (s.champion, s.challenger) for letter in arm.letters})
    limit, target = config.letters, target_information(config.letters.margin)
    names = (Guard.LETTERS, "", "letters")
    worst = _measure(names, "inconclusive", [math.nan] * 2, 0.0, -math.inf, math.inf, limit, 1.0, (0, 0))
    verdicts: list[Verdict] = []
    for letter in letters:

        def share(arm: Arm, letter: str = letter) -> _Mean:
            return _share(arm.letters.get(letter, 0), sum(arm.letters.values()))

        difference, information = _combined(steps, share)
        worse = abs(difference)
        spread = radius(information, target, config.alpha_pass)
        proven = worse - radius(information, target, config.alpha_fail / (2 * len(letters)))
        verdict = _verdict(proven, worse + spread, limit, 1.0)
        verdicts.append("pass" if accuracy.high < 0 else verdict)
        if worse >= worst.worse_by:
            values, counts = _totals(steps, share)
            low, high = worse - spread, worse + spread
            names = (Guard.LETTERS, letter, f"letter {letter}")
            worst = _measure(names, verdict, values, worse, low, high, limit, 1.0, counts)
    for verdict in ("fail", "inconclusive", "pass"):
        if verdict in verdicts:
            return replace(worst, verdict=verdict)
    return worst


def target_information(margin: float) -> float:
    """The information at which the bounds are tightest: where an equal challenger is typically decided."""
    return (2.7 / margin) ** 2


def _verdict(proven: float, high: float, limit: Limit, wide: float) -> Verdict:
    if proven > limit.harm:
        return "fail"
    return "pass" if high < limit.margin * wide else "inconclusive"


def _measure(
    names: _Names,
    verdict: Verdict,
    values: Sequence[float],
    worse_by: float,
    low: float,
    high: float,
    limit: Limit,
    wide: float,
    counts: tuple[int, int],
) -> Measure:
    bounds = (low, high, limit.margin * wide, limit.harm)
    return Measure(*names, verdict, values[0], values[1], worse_by, *bounds, *counts)


def _describe(m: Measure) -> str:
    if m.n_champion == 0 or m.n_challenger == 0:
        return f"{m.name}: no evidence yet"
    return (
        f"{m.name} {m.challenger:.3f} against {m.champion:.3f}: worse by {m.worse_by:+.3f} "
        f"({max(m.low, -1):+.3f} to {min(m.high, 1):+.3f}), margin {m.margin:.3f}, "
        f"n {m.n_challenger} and {m.n_champion}"
    )
