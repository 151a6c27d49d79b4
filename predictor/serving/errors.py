"""What can go wrong with a request, and how each protocol reports it.

request ─▶ middleware / interceptor ─▶ kserve ─▶ model ─▶ engine
   ▲                │
   └── {"error"} ◀──┴── as_request_error(any exception): one RequestError with its HTTP status and gRPC code

Only a RequestError's message reaches a client. Every other exception becomes an InternalError: it is logged with its
traceback under an error id, and the client gets only the id.
"""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import ClassVar

from common.question import QuestionError
from predictor import engine, errors


class RequestError(Exception):
    """A request that cannot be answered. `cause` is its label in metrics and logs."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    grpc_code: ClassVar[str] = "INTERNAL"
    cause: ClassVar[str] = "internal"

    def __init__(self, message: str, *, headers: dict[str, str] | None = None) -> None:
        self.message = message
        self.headers = headers or {}
        super().__init__(message)


class BadRequestError(RequestError):
    status, grpc_code, cause = HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "bad_request"


class ForbiddenError(RequestError):
    status, grpc_code, cause = HTTPStatus.FORBIDDEN, "PERMISSION_DENIED", "forbidden"


class NotFoundError(RequestError):
    status, grpc_code, cause = HTTPStatus.NOT_FOUND, "NOT_FOUND", "not_found"


class MethodNotAllowedError(RequestError):
    status, grpc_code, cause = HTTPStatus.METHOD_NOT_ALLOWED, "UNIMPLEMENTED", "method_not_allowed"


class BodyTimeoutError(RequestError):
    status, grpc_code, cause = HTTPStatus.REQUEST_TIMEOUT, "DEADLINE_EXCEEDED", "body_timeout"


class PayloadTooLargeError(RequestError):
    status, grpc_code, cause = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "INVALID_ARGUMENT", "too_large"


class UnsupportedMediaTypeError(RequestError):
    status, grpc_code, cause = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "INVALID_ARGUMENT", "unsupported_media_type"


class InternalError(RequestError):
    """An error of the server. Its message has the id under which the log has the traceback."""

    def __init__(self) -> None:
        self.error_id = uuid.uuid4().hex[:12]
        super().__init__(f"internal error {self.error_id}; see the server's log for this id")


class NonFiniteScoreError(InternalError):
    """The model's numbers for a question are not finite. The log has them under the id."""

    cause: ClassVar[str] = "not_finite"

    def __init__(self, index: int) -> None:
        super().__init__()
        self.message = (
            f"question {index} has no answer: this version's numbers for it are not finite; see the server's log "
            f"for {self.error_id}"
        )
        self.args = (self.message,)


class QueueFullError(RequestError):
    """The server is busy; `retry_after` seconds are estimated until there is room."""

    status, grpc_code, cause = HTTPStatus.SERVICE_UNAVAILABLE, "RESOURCE_EXHAUSTED", "queue_full"

    def __init__(self, retry_after: int) -> None:
        # gRPC retry policies read the push-back from trailing metadata (gRFC A6).
        headers = {"retry-after": str(retry_after), "grpc-retry-pushback-ms": str(retry_after * 1000)}
        super().__init__(f"the queue is full; try again in {retry_after} s", headers=headers)


class NotReadyError(RequestError):
    status, grpc_code, cause = HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", "not_ready"


class DeadlineExceededError(RequestError):
    status, grpc_code, cause = HTTPStatus.GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED", "deadline"


def as_request_error(error: BaseException) -> RequestError:
    """The one mapping table from exceptions to what a client receives."""
    match error:
        case RequestError():
            return error
        case QuestionError():
            return BadRequestError(str(error))
        case engine.QueueFullError():
            return QueueFullError(error.retry_after)
        case engine.RequestTooLargeError():
            return PayloadTooLargeError(str(error))
        case engine.EngineStoppedError():
            return NotReadyError(str(error), headers={"retry-after": "1"})
        case engine.DeadlineExceededError() | TimeoutError():
            return DeadlineExceededError("the request was not answered within its time")
        case engine.ScoringError():
            non_finite = isinstance(error.__cause__, errors.NonFiniteScoreError)
            return NonFiniteScoreError(error.index) if non_finite else InternalError()
    return _from_kserve(error) or InternalError()


def _from_kserve(error: BaseException) -> RequestError | None:
    # By name, so that this module does not import kserve: only its code raises these.
    name, text = type(error).__name__, str(error)
    if not type(error).__module__.startswith(("kserve.", "starlette.", "fastapi.")):
        return None
    if name in ("InvalidInput", "UnsupportedProtocol"):
        return BadRequestError(text)
    if name == "ModelNotFound":
        return NotFoundError(text)
    if name in ("ModelNotReady", "ServerNotReady", "ServerNotLive"):
        return NotReadyError(text, headers={"retry-after": "1"})
    status = getattr(error, "status_code", None)
    if status == HTTPStatus.NOT_FOUND:
        return NotFoundError("there is nothing here; see /openapi.json for the paths this server has")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = getattr(error, "headers", None) or {}
        return MethodNotAllowedError(f"this path takes {headers.get('Allow', 'another method')}", headers=dict(headers))
    if isinstance(status, int) and 400 <= status < 500:
        return BadRequestError("the request could not be read")
    return None
