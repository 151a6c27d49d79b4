"""Every refusal of the API in the form grpc-gateway gives it: `{"error", "code", "message", "details"}`."""

from __future__ import annotations

from typing import Any

INVALID_ARGUMENT = 3
NOT_FOUND = 5
ALREADY_EXISTS = 6
PERMISSION_DENIED = 7
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
UNAUTHENTICATED = 16

HTTP_STATUS = {
    INVALID_ARGUMENT: 400,
    NOT_FOUND: 404,
    ALREADY_EXISTS: 409,
    PERMISSION_DENIED: 403,
    RESOURCE_EXHAUSTED: 413,
    FAILED_PRECONDITION: 400,
    UNIMPLEMENTED: 501,
    INTERNAL: 500,
    UNAVAILABLE: 503,
    UNAUTHENTICATED: 401,
}


class KfpApiError(Exception):
    """A refused request: its gRPC `code` (google.rpc.Code) and one line for people."""

    def __init__(self, code: int, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or HTTP_STATUS[code]

    def body(self) -> dict[str, Any]:
        return {"error": self.message, "code": self.code, "message": self.message, "details": []}


def invalid_argument(message: str) -> KfpApiError:
    return KfpApiError(INVALID_ARGUMENT, " ".join(message.split())[:600])


def not_found(what: str, key: str) -> KfpApiError:
    return KfpApiError(NOT_FOUND, f"there is no {what} {key[:200]!r}")


def already_exists(what: str, name: str) -> KfpApiError:
    return KfpApiError(ALREADY_EXISTS, f"{what} {name[:200]!r} already exists; choose another name")


def failed_precondition(message: str) -> KfpApiError:
    return KfpApiError(FAILED_PRECONDITION, message)
