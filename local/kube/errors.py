"""Every refusal of the API, as the Kubernetes Status object a client gets (API conventions, "Response Status Kind")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from local.kube.resources import Resource


class StatusError(Exception):
    """A refused request: HTTP `code`, machine-readable `reason`, a message for people, and `details`."""

    def __init__(self, code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        self.code = code
        self.reason = reason
        self.message = message
        self.details = dict(details or {})
        super().__init__(message)

    def status(self) -> dict[str, Any]:
        """The Status object."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            status["details"] = self.details
        return status


def success(resource: Resource, name: str, uid: str) -> dict[str, Any]:
    """The Status object of a deletion."""
    details = {"name": name, "group": resource.group, "kind": resource.plural, "uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _details(resource: Resource, name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "group": resource.group, "kind": resource.plural, **more}


def not_found(resource: Resource, name: str) -> StatusError:
    return StatusError(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def unavailable(why: str) -> StatusError:
    """The state cannot be written or read at the moment; clients retry by themselves."""
    return StatusError(503, "ServiceUnavailable", why, {"retryAfterSeconds": 1})


def no_such_path() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Resource, name: str) -> StatusError:
    return StatusError(409, "AlreadyExists", f'{resource.qualified} "{name}" already exists', _details(resource, name))


def conflict(resource: Resource, name: str, why: str = "") -> StatusError:
    """A stale resourceVersion, or a precondition that does not hold."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(resource, name))


def field_conflict(owned: Iterable[tuple[str, str]]) -> StatusError:
    """Server-side apply would change fields of other managers: (manager, path) of each."""
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}"', "field": path}
        for manager, path in owned
    ]
    lines = "; ".join(f"{cause['message']}: {cause['field']}" for cause in causes)
    many = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    return StatusError(409, "Conflict", f"Apply failed with {many}: {lines}", {"causes": causes})


def invalid(resource: Resource, name: str, causes: Iterable[tuple[str, str]]) -> StatusError:
    """Values that are not valid: (path, message) of each."""
    listed = [{"reason": "FieldValueInvalid", "message": message, "field": path} for path, message in causes]
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    lines = [f"{cause['field']}: {cause['message']}" for cause in listed]
    text = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    details = {"name": name, "group": resource.group, "kind": resource.kind, "causes": listed}
    return StatusError(422, "Invalid", f'{kind} "{name}" is invalid: {text}', details)


def denied(webhook: str, why: str) -> StatusError:
    """An admission webhook's refusal."""
    return StatusError(400, "BadRequest", f'admission webhook "{webhook}" denied the request: {why}')


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


def forbidden(resource: Resource, name: str, why: str) -> StatusError:
    return StatusError(403, "Forbidden", f'{resource.qualified} "{name}" is forbidden: {why}', _details(resource, name))


def method_not_allowed(method: str) -> StatusError:
    return StatusError(405, "MethodNotAllowed", f"{method} is not allowed on this resource")


def unsupported_media_type(accepted: Iterable[str]) -> StatusError:
    types = ", ".join(accepted)
    message = f"the body of the request was in an unknown format - accepted media types include: {types}"
    return StatusError(415, "UnsupportedMediaType", message)


def expired(asked: int, oldest: int) -> StatusError:
    """A watch or continue token older than the changes that are kept: list again."""
    return StatusError(410, "Expired", f"too old resource version: {asked} ({oldest})")
