"""Is it drift? Compares one window of answers with the champion version's own reference.

A feature is rejected when its difference is both *significant* (adjusted p) and *large* (effect floor): with 20,000
answers a shift of 0.03 standard deviations is significant, and nobody should retrain for it. The floor alone would not
do either: with 100 answers, noise alone is that large.

Large is relative to the reference's spread, and also absolute: where a feature hardly varies (a model that is always
certain), rounding alone is many standard deviations, and 1 - 1e-7 instead of 1 differs from every reference value.

Windows close when they are conclusive. A window that rejects closes immediately; one that does not stays open and grows
until it holds `enough` answers, so a low-traffic hour is not thrown away and a small shift gets the sample it takes. An
alarm needs `consecutive` closed windows in a row that rejected a common feature; a growing window does not break the
row.

After an alarm the state stays alarmed: further checks report `drift` but raise no second alarm until the champion
changes, or `recover_after` closed windows in a row find nothing (then the next drift is a new one). A drift that
persists after `remind_after` seconds raises another alarm: the retraining did not help, or there was not enough
feedback for one.

prompt_tokens takes integer values, and ties make Kolmogorov-Smirnov conservative. The test is used anyway: prompts
spread over a hundred lengths, where the loss is small, while breaking the ties at random would give two different
verdicts on the same window, and chi-square over bins loses more power against the shift that matters (longer prompts).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from functions.drift.pvalues import benjamini_hochberg, chi_square, kolmogorov
from functions.drift.reasons import ReasonCode
from functions.drift.reference import Reference
from functions.drift.window import Distance, Summary
from functions.reasons import InitiatedBy, Reason

Verdict = Literal["insufficient", "no-drift", "suspect", "drift"]
LETTER = "letter"
MIN_EXPECTED = 5.0

LEAST: Mapping[str, float] = {
    "confidence": 1e-3,
    "margin": 2e-3,
    "entropy": 5e-3,
    "letter_mass": 1e-4,
    "prompt_tokens": 1,
}
"""The smallest Wasserstein distance, in each feature's own unit, that counts as a difference.

