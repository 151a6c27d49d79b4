"""Trace ids as the loop writes them: W3C's traceparent, and the ids of requests, which are trace ids with hyphens.

A client that asks a question makes one UUID: its 32 hex digits are the request's trace id, and the UUID itself is its
`ce-id`, under which KServe's payload logger, which passes no traceparent on, logs it. So one id finds both.
"""

from __future__ import annotations

import re
import uuid

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_HEX = re.compile(r"[0-9a-f]{32}")
_SPAN = slice(0, 16)


def trace_id(text: str) -> str | None:
    """The 32 hex digits in a traceparent, a UUID or a trace id; None where it is none of them."""
    plain = text.strip().lower()
    if match := _TRACEPARENT.fullmatch(plain):
        return match[1]
    digits = plain.replace("-", "")
    return digits if _HEX.fullmatch(digits) else None


def request_id(trace: str) -> str:
    """The trace id in the form of a UUID, as requests have it."""
    return str(uuid.UUID(hex=trace))


def root_traceparent(trace: str) -> str:
    """A sampled traceparent. Who begins a trace has no span to name: the start of the id stands for one."""
    return f"00-{trace}-{trace[_SPAN]}-01"
