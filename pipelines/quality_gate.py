"""The quality gate: may the challenger go before live traffic? It and the champion answered the same questions.

The challenger must be *proven better* on the current mix of questions, and proven not to have lost more than a margin
elsewhere. Every check passes, fails or is inconclusive. Inconclusive is not a pass, and its reason says how many
questions or what improvement it would have taken. Programs read `verdict` and `code`; `reason` is for people.

Written by hand: scipy has the binomial test that McNemar's comes to, but neither Tango's interval nor Connor's sample
size, and importing scipy.stats takes longer than the computation.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from common.gate_tag import Verdict
from common.proportions import paired_interval
from pipelines.evaluation import metrics
from pipelines.evaluation.answer_records import AnswerRecord

Numbers = dict[str, float | int | None]


class CheckCode(StrEnum):
    """Why a check came out as it did."""

    PROVEN_BETTER = "proven-better"
    IMPROVEMENT_EXCLUDED = "improvement-excluded"
    IMPROVEMENT_NOT_PROVEN = "improvement-not-proven"
    WITHIN_MARGIN = "within-margin"
    MARGIN_EXCEEDED = "margin-exceeded"
    MARGIN_NOT_EXCLUDED = "margin-not-excluded"
    TOO_FEW_QUESTIONS = "too-few-questions"
    NOT_MEASURED = "not-measured"


_MARGIN_CODES: dict[Verdict, CheckCode] = {
    "pass": CheckCode.WITHIN_MARGIN,
    "fail": CheckCode.MARGIN_EXCEEDED,
    "inconclusive": CheckCode.MARGIN_NOT_EXCLUDED,
}


class GateCode(StrEnum):
    """The verdict as a reason code, as events carry it."""

    PASSED = "gate-passed"
    FAILED = "gate-failed"
    INCONCLUSIVE = "gate-inconclusive"


GATE_CODES: dict[Verdict, GateCode] = {
    "pass": GateCode.PASSED,
    "fail": GateCode.FAILED,
    "inconclusive": GateCode.INCONCLUSIVE,
}


class GateError(ValueError):
    """The two evaluations cannot be compared."""


@dataclass(frozen=True, slots=True)
class GateConfig:
    """Levels and margins. `alpha` is one-sided; None switches a guard off.

    `worthwhile` is an improvement in accuracy: a challenger fails when the data exclude an improvement that large.
    `old_margin` is the loss of accuracy on the old mix that must be excluded. `brier_margin` (of 0..2), `ece_margin`
    and `letter_margin` (RStd) are increases. `latency_factor` bounds the median of the paired time ratios.
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
    """Both versions' answers to the same questions, in the same order."""

    champion: tuple[AnswerRecord, ...]
    challenger: tuple[AnswerRecord, ...]

    @classmethod
    def join(cls, champion: Sequence[AnswerRecord], challenger: Sequence[AnswerRecord]) -> PairedAnswers:
        """Joined on the question's id; GateError when the two did not answer the same questions."""
        by_id = {record.id: record for record in challenger}
        champion_ids = {record.id for record in champion}
        if len(by_id) != len(challenger) or len(champion_ids) != len(champion):
            raise GateError("a version answered the same question twice: ids must be unique")
        if unpaired := champion_ids ^ by_id.keys():
            raise GateError(
                f"{len(unpaired)} questions were answered by only one version, {min(unpaired)!r} among them"
            )
        ordered = tuple(by_id[record.id] for record in champion)
        for a, b in zip(champion, ordered, strict=True):
            if a.answer != b.answer:
                raise GateError(
                    f"question {a.id!r} has right answer {a.answer} for one version, {b.answer} for the other"
                )
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
    code: CheckCode
    reason: str
    numbers: Numbers = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GateResult:
    verdict: Verdict
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """What stood in the way of a pass; of a pass, what it rests on. For people."""
        return tuple(f"{check.name}: {check.reason}" for check in self.checks if check.verdict == self.verdict)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "reasons": list(self.reasons)}


