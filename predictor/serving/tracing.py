"""OpenTelemetry traces, if the standard OTEL_* variables configure them; otherwise nothing is imported.

Spans are created when a request ends, from the times it recorded, so tracing does not delay the answer.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from predictor import __version__
from predictor.serving.request_context import RequestContext

log = logging.getLogger(__name__)


def tracing_wanted(env: Mapping[str, str] = os.environ) -> bool:
    """Follows OpenTelemetry's environment variable specification, except that traces are off unless a sink is named."""
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
    return any(env.get(name) for name in names)


class Tracing:
    """Exports a span for each inference request, with children queue, tokenise, forward and answer."""

    def __init__(self, model_name: str, model_version: str) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME") or model_name})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(_exporter()))
        self._tracer = self._provider.get_tracer("predictor", __version__)
        self._model = {"mcqa.model.name": model_name, "mcqa.model.version": model_version}

    def begin(self, request: RequestContext) -> Any:
        """The request's span; sets the trace id that its log line has."""
        from opentelemetry.trace import SpanKind, format_trace_id

        span = self._tracer.start_span(
            f"{request.protocol} {request.method}",
            context=_parent(request),
            kind=SpanKind.SERVER,
            start_time=request.started_ns,
            attributes={**self._model, "mcqa.request.id": request.request_id, "url.path": request.path},
        )
        request.trace_id = format_trace_id(span.get_span_context().trace_id)
        return span

    def end(self, span: Any, request: RequestContext, status: str, failed: bool, end_ns: int) -> None:
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        if span.is_recording():
            inside = set_span_in_context(span)
            for name, (start, end) in request.stages.items():
                self._tracer.start_span(name, context=inside, start_time=start).end(end_time=end)
            span.set_attribute("mcqa.request.status", status)
            span.set_attribute("mcqa.questions", request.questions)
            span.set_attribute("mcqa.prompt_tokens", request.tokens)
            if failed:
                span.set_status(Status(StatusCode.ERROR, request.cause or ""))
        span.end(end_time=end_ns)

    def close(self) -> None:
        self._provider.shutdown()


def _exporter() -> Any:
    if os.environ.get("OTEL_TRACES_EXPORTER") == "console":
        import sys

        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr, formatter=lambda span: span.to_json(indent=None) + "\n")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _parent(request: RequestContext) -> Any:
    """The caller's span as OpenTelemetry's own propagator reads it, so that flags and tracestate follow its rules."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = request.trace_parent
    if parent is None:
        return Context()
    carrier = {"traceparent": f"00-{parent.trace_id}-{parent.span_id}-{parent.flags:02x}"}
    if request.trace_state:
        carrier["tracestate"] = request.trace_state
    return TraceContextTextMapPropagator().extract(carrier, context=Context())
