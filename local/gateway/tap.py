"""What of one exchange is logged, and when it is settled."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from common.event_types import INFERENCE_REQUEST, INFERENCE_RESPONSE
from local.gateway.payloads import LogTarget, Payload, PayloadLogger, event_id, logged_headers
from local.gateway.requests import Body, Head

PATIENCE = 5.0
"""A client that leaves later than this, in seconds, says something about the version: that it was too slow."""


class Tap:
    """The events of an exchange with one revision.

    A request without a response is a failure of its version, so the request's event goes out with the outcome: not at
    all when the client leaves first. What takes longer than PATIENCE is sent then, for a version that hangs.
    """

    def __init__(self, logger: PayloadLogger, target: LogTarget, head: Head, body: Body) -> None:
        self._logger, self._target = logger, target
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]
        self._request = Payload(
            target,
            INFERENCE_REQUEST,
            event_id(head.get(b"ce-id")),
            head.get(b"content-type"),
            logged_headers(target, headers),
            body.content,
            datetime.now(UTC),
        )
        self._told = False
        self._timer: asyncio.TimerHandle | None = None

    def handed_over(self) -> None:
        """A replica has it now: KServe's agent stands beside the replica, so its clock begins here."""
        request = self._request
        self._request = Payload(
            request.target,
            INFERENCE_REQUEST,
            request.id,
            request.content_type,
            request.metadata,
            request.body,
            datetime.now(UTC),
        )
        if self._timer is None and not self._told:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self.failed)

    def failed(self) -> None:
        """No response, or none that is logged."""
        self._cancel()
        if not self._told:
            self._told = True
            self._logger.send(self._request)

    def answered(self, status: int, body: bytes) -> None:
        self.failed()
        if status == 200:
            request = self._request
            self._logger.send(
                Payload(
                    self._target,
                    INFERENCE_RESPONSE,
                    request.id,
                    request.content_type,
                    request.metadata,
                    body,
                    datetime.now(UTC),
                )
            )

    def left(self) -> None:
        """The client went away."""
        self._cancel()
        self._told = True

    def _cancel(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


def is_probe(head: Head) -> bool:
    """Whether it is a kubelet's probe, as Knative tells them: the agent logs none."""
    return head.get(b"user-agent").startswith("kube-probe/") or bool(head.get(b"k-kubelet-probe"))