def evaluate_gate(
    current: PairedAnswers,
    old: PairedAnswers | None = None,
    seconds: tuple[Sequence[float], Sequence[float]] | None = None,
    config: GateConfig = GateConfig(),
) -> GateResult:
    """The verdict. `current` is the holdout of the current mix, `old` of the mix that the champion was trained for.

    `seconds` are the times of (champion, challenger), paired, one per question. A guard that is on but was not measured
    is inconclusive.
    """
    checks = [check_improvement(current, config)]
    if config.old_margin is not None:
        checks.append(check_old_mix(old, config.old_margin, config.alpha))
    checks += check_calibration(current, config)
    if config.letter_margin is not None:
        checks.append(check_letter_bias(current, config.letter_margin))
    if config.latency_factor is not None:
        checks.append(check_latency(seconds, config.latency_factor, config.alpha))
    verdicts = {check.verdict for check in checks}
    overall: Verdict = "fail" if "fail" in verdicts else "inconclusive" if "inconclusive" in verdicts else "pass"
    return GateResult(overall, tuple(checks))


def check_improvement(pairs: PairedAnswers, config: GateConfig) -> Check:
    """Exact one-sided McNemar test of the discordant questions, with the power this holdout had."""
    gained, lost, n = pairs.gained, pairs.lost, pairs.n
    p = mcnemar(gained, lost)
    low, high = paired_interval(gained, lost, n, config.alpha) if n else (-1.0, 1.0)
    smallest = detectable(n, (gained + lost) / n, config.alpha, config.power) if n else None
    needed = questions_needed(config.worthwhile, (gained + lost) / n, config.alpha, config.power) if n else None
    numbers: Numbers = {
        "questions": n,
        "gained": gained,
        "lost": lost,
        "difference": (gained - lost) / n if n else None,
        "low": low,
        "high": high,
        "p": p,
        "detectable": smallest,
        "questions_needed": needed,
    }
    difference = f"{_points((gained - lost) / max(n, 1))}, {_points(low)} to {_points(high)}"
    counts = f"{gained} questions gained, {lost} lost of {n} ({difference})"
    shown = "nothing" if smallest is None else f"{_points(smallest)} or more"
    power = f"with {config.power:.0%} power this holdout shows {shown}"
    verdict: Verdict
    if n < config.min_questions:
        reason = f"{n} questions, at least {config.min_questions} needed"
        verdict, code = "inconclusive", CheckCode.TOO_FEW_QUESTIONS
    elif p <= config.alpha:
        verdict, code, reason = "pass", CheckCode.PROVEN_BETTER, f"{counts}, p {p:.2g}; {power}"
    elif high < config.worthwhile:
        reason = f"{counts}, p {p:.2g}: an improvement of {_points(config.worthwhile)} is excluded"
        verdict, code = "fail", CheckCode.IMPROVEMENT_EXCLUDED
    else:
        reason = f"{counts}, p {p:.2g}; {power}, {_points(config.worthwhile)} takes {needed} questions"
        verdict, code = "inconclusive", CheckCode.IMPROVEMENT_NOT_PROVEN
    return Check("improvement", verdict, code, reason, numbers)


def check_old_mix(pairs: PairedAnswers | None, margin: float, alpha: float) -> Check:
    """Non-inferiority on the old mix: the interval of the paired difference must exclude a loss of the margin."""
    if pairs is None or pairs.n == 0:
        reason = "not measured: no holdout of the old mix was given"
        return Check("old mix", "inconclusive", CheckCode.NOT_MEASURED, reason)
    gained, lost, n = pairs.gained, pairs.lost, pairs.n
    low, high = paired_interval(gained, lost, n, alpha)
    reason = f"{_points((gained - lost) / n)} ({_points(low)} to {_points(high)}) of {n}, margin {_points(-margin)}"
    numbers: Numbers = {
        "questions": n,
        "gained": gained,
        "lost": lost,
        "difference": (gained - lost) / n,
        "low": low,
        "high": high,
        "margin": -margin,
    }
    verdict = _against_margin(-high, -low, margin)
    return Check("old mix", verdict, _MARGIN_CODES[verdict], reason, numbers)


def check_calibration(pairs: PairedAnswers, config: GateConfig) -> list[Check]:
    """Change of the Brier score, as a paired mean with its interval, and of ECE where there are enough answers."""
    if config.brier_margin is not None and pairs.n < config.min_questions:
        reason = f"{pairs.n} questions, {config.min_questions} needed"
        return [Check("calibration", "inconclusive", CheckCode.TOO_FEW_QUESTIONS, reason)]
    checks = []
    if config.brier_margin is not None:
        checks.append(_check_brier(pairs, config.brier_margin, config.alpha))
    if config.ece_margin is not None and pairs.n >= metrics.ECE_MIN_ANSWERS:
        checks.append(_check_ece(pairs, config.ece_margin))
    return checks


