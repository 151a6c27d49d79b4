"""Prometheus metrics. Names follow https://prometheus.io/docs/practices/naming: base units, `_total` for counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Info

from predictor import __version__

if TYPE_CHECKING:
    from predictor.engine import Engine
    from predictor.scorer import Scorer
    from predictor.serving.request_context import RequestContext

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
_SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class Metrics:
    """Every metric of the server, and the engine's Observer. Labels take values from small fixed sets only."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        def histogram(name: str, help: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
            return Histogram(f"mcqa_{name}", help, labels, buckets=buckets, registry=registry)

        def counter(name: str, help: str, *labels: str) -> Counter:
            return Counter(f"mcqa_{name}", help, labels, registry=registry)

        def gauge(name: str, help: str) -> Gauge:
            return Gauge(f"mcqa_{name}", help, registry=registry)

        self.requests = counter("requests", "Requests by protocol, method and status.", "protocol", "method", "status")
        self.errors = counter("errors", "Requests that failed, by cause.", "cause")
        self.in_flight = gauge("requests_in_flight", "Inference requests being answered.")
        self.queue_questions = gauge("queue_questions", "Questions waiting for the model.")
        self.queue_tokens = gauge("queue_tokens", "Prompt tokens waiting for the model.")
        self.queue_wait = histogram("queue_wait_seconds", "Time a request waited for the model.", _LATENCY)
        self.dropped_questions = counter("questions_dropped", "Questions that left the queue unscored.")
        self.batch_questions = histogram("batch_questions", "Questions scored together.", _COUNTS)
        self.batch_tokens = histogram("batch_tokens", "Prompt tokens scored together, every pass counted.", _TOKENS)
        self.tokens = counter("tokens", "Prompt tokens of answered questions, and tokens written.", "kind")
        self.stages = histogram("stage_seconds", "Time of a request by stage.", _LATENCY, ("stage",))
        self.answers = counter("answers", "Answers by letter.", "letter")
        self.confidence = histogram("answer_confidence", "Probability of the chosen letter.", _SHARES)
        self.letter_mass = histogram("answer_letter_mass", "Share of all probability the letters held.", _SHARES)
        self.ready = gauge("ready", "1 while the model answers.")
        self.model_info = Info("mcqa_model", "The model that answers.", registry=registry)
        Info("mcqa_build", "The server's code.", registry=registry).info({"version": __version__})

    def observe_engine(self, engine: Engine, scorer: Scorer, name: str, revision: str) -> None:
        """Reads the queue's depth at each scrape, and exports which model answers."""
        self.queue_questions.set_function(lambda: engine.queued_questions)
        self.queue_tokens.set_function(lambda: engine.queued_tokens)
        self.model_info.info(
            {
                "name": name,
                "version": scorer.model_version,
                "revision": revision,
                "device": scorer.device,
                "dtype": scorer.dtype,
                "parameters": str(scorer.parameters),
            }
        )

    def on_batch(self, questions: int, tokens: int, seconds: float) -> None:
        self.batch_questions.observe(questions)
        self.batch_tokens.observe(tokens)

    def on_wait(self, seconds: float) -> None:
        self.queue_wait.observe(seconds)

    def on_drop(self, questions: int) -> None:
        self.dropped_questions.inc(questions)

    def record_request(self, request: RequestContext, status: str) -> None:
        """Counts a finished request, successful or not."""
        self.requests.labels(request.protocol, request.method, status).inc()
        if request.cause:
            self.errors.labels(request.cause).inc()
        for stage in request.stages:
            self.stages.labels(stage).observe(request.stage_seconds(stage) or 0.0)
        if request.questions:
            self.stages.labels("total").observe(request.seconds)
        for answer in request.answers:
            self.answers.labels(answer.letter).inc()
            self.confidence.observe(answer.confidence)
            self.letter_mass.observe(answer.letter_mass)
            self.tokens.labels("prompt").inc(answer.prompt_tokens)
        self.tokens.labels("completion").inc(request.completion_tokens)
