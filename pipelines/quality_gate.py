"""May the challenger stand against live traffic? It and the champion answered the same questions; this compares them.

The challenger must be *proven better* on the current mix of questions, and proven not to have lost more than a margin
elsewhere. Every check says pass, fail or inconclusive: inconclusive is not a pass, and its reason says how many
questions or what improvement it would have taken.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipelines.evaluation import metrics
from pipelines.evaluation.answer_records import AnswerRecord

Verdict = Literal["pass", "fail", "inconclusive"]


class GateError(ValueError):
    """The two evaluations cannot be compared."""


@dataclass(frozen=True, slots=True)
class GateConfig:
    """Levels and margins. `alpha` is one-sided; None switches a guard off.

    `worthwhile` is an improvement in accuracy: a challenger for which even that is excluded fails. `old_margin` is the
    loss of accuracy on the old mix that must be excluded; `brier_margin` (of 0..2), `ece_margin` and `letter_margin`
    (RStd) are increases; `latency_factor` bounds the median of the paired time ratios.
    """

    alpha: float = 0.05
    power: float = 0.8
    worthwhile: float = 0.03
    min_questions: int = 100  # at least 2
    old_margin: float | None = 0.05
    brier_margin: float | None = 0.05
    ece_margin: float | None = 0.08
    letter_margin: float | None = 0.1
    latency_factor: float | None = 1.25


@dataclass(frozen=True, slots=True)
class PairedAnswers:
    """Both versions' answers to the same questions, in one order."""

    champion: tuple[AnswerRecord, ...]
    challenger: tuple[AnswerRecord, ...]

    @classmethod
    def join(cls, champion: Sequence[AnswerRecord], challenger: Sequence[AnswerRecord]) -> PairedAnswers:
        """Joined on the question's id; GateError when the two did not answer the same questions."""
        by_id = {r.id: r for r in challenger}
        if len(by_id) != len(challenger) or len({r.id for r in champion}) != len(champion):
            raise GateError("a question was answered twice by one version: the ids must be unique")
        if missing := {r.id for r in champion} ^ by_id.keys():
            raise GateError(f"{len(missing)} questions were answered by one version only, {min(missing)!r} among them")
        ordered = tuple(by_id[r.id] for r in champion)
        for a, b in zip(champion, ordered, strict=True):
            if a.answer != b.answer:
                raise GateError(f"question {a.id!r} has right answer {a.answer} for one and {b.answer} for the other")
        return cls(tuple(champion), ordered)

    @property
    def n(self) -> int:
        return len(self.champion)

    @property
    def gained(self) -> int:
        """Questions only the challenger got right."""
        return sum(b.correct and not a.correct for a, b in zip(self.champion, self.challenger, strict=True))

    @property
    def lost(self) -> int:
        """Questions only the champion got right."""
        return sum(a.correct and not b.correct for a, b in zip(self.champion, self.challenger, strict=True))


@dataclass(frozen=True, slots=True)
class Check:
    """One condition with its numbers."""

    name: str
    verdict: Verdict
    reason: str
    numbers: dict[str, float | int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GateResult:
    verdict: Verdict
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """What stood in the way; of a pass, what it rests on."""
        return tuple(f"{c.name}: {c.reason}" for c in self.checks if c.verdict == self.verdict)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "reasons": list(self.reasons)}


def gate(
    current: PairedAnswers,
    old: PairedAnswers | None = None,
    seconds: tuple[Sequence[float], Sequence[float]] | None = None,
    config: GateConfig = GateConfig(),
) -> Gate:
    """The verdict. `current` is the holdout of today's mix, `old` the one of the mix the champion was trained for.

    `seconds` are the times of (champion, challenger), one a question and paired; a guard that is on and was not
    measured is inconclusive.
    """
    checks = [improvement(current, config)]
    if config.old_margin is not None:
        checks.append(kept(old, config))
    checks += calibration(current, config)
    if config.letter_margin is not None:
        checks.append(letters(current, config.letter_margin))
    if config.latency_factor is not None:
        checks.append(latency(seconds, config))
    verdicts = {c.verdict for c in checks}
    overall: Verdict = "fail" if "fail" in verdicts else "inconclusive" if "inconclusive" in verdicts else "pass"
    return GateResult(overall, tuple(checks))


