"""How many replicas a revision wants: Knative's concurrency autoscaler (KPA) as a function of samples and clock.

Defaults are those of Knative's `config-autoscaler`: window 60 s, 100 requests × 70 % for each replica, a panic window
of a tenth in which twice the capacity is answered at once. Traffic always passes the gateway, which buffers while
nothing runs, so that the grace period in which a cluster re-routes to its activator is not needed: only
`scale-to-zero-pod-retention-period` keeps the last replica beyond the window.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_PREFIX = "autoscaling.knative.dev/"
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|ns|m|s)")
PANIC_SHARE = 0.1
PANIC_THRESHOLD = 2.0


@dataclass(frozen=True, slots=True)
class Scaling:
    """A revision's bounds. `target` is the concurrency a replica should have, `limit` what it may have (0: any)."""

    low: int = 0
    high: int = 0
    initial: int = 1
    target: float = 70.0
    limit: int = 0
    window: float = 60.0
    retention: float = 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The mean concurrency, in requests, over the time up to `at` (seconds of a monotonic clock)."""

    at: float
    concurrency: float


@dataclass(frozen=True, slots=True)
class Decision:
    """Replicas wanted, and until when panic mode lasts."""

    replicas: int
    panic_until: float = 0.0


def duration(text: str) -> float:
    """Seconds of a Go duration such as `1m30s`; ValueError when it is none."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration such as 60s or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def read_scaling(annotations: Mapping[str, str], concurrency: int, *, cap: int = 0) -> Scaling:
    """The bounds that a revision's annotations and containerConcurrency give; ValueError names a bad annotation."""

    def number(name: str, default: float) -> float:
        text = annotations.get(_PREFIX + name)
        try:
            return default if text is None else float(text)
        except ValueError:
            raise ValueError(f"{_PREFIX}{name}={text!r} is not a number") from None

    def seconds(name: str, default: float) -> float:
        text = annotations.get(_PREFIX + name)
        try:
            return default if text is None else duration(text)
        except ValueError as error:
            raise ValueError(f"{_PREFIX}{name}: {error}") from None

    use = number("target-utilization-percentage", 70.0) / 100.0
    target = number("target", float(concurrency) if concurrency else 100.0)
    if concurrency:
        target = min(target, float(concurrency))
    high = int(number("max-scale", 0))
    if cap:
        high = min(high, cap) if high else cap
    low = int(number("min-scale", 0))
    return Scaling(
        low=min(low, high) if high else low,
        high=high,
        initial=int(number("initial-scale", 1)),
        target=max(target * use, 0.01),
        limit=concurrency,
        window=seconds("window", 60.0),
        retention=seconds("scale-to-zero-pod-retention-period", 0.0),
    )


def decide(
    scaling: Scaling,
    samples: Sequence[Sample],
    now: float,
    *,
    running: int,
    waiting: int,
    active_since: float,
    reachable: bool = True,
    panic_until: float = 0.0,
) -> Decision:
    """The number of replicas.

    `running` are there now, `waiting` requests are buffered for want of one; `active_since` is when the revision last
    came from zero: it is not sent back before a whole window has passed. One that is not `reachable` by any traffic
    or tag keeps no minimum.
    """
    low = scaling.low if reachable else 0
    stable = _wanted(scaling, samples, now - scaling.window)
    panic = _wanted(scaling, samples, now - scaling.window * PANIC_SHARE)
    if panic >= PANIC_THRESHOLD * max(running, 1):
        panic_until = now + scaling.window
    wanted = max(stable, panic, running) if now < panic_until else stable
    if waiting:
        wanted = max(wanted, 1)
    idle_for = scaling.window + scaling.retention
    busy = any(sample.concurrency > 0 for sample in samples if sample.at > now - idle_for)
    if running and wanted == 0 and (busy or now - active_since < idle_for):
        wanted = 1
    wanted = max(wanted, low)
    return Decision(min(wanted, scaling.high) if scaling.high else wanted, panic_until)


def _wanted(scaling: Scaling, samples: Sequence[Sample], since: float) -> int:
    seen = [sample.concurrency for sample in samples if sample.at > since]
    return math.ceil(sum(seen) / len(seen) / scaling.target) if seen else 0
