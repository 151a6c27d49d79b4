"""How many replicas a revision needs: Knative's concurrency autoscaler (KPA) as a function of samples and time. Pure.

The defaults are those of Knative's `config-autoscaler`: a window of 60 s, 100 requests × 70% per replica, and a panic
window of a tenth, in which twice the capacity is answered at once. All traffic passes the gateway, which buffers while
nothing runs, so the grace period in which a cluster re-routes to its activator is not needed: only
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
class ScalingSpec:
    """A revision's limits. `target` is the concurrency that a replica should have, `container_concurrency` the maximum
    (0: any). Times in seconds.
    """

    min_scale: int = 0
    max_scale: int = 0
    initial_scale: int = 1
    target: float = 70.0
    container_concurrency: int = 0
    window: float = 60.0
    retention_period: float = 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The mean concurrency, in requests, over the time up to `at` (seconds of a monotonic clock)."""

    at: float
    concurrency: float


@dataclass(frozen=True, slots=True)
class ScaleResult:
    """The desired number of replicas, and until when panic mode lasts."""

    replicas: int
    panic_until: float = 0.0


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as `1m30s`; ValueError if it is not one."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration such as 60s or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def parse_scaling(annotations: Mapping[str, str], concurrency: int, *, cap: int = 0) -> ScalingSpec:
    """The limits set by a revision's annotations and containerConcurrency; ValueError names an invalid annotation."""

    def number(name: str, default: float) -> float:
        text = annotations.get(_PREFIX + name)
        try:
            return default if text is None else float(text)
        except ValueError:
            raise ValueError(f"{_PREFIX}{name}={text!r} is not a number") from None

    def seconds(name: str, default: float) -> float:
        text = annotations.get(_PREFIX + name)
        try:
            return default if text is None else parse_duration(text)
        except ValueError as error:
            raise ValueError(f"{_PREFIX}{name}: {error}") from None

    utilization = number("target-utilization-percentage", 70.0) / 100.0
    target = number("target", float(concurrency) if concurrency else 100.0)
    if concurrency:
        target = min(target, float(concurrency))
    high = int(number("max-scale", 0))
    if cap:
        high = min(high, cap) if high else cap
    low = int(number("min-scale", 0))
    return ScalingSpec(
        min_scale=min(low, high) if high else low,
        max_scale=high,
        initial_scale=int(number("initial-scale", 1)),
        target=max(target * utilization, 0.01),
        container_concurrency=concurrency,
        window=seconds("window", 60.0),
        retention_period=seconds("scale-to-zero-pod-retention-period", 0.0),
    )


def scale(
    scaling: ScalingSpec,
    samples: Sequence[Sample],
    now: float,
    *,
    running: int,
    waiting: int,
    active_since: float,
    reachable: bool = True,
    panic_until: float = 0.0,
) -> ScaleResult:
    """The desired number of replicas.

    `running` exist now, `waiting` requests are buffered for lack of one; `active_since` is when the revision last
    scaled from zero, to which it does not return before a whole window has passed. The minimum does not apply to a
    revision that is not `reachable` by any traffic or tag.
    """
    low = scaling.min_scale if reachable else 0
    stable = _replicas_for(scaling, samples, now - scaling.window)
    panic = _replicas_for(scaling, samples, now - scaling.window * PANIC_SHARE)
    if panic >= PANIC_THRESHOLD * max(running, 1):
        panic_until = now + scaling.window
    desired = max(stable, panic, running) if now < panic_until else stable
    if waiting:
        desired = max(desired, 1)
    idle_for = scaling.window + scaling.retention_period
    busy = any(sample.concurrency > 0 for sample in samples if sample.at > now - idle_for)
    if running and desired == 0 and (busy or now - active_since < idle_for):
        desired = 1
    desired = max(desired, low)
    return ScaleResult(min(desired, scaling.max_scale) if scaling.max_scale else desired, panic_until)


def _replicas_for(scaling: ScalingSpec, samples: Sequence[Sample], since: float) -> int:
    recent = [sample.concurrency for sample in samples if sample.at > since]
    return math.ceil(sum(recent) / len(recent) / scaling.target) if recent else 0
