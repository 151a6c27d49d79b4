"""The state of one request, from the transport that received it to its log line."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from common.question import Answer

_REQUEST_ID = re.compile(r"[\w.:@/+=-]{1,128}", re.ASCII)
# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class TraceParent:
    """The caller's span, from the W3C `traceparent` header."""

    trace_id: str
    span_id: str
    flags: int

    @classmethod
    def parse(cls, header: str | None) -> TraceParent | None:
        match = _TRACEPARENT.fullmatch(header.strip()) if header else None
        return cls(match[1], match[2], int(match[3], 16)) if match else None


@dataclass(slots=True)
class RequestContext:
    """The request being answered. `deadline` is a time.monotonic() value."""

    protocol: str
    method: str
    path: str
    deadline: float
    request_id: str
    trace_parent: TraceParent | None = None
    trace_state: str | None = None
    trace_id: str | None = None
    started: float = field(default_factory=time.perf_counter)
    started_ns: int = field(default_factory=time.time_ns)
    questions: int = 0
    tokens: int = 0
    completion_tokens: int = 0
    stages: dict[str, tuple[int, int]] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    error_id: str | None = None
    cause: str | None = None

    @property
    def seconds(self) -> float:
        """Since the request arrived."""
        return time.perf_counter() - self.started

    def stage(self, name: str, start_ns: int, end_ns: int) -> None:
        """Records when a stage of the work ran; a stage that ran several times spans from the first to the last."""
        if start_ns and end_ns:
            first, last = self.stages.get(name, (start_ns, end_ns))
            self.stages[name] = (min(first, start_ns), max(last, end_ns))

    def stage_seconds(self, name: str) -> float | None:
        if name not in self.stages:
            return None
        start, end = self.stages[name]
        return max(0, end - start) / 1e9


def open_context(protocol: str, method: str, path: str, headers: Mapping[str, str], timeout: float) -> RequestContext:
    """A context for a request with these headers (lower-case names)."""
    given = headers.get("x-request-id", "")
    parent = TraceParent.parse(headers.get("traceparent"))
    return RequestContext(
        protocol,
        method,
        path,
        deadline=time.monotonic() + timeout,
        request_id=given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4()),
        trace_parent=parent,
        trace_state=headers.get("tracestate"),
        trace_id=parent.trace_id if parent else None,
    )


_current: ContextVar[RequestContext] = ContextVar("mcqa_request")


def set_current_request(context: RequestContext) -> None:
    _current.set(context)


def current_request() -> RequestContext:
    """The context of the request that this task works for."""
    return _current.get()