def improvement(pairs: PairedAnswers, config: GateConfig) -> Check:
    """Exact one-sided McNemar test of the discordant questions, with the power this holdout had."""
    b, c, n = pairs.gained, pairs.lost, pairs.n
    p = mcnemar(b, c)
    low, high = paired_interval(b, c, n, config.alpha) if n else (-1.0, 1.0)
    seen = detectable(n, (b + c) / n, config.alpha, config.power) if n else None
    needed = questions_needed(config.worthwhile, (b + c) / n, config.alpha, config.power) if n else None
    numbers: dict[str, float | int | None] = {
        "questions": n,
        "gained": b,
        "lost": c,
        "difference": (b - c) / n if n else None,
        "low": low,
        "high": high,
        "p": p,
        "detectable": seen,
        "questions_needed": needed,
    }
    counts = (
        f"{b} questions gained, {c} lost of {n} ({_points((b - c) / max(n, 1))}, {_points(low)} to {_points(high)})"
    )
    could = "nothing" if seen is None else f"{_points(seen)} or more"
    power = f"with {config.power:.0%} power this holdout shows {could}"
    if n < config.min_questions:
        reason = f"{n} questions, at least {config.min_questions} needed"
        return Check("improvement", "inconclusive", reason, numbers)
    if p <= config.alpha:
        return Check("improvement", "pass", f"{counts}, p {p:.2g}; {power}", numbers)
    if high < config.worthwhile:
        reason = f"{counts}, p {p:.2g}: an improvement of {_points(config.worthwhile)} is excluded"
        return Check("improvement", "fail", reason, numbers)
    reason = f"{counts}, p {p:.2g}; {power}, {_points(config.worthwhile)} takes {needed} questions"
    return Check("improvement", "inconclusive", reason, numbers)


def kept(pairs: PairedAnswers | None, config: GateConfig) -> Check:
    """Non-inferiority on the old mix: the interval of the paired difference must exclude a loss of the margin."""
    assert config.old_margin is not None
    if pairs is None or pairs.n == 0:
        return Check("old mix", "inconclusive", "not measured: no holdout of the old mix was given")
    b, c, n = pairs.gained, pairs.lost, pairs.n
    low, high = paired_interval(b, c, n, config.alpha)
    reason = f"{_points((b - c) / n)} ({_points(low)} to {_points(high)}) of {n}, margin {_points(-config.old_margin)}"
    numbers: dict[str, float | int | None] = {
        "questions": n,
        "gained": b,
        "lost": c,
        "difference": (b - c) / n,
        "low": low,
        "high": high,
        "margin": -config.old_margin,
    }
    return Check("old mix", _within(-high, -low, config.old_margin), reason, numbers)


def calibration(pairs: PairedAnswers, config: GateConfig) -> list[Check]:
    """Change of the Brier score, as a paired mean with its interval, and of ECE where there are enough answers."""
    checks = []
    if config.brier_margin is not None:
        if pairs.n < config.min_questions:
            return [Check("calibration", "inconclusive", f"{pairs.n} questions, {config.min_questions} needed")]
        changes = [
            metrics.brier([b.probabilities], [b.answer]) - metrics.brier([a.probabilities], [a.answer])
            for a, b in zip(pairs.champion, pairs.challenger, strict=True)
        ]
        change = metrics.mean(changes)
        half = _z(config.alpha) * statistics.stdev(changes) / math.sqrt(pairs.n)
        verdict = _within(change - half, change + half, config.brier_margin)
        reason = (
            f"Brier {change:+.3f} ({change - half:+.3f} to {change + half:+.3f}), margin {config.brier_margin:+.3f}"
        )
        numbers: dict[str, float | int | None] = {
            "brier_change": change,
            "low": change - half,
            "high": change + half,
            "margin": config.brier_margin,
        }
        checks.append(Check("calibration", verdict, reason, numbers))
    if config.ece_margin is not None and pairs.n >= metrics.ECE_MIN_ANSWERS:
        before, after = (
            metrics.ece(metrics.reliability([r.confidence for r in rs], [r.correct for r in rs]))
            for rs in (pairs.champion, pairs.challenger)
        )
        reason = f"ECE {after:.3f} after {before:.3f}, at most {config.ece_margin:+.3f}"
        verdict = "fail" if after - before > config.ece_margin else "pass"
        found: dict[str, float | int | None] = {"champion": before, "challenger": after, "margin": config.ece_margin}
        checks.append(Check("calibration error", verdict, reason, found))
    return checks


def letters(pairs: PairedAnswers, margin: float) -> Check:
    """Letter bias: the spread of the per-letter recalls, without what chance alone would spread them."""
    before, after = (letter_bias(records) for records in (pairs.champion, pairs.challenger))
    numbers: dict[str, float | int | None] = {"champion": before, "challenger": after, "margin": margin}
    reason = f"spread of the letters' recalls {after:.3f} after {before:.3f}, at most {margin:+.3f}"
    return Check("letter bias", "fail" if after - before > margin else "pass", reason, numbers)