A reference may be measured on another machine than serves: answers in bfloat16 (8 bits) and float32 differ by up to a
point of confidence each, which leaves their distributions within a thousandth. The margin is a difference of two such
probabilities; a thousandth of confidence is up to 5e-3 nats of entropy where one letter has nearly all (ln(p / (1 - p))
each). The letter mass is just below 1 and only 1 - mass is rounded, so it resolves more. One token of a
prompt is a line end.
"""
LEAST_OTHER = 1e-6
"""The same for a feature that is not in LEAST, as a share of its mean."""


@dataclass(frozen=True, slots=True)
class Config:
    """Thresholds. `min_sample` and `enough` count answers of a window; `alpha` is the false discovery rate of a check.

    `min_wasserstein` is in standard deviations of the reference, `min_cramers_v` within 0..1.
    """

    alpha: float = 0.01
    min_sample: int = 200
    enough: int = 1000
    min_reference: int = 200
    min_wasserstein: float = 0.1
    min_cramers_v: float = 0.1
    consecutive: int = 2
    recover_after: int = 24
    remind_after: float = 86_400.0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must be within 0..1, found {self.alpha}")
        if not 1 <= self.min_sample <= self.enough:
            raise ValueError(f"1 <= min_sample <= enough is needed, found {self.min_sample} and {self.enough}")
        if self.consecutive < 1 or self.recover_after < 1:
            raise ValueError(f"consecutive and recover_after must be at least 1, found {self}")


@dataclass(frozen=True, slots=True)
class State:
    """What one check leaves for the next; the function itself keeps no state.

    `since` is where the open window starts (Unix seconds; None: at the version's first answer). `streaks` counts, by
    feature, the closed windows in a row that rejected it; `calm` those that found nothing since an alarm.
    """

    version: str
    since: float | None = None
    streaks: Mapping[str, int] = field(default_factory=dict)
    calm: int = 0
    alarmed_at: float | None = None

    def of(self, version: str) -> State:
        """This state, or a fresh one when the champion has changed: streaks and alarms belong to a version."""
        return self if self.version == version else State(version)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One feature's comparison. `effect` is Wasserstein/sd for `ks`, Cramér's V for `chi-square`.

    `distance` is the Wasserstein distance in the feature's own unit, and `least` what counts as one (LEAST). Below it
    `p_adjusted` is 1: there is no difference, and it must not make those of other features look more likely.
    """

    feature: str
    test: Literal["ks", "chi-square"]
    n: int
    n_reference: int
    statistic: float
    p: float
    p_adjusted: float
    effect: float
    floor: float
    rejected: bool
    note: str = ""
    distance: float = 0.0
    least: float = 0.0


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A check and its evidence. `alarm` is true once, when the drift is detected; `state` is for the next check."""

    verdict: Verdict
    alarm: bool
    reason: Reason
    version: str
    n: int
    window_start: float | None
    window_end: float
    evidence: tuple[Evidence, ...]
    state: State

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), **self.reason.to_columns()}


def evaluate(reference: Reference, window: Summary, state: State, now: float, config: Config = Config()) -> CheckResult:
    """The verdict on the window that started at `state.since` and ends at `now` (Unix seconds)."""

    def result(verdict: Verdict, reason: Reason, after: State, alarm: bool = False) -> CheckResult:
        return CheckResult(verdict, alarm, reason, state.version, window.n, state.since, now, evidence, after)

    def because(code: ReasonCode, *details: str, **params: Any) -> Reason:
        return Reason(code, params, details, initiated_by=InitiatedBy.SCHEDULE)

    evidence: tuple[Evidence, ...] = ()
    if reference.n < config.min_reference:
        params = {"version": state.version, "n": reference.n, "needed": config.min_reference}
        return result("insufficient", because(ReasonCode.REFERENCE_TOO_SMALL, **params), state)
    if window.n < config.min_sample:
        reason = because(ReasonCode.SAMPLE_TOO_SMALL, n=window.n, needed=config.min_sample)
        return result("insufficient", reason, state)
    evidence = compare(reference, window, config)
    rejected = [e for e in evidence if e.rejected]
    alarmed_at = state.alarmed_at
    if not rejected and window.n < config.enough:
        reason = because(ReasonCode.WINDOW_GROWING, n=window.n, enough=config.enough)
        verdict: Verdict = "suspect" if state.streaks else "no-drift"
        return result(verdict if alarmed_at is None else "drift", reason, state)
    if not rejected:
        calm = state.calm + 1 if alarmed_at is not None else 0
        if alarmed_at is None or calm >= config.recover_after:
            return result("no-drift", because(ReasonCode.NO_CHANGE, n=window.n), State(state.version, now))
        reason = because(ReasonCode.RECOVERING, calm=calm, recover_after=config.recover_after)
        return result("drift", reason, State(state.version, now, {}, calm, alarmed_at))
    streaks = {e.feature: state.streaks.get(e.feature, 0) + 1 for e in rejected}
    longest = max(streaks.values())
    moved = tuple(_describe(e) for e in sorted(rejected, key=lambda e: -e.effect / e.floor))
    if alarmed_at is not None and now - alarmed_at >= config.remind_after:
        reason = because(ReasonCode.REMINDER, *moved, hours=(now - alarmed_at) / 3600)
        return result("drift", reason, State(state.version, now, streaks, 0, now), alarm=True)
    if alarmed_at is not None:
        reason = because(ReasonCode.STILL_DRIFTED, *moved)
        return result("drift", reason, State(state.version, now, streaks, 0, alarmed_at))
    if longest < config.consecutive:
        reason = because(ReasonCode.SUSPECTED, *moved, windows=longest, consecutive=config.consecutive)
        return result("suspect", reason, State(state.version, now, streaks))
    params = {"windows": longest, "n": window.n, "n_reference": reference.n}
    reason = because(ReasonCode.DETECTED, *moved, **params)
    return result("drift", reason, State(state.version, now, streaks, 0, now), alarm=True)


def compare(reference: Reference, window: Summary, config: Config) -> tuple[Evidence, ...]:
    """Every feature that the reference and the window share, and the chosen letter; p adjusted within this family."""
    tests = [
        _ks(name, reference, window.features[name], config) for name in reference.features if name in window.features
    ]
    tests.append(_letters(reference.letters, window.letters, config))
    adjusted = benjamini_hochberg([e.p if e.distance >= e.least else 1.0 for e in tests])
    return tuple(
        Evidence(
            **{
                **asdict(e),
                "p_adjusted": p,
                "rejected": p <= config.alpha and e.effect >= e.floor and e.distance >= e.least,
            }
        )
        for e, p in zip(tests, adjusted, strict=True)
    )


def _ks(name: str, reference: Reference, distance: Distance, config: Config) -> Evidence:
    f = reference.features[name]
    size = f.n * distance.n / (f.n + distance.n)
    least = LEAST.get(name, LEAST_OTHER * abs(f.mean))
    effect, floor = distance.ks, config.min_wasserstein
    # A feature that varies by less than it resolves has no scale of its own; then the share that moved stands in.
    if f.sd > 0 and f.sd >= least:
        effect, floor = distance.wasserstein / f.sd, max(floor, least / f.sd)
    p = kolmogorov(math.sqrt(size) * distance.ks)
    note = "" if distance.wasserstein >= least else f"less than {least:g}: no difference"
    moved = distance.wasserstein
    return Evidence(name, "ks", distance.n, f.n, distance.ks, p, p, effect, floor, False, note, moved, least)


def _letters(reference: Mapping[str, int], window: Mapping[str, int], config: Config) -> Evidence:
    """Chi-square of homogeneity, letters with an expected count below 5 pooled (Cochran 1954).

    The effect is Cramér's V of the same shares in rows of equal size, sqrt(sum (p-q)^2 / (p+q) / 2): V of the table
    as it stands falls with the ratio of the rows (20,000 answers against 1,000 would hide any shift below the floor).
    """
    m, n = sum(reference.values()), sum(window.values())
    nothing = Evidence(LETTER, "chi-square", n, m, 0.0, 1.0, 1.0, 0.0, config.min_cramers_v, False, "one letter only")
    if m == 0 or n == 0:
        return nothing
    pairs = sorted(
        ((reference.get(k, 0), window.get(k, 0)) for k in {*reference, *window}), key=lambda pair: pair[0] + pair[1]
    )
    smaller = min(m, n) / (m + n)
    cells: list[tuple[int, int]] = []
    pooled = (0, 0)
    for pair in pairs:
        if (pair[0] + pair[1]) * smaller < MIN_EXPECTED or 0 < sum(pooled) * smaller < MIN_EXPECTED:
            pooled = (pooled[0] + pair[0], pooled[1] + pair[1])
        else:
            cells.append(pair)
    if sum(pooled):
        cells.append(pooled)
    if len(cells) < 2:
        return nothing
    statistic = math.fsum((r * n - w * m) ** 2 / (m * n * (r + w)) for r, w in cells)
    effect = math.sqrt(math.fsum((r / m - w / n) ** 2 / (r / m + w / n) for r, w in cells) / 2)
    note = f"{len(pairs) - len(cells) + 1} rare letters pooled" if len(cells) < len(pairs) else ""
    p = chi_square(statistic, len(cells) - 1)
    return Evidence(LETTER, "chi-square", n, m, statistic, p, p, effect, config.min_cramers_v, False, note)


def _describe(e: Evidence) -> str:
    unit = "sd" if e.test == "ks" else "V"
    return f"{e.feature} by {e.effect:.2f} {unit} (floor {e.floor:.2g}, p {e.p_adjusted:.1g})"
