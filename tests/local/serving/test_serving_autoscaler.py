"""How many replicas a revision needs."""

from __future__ import annotations

from typing import Any

import pytest

from local.serving.autoscaler import Sample, ScalingSpec, parse_duration, parse_scaling, scale


@pytest.mark.parametrize(
    ("annotations", "concurrency", "expected"),
    [
        ({}, 0, ScalingSpec()),
        ({"min-scale": "1", "max-scale": "3"}, 0, ScalingSpec(min_scale=1, max_scale=3)),
        ({}, 10, ScalingSpec(target=7.0, container_concurrency=10)),
        ({"target": "50"}, 10, ScalingSpec(target=7.0, container_concurrency=10)),
        ({"target": "8", "target-utilization-percentage": "100"}, 0, ScalingSpec(target=8.0)),
        (
            {"window": "6s", "scale-to-zero-pod-retention-period": "1m5s"},
            0,
            ScalingSpec(window=6.0, retention_period=65.0),
        ),
    ],
)
def test_read_scaling(annotations: Any, concurrency: Any, expected: Any) -> None:
    actual = {f"autoscaling.knative.dev/{key}": value for key, value in annotations.items()}
    assert parse_scaling(actual, concurrency) == expected


def test_bad_annotations_are_named() -> None:
    with pytest.raises(ValueError, match=r"autoscaling.knative.dev/window: '6' is not a duration"):
        parse_scaling({"autoscaling.knative.dev/window": "6"}, 0)
    assert parse_duration("1h1m1.5s") == 3661.5
    assert parse_scaling({"autoscaling.knative.dev/max-scale": "9"}, 0, cap=2).max_scale == 2


def load(now: float, seconds: int, concurrency: float) -> list[Sample]:
    return [Sample(now - second, concurrency) for second in range(seconds)]


@pytest.mark.parametrize(
    ("scaling", "samples", "facts", "replicas"),
    [
        (ScalingSpec(), [], {"running": 0}, 0),
        (ScalingSpec(), [], {"running": 0, "waiting": 1}, 1),
        (ScalingSpec(min_scale=2), [], {"running": 0}, 2),
        (ScalingSpec(min_scale=2), load(1000, 60, 0), {"running": 2, "reachable": False}, 0),
        (ScalingSpec(), load(1000, 60, 0), {"running": 1}, 0),
        (ScalingSpec(), load(1000, 30, 0), {"running": 1, "active_since": 970}, 1),
        (ScalingSpec(retention_period=60), [*load(1000, 60, 0), Sample(930, 1)], {"running": 1}, 1),
        (ScalingSpec(target=7), load(1000, 60, 14), {"running": 2}, 2),
        (ScalingSpec(target=7), load(1000, 60, 14.1), {"running": 2}, 3),
        (ScalingSpec(target=7, max_scale=2), load(1000, 60, 70), {"running": 2}, 2),
        (ScalingSpec(), load(1000, 60, 0.001), {"running": 1}, 1),
        # A burst: the stable window sees 1 replica, the panic window 5.
        (ScalingSpec(target=7), load(1000, 6, 35) + [Sample(1000 - s, 0) for s in range(6, 60)], {"running": 1}, 5),
        (ScalingSpec(target=7), load(1000, 60, 1), {"running": 5, "panic_until": 1010}, 5),
    ],
)
def test_decide(scaling: Any, samples: Any, facts: Any, replicas: Any) -> None:
    facts = {"waiting": 0, "active_since": 0.0, **facts}
    assert scale(scaling, samples, 1000.0, **facts).replicas == replicas