def latency(seconds: tuple[Sequence[float], Sequence[float]] | None, config: GateConfig) -> Check:
    """Median of the paired time ratios with its distribution-free interval (the sign test's order statistics)."""
    assert config.latency_factor is not None
    if seconds is None or not seconds[0]:
        return Check("latency", "inconclusive", "not measured: no times were given")
    if min(seconds[0]) <= 0:
        raise GateError("a time of the champion is 0 s: the ratios have no meaning")
    ratios = sorted(b / a for a, b in zip(*seconds, strict=True))
    n = len(ratios)
    k = max(0, math.floor((n - _z(config.alpha) * math.sqrt(n)) / 2))
    low, middle, high = ratios[k], statistics.median(ratios), ratios[n - 1 - k]
    verdict: Verdict = (
        "pass" if high <= config.latency_factor else "fail" if low > config.latency_factor else "inconclusive"
    )
    reason = f"{middle:.2f} times the champion's ({low:.2f} to {high:.2f}), at most {config.latency_factor:g}"
    return Check("latency", verdict, reason, {"ratio": middle, "low": low, "high": high, "questions": n})


def mcnemar(gained: int, lost: int) -> float:
    """P(at least this many gains | as many discordant questions, no difference): McNemar's test, exact, one-sided."""
    m = gained + lost
    return sum(math.comb(m, k) for k in range(gained, m + 1)) / 2**m


def paired_interval(gained: int, lost: int, n: int, alpha: float) -> tuple[float, float]:
    """Score interval of the difference of two paired shares (Tango 1998, Statistics in Medicine 17:891).

    Each end errs with probability `alpha`. Unlike Wald's it keeps its coverage for few discordant questions, and with
    none at all it still has a width.
    """
    if n < 1 or gained < 0 or lost < 0 or gained + lost > n:
        raise ValueError(f"gained + lost must be within n >= 1, found {gained} and {lost} of {n}")
    z = _z(alpha)

    def score(d: float) -> float:
        linear = (2 * n - gained + lost) * d - gained - lost
        q = (math.sqrt(max(linear * linear + 8 * n * lost * d * (1 - d), 0.0)) - linear) / (4 * n)
        variance = n * (2 * q + d * (1 - d))
        return (gained - lost - n * d) / math.sqrt(max(variance, 1e-300))

    estimate = (gained - lost) / n
    return _crossing(score, -1.0, estimate, z), _crossing(score, estimate, 1.0, -z)


def _crossing(score: Any, left: float, right: float, level: float) -> float:
    """Where the falling `score` passes `level`."""
    for _ in range(60):
        middle = (left + right) / 2
        if score(middle) > level:
            left = middle
        else:
            right = middle
    return (left + right) / 2


def questions_needed(difference: float, discordance: float, alpha: float, power: float) -> int:
    """Questions for McNemar's one-sided test to see `difference` (Connor 1987, Biometrics 43:207)."""
    discordance = max(discordance, difference)
    root = _z(alpha) * math.sqrt(discordance) + _z(1 - power) * math.sqrt(discordance - difference**2)
    return math.ceil((root / difference) ** 2)


def detectable(n: int, discordance: float, alpha: float, power: float) -> float | None:
    """The smallest improvement that `n` questions show with this power; None when not even all discordant ones do."""
    if discordance <= 0 or questions_needed(discordance, discordance, alpha, power) > n:
        return None
    low, high = 0.0, discordance
    for _ in range(50):
        middle = (low + high) / 2
        if middle > 0 and questions_needed(middle, discordance, alpha, power) <= n:
            high = middle
        else:
            low = middle
    return high


def letter_bias(records: Sequence[AnswerRecord]) -> float:
    """RStd (arXiv 2309.03882) with the recalls' own sampling variance taken off; 0 where that explains all."""
    answers, chosen = [r.answer for r in records], [r.chosen for r in records]
    totals = metrics.counts(answers)
    known = [(r, t) for r, t in zip(metrics.recalls(answers, chosen), totals, strict=True) if r is not None and t > 1]
    if len(known) < 2:
        return 0.0
    noise = math.fsum(r * (1 - r) / (t - 1) for r, t in known) / len(known)
    return math.sqrt(max(0.0, statistics.pvariance([r for r, _ in known]) - noise * (1 - 1 / len(known))))


def _within(low: float, high: float, margin: float) -> Verdict:
    """Of a loss with its interval: excluded above the margin, proven above it, or neither."""
    return "pass" if high < margin else "fail" if low > margin else "inconclusive"


def _z(alpha: float) -> float:
    return statistics.NormalDist().inv_cdf(1 - alpha)


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points"
