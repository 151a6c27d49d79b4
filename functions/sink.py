"""Events on their way out: to the address in K_SINK, which Knative's SinkBinding also uses. On a cluster the Broker.

An event's id is a digest of its content, so that a repeated call sends the same event again and receivers, which dedupe
on (source, id, type), act once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx2

from common.environment import text
from common.errors import UnavailableError
from functions.events import Event

CDEVENTS_VERSION = "0.5.0"
TIMEOUT = httpx2.Timeout(10.0, connect=3.0)
_PLAIN = "!#$&'()*+,/:;=?@[]~"


def digest(*parts: Any) -> str:
    """32 hex digits that are the same for the same parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def trace_of(event: Event, *key: Any) -> str:
    """The W3C traceparent to continue: the event's own, or one made from the key, so that a retry has the same."""
    return event.extensions.get("traceparent") or traceparent(*key)


def traceparent(*key: Any) -> str:
    """A sampled W3C traceparent whose trace id is a digest of the key."""
    whole = digest("trace", *key)
    return f"00-{whole}-{whole[:16]}-01"


def loop_event(type: str, source: str, key: str, data: Mapping[str, Any], time: float, trace: str | None) -> Event:
    """One of the loop's own events. `key` identifies it among others of its type, `time` in Unix seconds."""
    extensions = {"traceparent": trace} if trace else {}
    return Event(
        id=key,
        source=source,
        type=type,
        time=_iso(time),
        datacontenttype="application/json",
        extensions=extensions,
        data=json.dumps(data).encode(),
    )


def cdevent(
    type: str,
    source: str,
    key: str,
    subject: str,
    content: Mapping[str, Any],
    time: float,
    trace: str | None,
    **custom: Any,
) -> Event:
    """A CDEvent (specification 0.5) about the subject with this id; `custom` becomes its customData."""
    context = {"specversion": CDEVENTS_VERSION, "id": key, "source": source, "type": type, "timestamp": _iso(time)}
    data: dict[str, Any] = {
        "context": context,
        "subject": {"id": subject, "source": source, "content": dict(content)},
    }
    if custom:
        data |= {"customData": custom, "customDataContentType": "application/json"}
    return loop_event(type, source, key, data, time, trace)


class Sink:
    """The receiver of events. SettingError when `environ` has no usable K_SINK."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._url = text(environ, "K_SINK")
        self._http = httpx2.Client(timeout=TIMEOUT)

    def send(self, event: Event) -> None:
        """Returns once the event is accepted; UnavailableError when that is not known."""
        headers = {f"ce-{name}": quote(value, safe=_PLAIN) for name, value in event.attributes.items()}
        headers["content-type"] = headers.pop("ce-datacontenttype", "application/json")
        headers["ce-specversion"] = "1.0"
        try:
            response = self._http.post(self._url, content=event.data, headers=headers)
        except httpx2.TransportError as error:
            raise UnavailableError(f"the sink does not answer: {type(error).__name__}: {error}") from None
        if not response.is_success:
            raise UnavailableError(f"the sink answered {response.status_code} to {event.type}: {response.text[:100]}")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