def _check_brier(pairs: PairedAnswers, margin: float, alpha: float) -> Check:
    changes = [
        metrics.brier([b.probabilities], [b.answer]) - metrics.brier([a.probabilities], [a.answer])
        for a, b in zip(pairs.champion, pairs.challenger, strict=True)
    ]
    change = metrics.mean(changes)
    half = _z(alpha) * statistics.stdev(changes) / math.sqrt(pairs.n)
    low, high = change - half, change + half
    verdict = _against_margin(low, high, margin)
    reason = f"Brier {change:+.3f} ({low:+.3f} to {high:+.3f}), margin {margin:+.3f}"
    numbers: Numbers = {"brier_change": change, "low": low, "high": high, "margin": margin}
    return Check("calibration", verdict, _MARGIN_CODES[verdict], reason, numbers)


def _check_ece(pairs: PairedAnswers, margin: float) -> Check:
    before, after = (
        metrics.ece(metrics.reliability([r.confidence for r in records], [r.correct for r in records]))
        for records in (pairs.champion, pairs.challenger)
    )
    verdict: Verdict = "fail" if after - before > margin else "pass"
    reason = f"ECE {after:.3f} after {before:.3f}, at most {margin:+.3f}"
    numbers: Numbers = {"champion": before, "challenger": after, "margin": margin}
    return Check("calibration error", verdict, _MARGIN_CODES[verdict], reason, numbers)


def check_letter_bias(pairs: PairedAnswers, margin: float) -> Check:
    """Letter bias: the spread of the per-letter recalls, without what chance alone would spread them."""
    before, after = (letter_bias(records) for records in (pairs.champion, pairs.challenger))
    verdict: Verdict = "fail" if after - before > margin else "pass"
    reason = f"spread of the letters' recalls {after:.3f} after {before:.3f}, at most {margin:+.3f}"
    numbers: Numbers = {"champion": before, "challenger": after, "margin": margin}
    return Check("letter bias", verdict, _MARGIN_CODES[verdict], reason, numbers)


def check_latency(seconds: tuple[Sequence[float], Sequence[float]] | None, factor: float, alpha: float) -> Check:
    """Median of the paired time ratios with its distribution-free interval (the sign test's order statistics)."""
    if seconds is None or not seconds[0]:
        return Check("latency", "inconclusive", CheckCode.NOT_MEASURED, "not measured: no times were given")
    if min(seconds[0]) <= 0:
        raise GateError("a time of the champion is 0 s: the ratios have no meaning")
    ratios = sorted(b / a for a, b in zip(*seconds, strict=True))
    n = len(ratios)
    k = max(0, math.floor((n - _z(alpha) * math.sqrt(n)) / 2))
    low, middle, high = ratios[k], statistics.median(ratios), ratios[n - 1 - k]
    verdict: Verdict = "pass" if high <= factor else "fail" if low > factor else "inconclusive"
    reason = f"{middle:.2f} times the champion's ({low:.2f} to {high:.2f}), at most {factor:g}"
    numbers: Numbers = {"ratio": middle, "low": low, "high": high, "questions": n}
    return Check("latency", verdict, _MARGIN_CODES[verdict], reason, numbers)


def mcnemar(gained: int, lost: int) -> float:
    """P(at least this many gains | as many discordant questions, no difference): McNemar's test, exact, one-sided."""
    m = gained + lost
    return sum(math.comb(m, k) for k in range(gained, m + 1)) / (1 << m)


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
    """RStd (arXiv 2309.03882) less the recalls' own sampling variance; 0 where that explains all of it."""
    answers, chosen = [r.answer for r in records], [r.chosen for r in records]
    totals = metrics.counts(answers)
    known = [(r, t) for r, t in zip(metrics.recalls(answers, chosen), totals, strict=True) if r is not None and t > 1]
    if len(known) < 2:
        return 0.0
    noise = math.fsum(r * (1 - r) / (t - 1) for r, t in known) / len(known)
    return math.sqrt(max(0.0, statistics.pvariance([r for r, _ in known]) - noise * (1 - 1 / len(known))))


def _against_margin(low: float, high: float, margin: float) -> Verdict:
    """Of a loss with its interval: one above the margin is excluded, proven, or neither."""
    return "pass" if high < margin else "fail" if low > margin else "inconclusive"


def _z(alpha: float) -> float:
    return statistics.NormalDist().inv_cdf(1 - alpha)


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points"
