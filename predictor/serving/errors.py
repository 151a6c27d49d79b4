"""What can go wrong with a request, and how each protocol says it.

request ─▶ middleware / interceptor ─▶ kserve ─▶ model ─▶ engine
   ▲                │
   └── {"error"} ◀──┴── as_request_error(any exception): one RequestError with its HTTP status and gRPC code

Only a RequestError's message reaches a client. Every other exception is an InternalError: logged with its traceback
under an error id, and only the id is told.
"""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import ClassVar

from predictor import engine
from predictor.question import QuestionError


class RequestError(Exception):
    """A request that cannot be answered. `cause` is its label in metrics and logs."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    grpc_code: ClassVar[str] = "INTERNAL"
    cause: ClassVar[str] = "internal"

    def __init__(self, message: str, *, headers: dict[str, str] | None = None) -> None:
        self.message = message
        self.headers = headers or {}
        super().__init__(message)


class BadRequest(RequestError):
    status, grpc_code, cause = HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "bad_request"


class Forbidden(RequestError):
    status, grpc_code, cause = HTTPStatus.FORBIDDEN, "PERMISSION_DENIED", "forbidden"


class NotFound(RequestError):
    status, grpc_code, cause = HTTPStatus.NOT_FOUND, "NOT_FOUND", "not_found"


class MethodNotAllowed(RequestError):
    status, grpc_code, cause = HTTPStatus.METHOD_NOT_ALLOWED, "UNIMPLEMENTED", "method_not_allowed"


class BodyTimeout(RequestError):
    status, grpc_code, cause = HTTPStatus.REQUEST_TIMEOUT, "DEADLINE_EXCEEDED", "body_timeout"


class TooLarge(RequestError):
    status, grpc_code, cause = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "INVALID_ARGUMENT", "too_large"


class UnsupportedMediaType(RequestError):
    status, grpc_code, cause = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "INVALID_ARGUMENT", "unsupported_media_type"


class InternalError(RequestError):
    """An error of ours. The message holds an id that finds the traceback in the log."""

    def __init__(self) -> None:
        self.error_id = uuid.uuid4().hex[:12]
        super().__init__(f"internal error {self.error_id}; the server's log says more under this id")


class NotFinite(InternalError):
    """The model's numbers for a question are no answer. The id finds the numbers in the log."""

    cause: ClassVar[str] = "not_finite"

    def __init__(self, index: int) -> None:
        super().__init__()
        self.message = (
            f"question {index} has no answer: this version's numbers for it are not finite; the server's log says more "
            f"under {self.error_id}"
        )
        self.args = (self.message,)


class QueueFull(RequestError):
    """The server is busy; `retry_after` seconds are estimated until there is room."""

    status, grpc_code, cause = HTTPStatus.SERVICE_UNAVAILABLE, "RESOURCE_EXHAUSTED", "queue_full"

    def __init__(self, retry_after: int) -> None:
        # gRPC retry policies read the push-back from trailing metadata (gRFC A6).
        headers = {"retry-after": str(retry_after), "grpc-retry-pushback-ms": str(retry_after * 1000)}
        super().__init__(f"the queue is full; try again in {retry_after} s", headers=headers)


class NotReady(RequestError):
    status, grpc_code, cause = HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", "not_ready"


class DeadlineExceeded(RequestError):
    status, grpc_code, cause = HTTPStatus.GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED", "deadline"


def as_request_error(error: BaseException) -> RequestError:
    """The one mapping table from what was raised to what a client is told."""
    match error:
        case RequestError():
            return error
        case QuestionError():
            return BadRequest(str(error))
        case engine.QueueFull():
            return QueueFull(error.retry_after)
        case engine.TooLarge():
            return TooLarge(str(error))
        case engine.Stopping():
            return NotReady(str(error), headers={"retry-after": "1"})
        case engine.DeadlineExceeded() | TimeoutError():
            return DeadlineExceeded("the request was not answered within its time")
        case engine.ScoringFailed():
            # By name, so that this module stays light: the scorer imports torch.
            return NotFinite(error.index) if type(error.__cause__).__name__ == "NotFinite" else InternalError()
    return _from_kserve(error) or InternalError()


def _from_kserve(error: BaseException) -> RequestError | None:
    # kserve is imported by then, as only its code raises these; by name, so that this module stays light.
    name, text = type(error).__name__, str(error)
    if not type(error).__module__.startswith(("kserve.", "starlette.", "fastapi.")):
        return None
    if name in ("InvalidInput", "UnsupportedProtocol"):
        return BadRequest(text)
    if name == "ModelNotFound":
        return NotFound(text)
    if name in ("ModelNotReady", "ServerNotReady", "ServerNotLive"):
        return NotReady(text, headers={"retry-after": "1"})
    status = getattr(error, "status_code", None)
    if status == HTTPStatus.NOT_FOUND:
        return NotFound("there is nothing here; see /openapi.json for the paths this server has")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = getattr(error, "headers", None) or {}
        return MethodNotAllowed(f"this path takes {headers.get('Allow', 'another method')}", headers=dict(headers))
    if isinstance(status, int) and 400 <= status < 500:
        return BadRequest("the request could not be read")
    return None
