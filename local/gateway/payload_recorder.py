"""Records one request and its response for the payload logger, and decides when which event is sent."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from common.event_types import INFERENCE_REQUEST, INFERENCE_RESPONSE
from local.gateway.http_message import RequestBody, RequestHead
from local.gateway.payload_logger import (
    LoggerSpec,
    PayloadEvent,
    PayloadLogger,
    event_id,
    logged_headers,
)

SLOW_SECONDS = 5.0
"""A client that disconnects later than this says something about the version: that it was too slow."""


class PayloadRecorder:
    """The events of one request to one revision.

    A request without a response counts as a failure of its version, so the request's event is sent with the outcome,
    and not at all if the client disconnects first. After SLOW_SECONDS it is sent anyway, for a version that hangs; one
    whose response has begun does not, so who stops reading an explanation says nothing about it.
    """

    def __init__(self, logger: PayloadLogger, spec: LoggerSpec, head: RequestHead, body: RequestBody) -> None:
        self._logger = logger
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]
        self._request = PayloadEvent(
            spec,
            INFERENCE_REQUEST,
            event_id(head.get(b"ce-id")),
            head.get(b"content-type"),
            logged_headers(spec, headers),
            body.content,
            datetime.now(UTC),
        )
        self._settled = False
        self._timer: asyncio.TimerHandle | None = None

    def forwarded(self) -> None:
        """A replica gets the request now: KServe's agent runs next to the replica, so its clock starts here."""
        self._request = replace(self._request, at=datetime.now(UTC))
        if self._timer is None and not self._settled:
            self._timer = asyncio.get_running_loop().call_later(SLOW_SECONDS, self.failed)

    def began(self) -> None:
        """The response's head is there."""
        self._cancel_timer()

    def failed(self) -> None:
        """There is no response, or none that is logged."""
        self._cancel_timer()
        if not self._settled:
            self._settled = True
            self._logger.send(self._request)

    def responded(self, status: int, body: bytes) -> None:
        self.failed()
        if status == 200:
            self._logger.send(replace(self._request, type=INFERENCE_RESPONSE, body=body, at=datetime.now(UTC)))

    def client_disconnected(self) -> None:
        self._cancel_timer()
        self._settled = True

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


def is_probe(head: RequestHead) -> bool:
    """Whether it is a kubelet's probe, recognised as in Knative: the agent logs none."""
    return head.get(b"user-agent").startswith("kube-probe/") or bool(head.get(b"k-kubelet-probe"))
