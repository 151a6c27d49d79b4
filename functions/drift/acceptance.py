"""Accept as normal: answers that raised an alarm, or would, become what drift is measured against. Pure.

The traffic changed on purpose, or no retraining can help: an operator says so, and the version's baseline is no longer
the reference.json that it was registered with but the answers that it gave since. It is an operator's decision, not a
finding, so it is recorded between the checks with a code of its own. It begins a new state: no streak and no alarm is
left of the old baseline. Taking it back begins one too; the open window then stays open.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from functions.drift.decision import CheckResult, State
from functions.drift.reasons import ReasonCode
from functions.drift.reference import FEATURES, Reference, summarise
from functions.reasons import InitiatedBy, Reason

MAX_NAME = 200
"""Characters kept of an operator's name."""


class TooFewAnswersError(ValueError):
    """Not enough answers for a baseline: `n` of the version within [since, until), `needed` are needed."""

    def __init__(self, version: str, n: int, needed: int) -> None:
        self.version, self.n, self.needed = version, n, needed
        super().__init__(
            f"{n} answers of version {version} are too few for a baseline, {needed} needed: choose an earlier time, "
            "or wait for more"
        )


class NothingAcceptedError(ValueError):
    """There is no accepted baseline to take back."""

    def __init__(self, version: str) -> None:
        self.version = version
        super().__init__(
            f"version {version} has no accepted baseline: drift is measured against its own reference.json"
        )


class OtherBaselineError(ValueError):
    """The baseline in force is not the `expected` one (a check's number): `current`, None for the reference.json."""

    def __init__(self, version: str, expected: int, current: int | None) -> None:
        self.version, self.expected, self.current = version, expected, current
        now = "its own reference.json" if current is None else f"what check {current} accepted"
        super().__init__(
            f"drift of version {version} is not measured against what check {expected} accepted any more, but against "
            f"{now}: nothing was taken back"
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """Answers as a baseline: how many, and their summary in the form of a version's reference."""

    n: int
    reference: Reference


def measure_baseline(
    version: str, chunks: Iterable[tuple[Mapping[str, Sequence[float | None]], Sequence[str]]], needed: int
) -> Measured:
    """The baseline of answers that come in chunks of features and letters, about 50 bytes each in memory.

    A feature that fewer than `needed` answers carry (their clients did not request it) is left out: it could not be
    compared. TooFewAnswersError where the answers, or those with any feature, are fewer than `needed`.
    """
    values = {name: array("d") for name in FEATURES}
    parts: list[str] = []
    for features, chosen in chunks:
        parts.append("".join(chosen))
        for name, column in values.items():
            column.extend(value for value in features[name] if value is not None and math.isfinite(value))
    letters = "".join(parts)
    kept = {name: column for name, column in values.items() if len(column) >= needed}
    if len(letters) < needed or not kept:
        raise TooFewAnswersError(version, min(len(letters), max(map(len, values.values()))), needed)
    return Measured(len(letters), summarise(kept, letters))


def accepted(version: str, n: int, since: float, until: float, by: str) -> CheckResult:
    """The record of `n` answers within [since, until) that became the version's baseline."""
    name = named(by)
    params = {"version": version, "n": n, "since": since, "until": until, "by": name}
    reason = _reason(ReasonCode.BASELINE_ACCEPTED, params, f"accepted by {name}")
    return CheckResult("no-drift", False, reason, version, n, since, until, (), State(version, until))


def undone(version: str, number: int, open_since: float | None, until: float, by: str) -> CheckResult:
    """The record that the baseline which check `number` accepted is taken back."""
    name = named(by)
    reason = _reason(ReasonCode.BASELINE_UNDONE, {"version": version, "check": number, "by": name}, f"undone by {name}")
    end = until if open_since is None else max(until, open_since)
    return CheckResult("insufficient", False, reason, version, 0, open_since, end, (), State(version, open_since))


def named(by: str) -> str:
    """Who did it, on one line: it is shown in terminals and notifications."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in by).split())
    return plain[:MAX_NAME] or "operator"


def _reason(code: ReasonCode, params: Mapping[str, object], detail: str) -> Reason:
    return Reason(code, params, (detail,), initiated_by=InitiatedBy.OPERATOR)
