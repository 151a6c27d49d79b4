"""What is reported of a finished request: metrics, its log line, its trace."""

from __future__ import annotations

import logging
import time
from typing import Any

from predictor.serving.errors import InternalError, RequestError
from predictor.serving.logs import log_request
from predictor.serving.metrics import Metrics
from predictor.serving.request_context import RequestContext
from predictor.serving.tracing import Tracing

log = logging.getLogger(__name__)

INFERENCE_METHODS = ("predict", "explain", "infer")


class Telemetry:
    """Follows requests of every protocol from `begin` to `end`."""

    def __init__(self, metrics: Metrics, tracing: Tracing | None, model_version: str) -> None:
        self.metrics = metrics
        self._tracing = tracing
        self._model_version = model_version
        self._spans: dict[int, Any] = {}
        self.in_flight = 0

    def begin(self, request: RequestContext) -> None:
        if request.method not in INFERENCE_METHODS:
            return
        self.in_flight += 1
        self.metrics.in_flight.set(self.in_flight)
        if self._tracing:
            self._spans[id(request)] = self._tracing.begin(request)

    def failed(self, request: RequestContext, error: RequestError, raised: BaseException) -> None:
        """Records why the request failed; an internal error is logged with its traceback under its error id."""
        request.cause = error.cause
        if isinstance(error, InternalError):
            request.error_id = error.error_id
            fields = {"error_id": error.error_id, "request_id": request.request_id}
            log.error("internal error", exc_info=raised, extra={"fields": fields})

    def end(self, request: RequestContext, status: str) -> None:
        now = time.time_ns()
        if "answer" in request.stages:
            request.stage("answer", request.stages["answer"][0], now)
        inference = request.method in INFERENCE_METHODS
        self.metrics.record_request(request, status)
        log_request(request, status, self._model_version, debug=not inference)
        if not inference:
            return
        self.in_flight -= 1
        self.metrics.in_flight.set(self.in_flight)
        if self._tracing:
            failed = request.cause in ("internal", "deadline", "not_ready", "queue_full")
            self._tracing.end(self._spans.pop(id(request)), request, status, failed, now)
