"""What a canary's step still needs until each guard's interval lies within its margin: answers, and time.

A forecast extends what was measured: the difference stays as it is estimated, both versions' answers grow in the
proportion they came in, and the bounds of `sequential` are computed for more of them. Where that says nothing (the
estimate itself lies beyond the margin, or nothing arrives), the state says so instead of a number. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from functions.reasons import Closed
from functions.rollout.analysis import Config, Guard, target_information
from functions.rollout.sequential import radius, rate_bounds

MOST = 10_000_000
"""Answers above which a forecast means nothing any more."""

RATE_SECONDS = 300.0
"""The rate is that of the last half of the step, at least of this many seconds where it has them."""

LEAST_SECONDS = 20.0
"""No rate is derived from less time."""

_RATES = (Guard.SHARE, Guard.FAILURES, Guard.LATENCY)

Row = Mapping[str, Any]


class NeedState(Closed):
    """What a forecast says of one guard."""

    PROVEN = "proven"  # within its margin: nothing is needed
    ESTIMATE = "estimate"  # so many more answers, if the difference stays as estimated
    ASSUMED = "assumed"  # nothing comparable yet: so many, if both versions are equally good
    BEYOND = "beyond"  # the estimate lies beyond the margin: more answers would not let it pass
    FAILED = "failed"  # proven harmful
    UNKNOWN = "unknown"


class Unit(Closed):
    """What a guard counts."""

    REQUESTS = "requests"
    ANSWERS = "answers"
    LABELS = "labels"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Need:
    """What one guard still needs, of both versions together, and in seconds at the present rate.

    None for either: unknown. `per_hour` is the present rate of both versions, None before it is known.
    """

    guard: Guard
    unit: Unit
    state: NeedState
    more: int | None
    seconds: float | None
    per_hour: float | None


def unit_of(guard: Guard) -> Unit:
    if guard in (Guard.ACCURACY, Guard.CALIBRATION):
        return Unit.LABELS
    return Unit.ANSWERS if guard is Guard.LETTERS else Unit.REQUESTS


def needs(history: Sequence[Row], since: float, config: Config) -> list[Need]:
    """One per measure of the last measurement of `history`, the measurements of one step in order; [] without any.

    A measurement has `at`, `percent` and `measures` as they are stored. `since` is when the step began.
    """
    if not history:
        return []
    last = history[-1]
    return [_need(measure, place, history, since, config) for place, measure in enumerate(last["measures"])]


def step_seconds(found: Sequence[Need], measured: Row, since: float, config: Config) -> float | None:
    """Until the step can pass: its slowest guard, its least requests and time; None where that is unknown."""
    least = max(0.0, config.min_seconds - (measured["at"] - since))
    seconds = [need.seconds for need in found]
    per_hour = next((need.per_hour for need in found if need.unit is Unit.REQUESTS and need.per_hour), None)
    arrived = next((m["n_challenger"] for m in measured["measures"] if m.get("guard") == Guard.FAILURES), 0)
    if (missing := config.min_requests - arrived) > 0:
        # The challenger's part of the present rate.
        share = measured["percent"] / 100
        seconds.append(None if not per_hour or not share else missing / (per_hour * share) * 3600)
    known = [value for value in seconds if value is not None]
    return max([least, *known]) if len(known) == len(seconds) else None


def _need(measure: Row, place: int, history: Sequence[Row], since: float, config: Config) -> Need:
    guard = Guard(measure.get("guard", "unknown"))
    per_hour = _per_hour(place, history, since)
    state, more = _more(guard, measure, history[-1]["percent"], config)
    seconds: float | None = None
    if state is NeedState.PROVEN:
        seconds = 0.0
    elif more is not None and per_hour:
        seconds = more / per_hour * 3600
    return Need(guard, unit_of(guard), state, more, seconds, per_hour)


def _more(guard: Guard, measure: Row, percent: int, config: Config) -> tuple[NeedState, int | None]:
    if measure["verdict"] == "pass":
        return NeedState.PROVEN, 0
    if measure["verdict"] == "fail":
        return NeedState.FAILED, None
    if guard is Guard.UNKNOWN:
        return NeedState.UNKNOWN, None
    n = measure["n_champion"] + measure["n_challenger"]
    comparable = measure["high"] is not None and min(measure["n_champion"], measure["n_challenger"]) > 0
    if not comparable:
        total = _assumed(guard, measure, percent, config)
        return (NeedState.UNKNOWN, None) if total is None else (NeedState.ASSUMED, max(1, total - n))
    if measure["worse_by"] >= measure["margin"]:
        return NeedState.BEYOND, None
    times = _rate_growth(guard, measure, percent, config) if guard in _RATES else _mean_growth(guard, measure, config)
    if times is None or times * n > MOST:
        return NeedState.UNKNOWN, None
    # Its own bounds are within the margin already: another part of the guard (a letter) keeps it open.
    return (NeedState.ESTIMATE, math.ceil((times - 1) * n)) if times > 1 else (NeedState.UNKNOWN, None)


def _mean_growth(guard: Guard, measure: Row, config: Config) -> float | None:
    """How many times its answers a difference of means needs; its information grows in proportion to them."""
    target = target_information(_limit(guard, config))

    def bound(information: float) -> float:
        return radius(information, target, config.alpha_pass)

    reach, room = float(measure["high"] - measure["worse_by"]), float(measure["margin"] - measure["worse_by"])
    have, need = _first(lambda i: bound(i) <= reach), _first(lambda i: bound(i) < room)
    return None if not have or need is None else need / have


def _limit(guard: Guard, config: Config) -> float:
    limits = {Guard.ACCURACY: config.accuracy, Guard.CALIBRATION: config.calibration, Guard.LETTERS: config.letters}
    return limits[guard].margin


def _rate_growth(guard: Guard, measure: Row, percent: int, config: Config) -> float | None:
    """How many times its requests a guard of rare events, or of the share of requests, needs."""
    a, b = measure["n_champion"], measure["n_challenger"]
    events = measure["champion"] * a, measure["challenger"] * b

    def within(times: float) -> bool:
        if guard is Guard.SHARE:
            return percent / 100 - _bounds(b * times, (a + b) * times, config.alpha_pass)[0] < float(measure["margin"])
        low = _bounds(events[0] * times, a * times, config.alpha_pass / 2)[0]
        high = _bounds(events[1] * times, b * times, config.alpha_pass / 2)[1]
        return high - low < float(measure["margin"])

    return _first(within, 1.0, MOST / (a + b))


def _bounds(events: float, n: float, alpha: float) -> tuple[float, float]:
    return rate_bounds(min(round(events), round(n)), round(n), alpha)


def _assumed(guard: Guard, measure: Row, percent: int, config: Config) -> int | None:
    """Answers of both versions until two equal ones are known to be within the margin.

    For rates, of versions without any events; for means, at the greatest variance that a share can have (1/4).
    """
    share = percent / 100
    if not 0 < share < 1:
        return None
    if guard in _RATES:
        planned = {**measure, "champion": 0.0, "challenger": 0.0, "n_champion": 1 - share, "n_challenger": share}
        times = _rate_growth(guard, planned, percent, config)
        return None if times is None else math.ceil(times)
    target = target_information(_limit(guard, config))
    need = _first(lambda i: radius(i, target, config.alpha_pass) < float(measure["margin"]))
    return None if need is None else math.ceil(need / (4 * share * (1 - share)))


def _first(true: Callable[[float], bool], low: float = 1e-6, most: float = 1e12) -> float | None:
    """The least value from `low` on for which a condition that stays true becomes true, to a thousandth of it."""
    if true(low):
        return low
    high = low
    while not true(high):
        low, high = high, high * 2
        if high > most:
            return None
    while high - low > high * 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if true(middle) else (middle, high)
    return high


def _per_hour(place: int, history: Sequence[Row], since: float) -> float | None:
    """How many answers of both versions arrive per hour; None where the step is too young to say."""
    last = history[-1]
    begin = min(last["at"] - RATE_SECONDS, (since + last["at"]) / 2)
    base = next((row for row in reversed(history[:-1]) if row["at"] <= begin), history[0])
    took = float(last["at"] - base["at"])
    if took < LEAST_SECONDS or place >= len(base["measures"]):
        return None
    before, now = (
        row["measures"][place]["n_champion"] + row["measures"][place]["n_challenger"] for row in (base, last)
    )
    return max(0.0, float(now - before) / took * 3600)
