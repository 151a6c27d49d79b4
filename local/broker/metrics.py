"""The broker's Prometheus metrics; the labels have the names of Knative Eventing's metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LABELS = ("namespace_name", "trigger_name", "stage")

# ((namespace, trigger, stage), queue depth)
Depths = Callable[[], Iterable[tuple[tuple[str, str, str], int]]]


def code_class(status: int | None) -> str:
    """2xx to 5xx; none if there was no response."""
    return "none" if status is None else f"{status // 100}xx"


class Metrics:
    """`stage` is subscriber or dead_letter_sink."""

    def __init__(self, depths: Depths) -> None:
        self.registry = CollectorRegistry()
        self.ingress = Counter(
            "broker_ingress_events",
            "Events received, by the answer's code class",
            ("namespace_name", "broker_name", "response_code_class"),
            registry=self.registry,
        )
        self.ingress_seconds = Histogram(
            "broker_ingress_seconds",
            "From an event's arrival to its acknowledgement",
            buckets=_LATENCY,
            registry=self.registry,
        )
        self.deliveries = Counter(
            "broker_delivery_attempts",
            "Attempts to deliver, by the response's code class",
            (*_LABELS, "response_code_class"),
            registry=self.registry,
        )
        self.attempt_seconds = Histogram(
            "broker_delivery_attempt_seconds",
            "One attempt's request and response",
            _LABELS,
            buckets=_LATENCY,
            registry=self.registry,
        )
        self.dead_letters = Counter(
            "broker_dead_letters",
            "Abandoned deliveries, by what became of them: sent to the sink, or kept",
            ("namespace_name", "trigger_name", "outcome"),
            registry=self.registry,
        )
        self.replies = Counter(
            "broker_replies", "Replies of subscribers, accepted again as events", ("namespace_name", "trigger_name"),
            registry=self.registry,
        )  # fmt: skip
        self.commit_seconds = Histogram(
            "broker_commit_seconds", "One commit with its disk flush", buckets=_LATENCY, registry=self.registry
        )
        self.commit_operations = Histogram(
            "broker_commit_operations",
            "Operations in one commit",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
            registry=self.registry,
        )
        self._children: dict[tuple[str, str, str, str], tuple[Counter, Histogram]] = {}
        self.registry.register(_DepthCollector(depths))

    def observe_attempt(self, labels: tuple[str, str, str], status: int | None, seconds: float) -> None:
        """One attempt of (namespace, trigger, stage)."""
        key = (*labels, code_class(status))
        child_metrics = self._children.get(key)
        if child_metrics is None:  # looking up labels costs more than counting
            child_metrics = self._children[key] = (self.deliveries.labels(*key), self.attempt_seconds.labels(*labels))
        child_metrics[0].inc()
        child_metrics[1].observe(seconds)

    def observe_commit(self, operations: int, seconds: float) -> None:
        self.commit_seconds.observe(seconds)
        self.commit_operations.observe(operations)


class _DepthCollector:
    """Reads the depths at scrape time, so that the hot path has no gauge to maintain."""

    def __init__(self, depths: Depths) -> None:
        self._depths = depths

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("broker_queue_depth", "Deliveries that wait, in flight or retried", labels=_LABELS)
        for labels, depth in self._depths():
            family.add_metric(labels, depth)
        yield family
