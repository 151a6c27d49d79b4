"""Why a decision was taken and who initiated it: a closed code with parameters, from which the sentence is rendered.

Nothing reads a sentence. Codes, parameters and `initiated_by` are stored with it and are part of events; free text (a
condition's message, an operator's note) is only ever a detail after a headline, never part of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

CODE_COLUMNS = ("reason_code", "initiated_by", "reason_params")
"""What a stored decision and its event have in addition to the rendered `reason`."""


class Closed(StrEnum):
    """A closed vocabulary. A value of another release that this one does not know reads as the member UNKNOWN."""

    @classmethod
    def _missing_(cls, value: object) -> Self:
        return cls["UNKNOWN"]


class InitiatedBy(Closed):
    """Who or what a decision goes back to."""

    CONTROLLER = "controller"  # the reconciler itself
    ANALYSIS = "analysis"  # the verdict of a canary analysis
    OPERATOR = "operator"  # an override, or a request by hand
    SCHEDULE = "schedule"  # a PingSource's tick
    DRIFT = "drift"  # a drift event
    QUALITY_GATE = "quality-gate"  # the pipeline's gate
    UNKNOWN = "unknown"  # written by an older release


class Code(Closed):
    """A reason code with the template of its headline; one enumeration per function, in its reasons.py."""

    template: str

    def __new__(cls, value: str, template: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.template = template
        return member


@dataclass(frozen=True, slots=True)
class Reason:
    """A code, what its headline names, and what explains it: `details` (one line each) or a `cause`."""

    code: Code
    params: Mapping[str, Any] = field(default_factory=dict)
    details: tuple[str, ...] = ()
    cause: Reason | None = None
    initiated_by: InitiatedBy = InitiatedBy.CONTROLLER

    def __str__(self) -> str:
        return "; ".join(self.lines)

    @property
    def headline(self) -> str:
        return self.code.template.format(**self.params)

    @property
    def lines(self) -> list[str]:
        """The sentence, one detail per line; the first follows the headline."""
        first, *others = [*(self.cause.lines if self.cause else ()), *self.details] or [""]
        return [": ".join(part for part in (self.headline, first) if part), *others]

    def to_params(self) -> dict[str, Any]:
        """All but `code` and `initiated_by`, as a JSON object."""
        params = dict(self.params)
        if self.details:
            params["details"] = list(self.details)
        if self.cause is not None:
            params["cause"] = {"code": str(self.cause.code), **self.cause.to_params()}
        return params

    def to_columns(self) -> dict[str, Any]:
        """The sentence with its code, as a row or an event's data hold them."""
        return {
            "reason": str(self),
            "reason_code": str(self.code),
            "initiated_by": str(self.initiated_by),
            "reason_params": self.to_params(),
        }


def read_reason(codes: type[Code], stored: Mapping[str, Any]) -> Reason | None:
    """The reason of a row or an event's data (see `to_columns`); None where this release cannot render it."""
    return _read(codes, stored.get("reason_code"), stored.get("reason_params"), stored.get("initiated_by"))


def reason_lines(codes: type[Code], stored: Mapping[str, Any]) -> list[str]:
    """The stored reason, one detail per line; a single line where another release wrote it."""
    reason = read_reason(codes, stored)
    return [str(stored.get("reason") or "")] if reason is None else reason.lines


def _read(codes: type[Code], code: Any, params: Any, initiated_by: Any) -> Reason | None:
    known = codes(code)
    if known is codes["UNKNOWN"] or not isinstance(params, Mapping):
        return None
    params = dict(params)
    details, cause = params.pop("details", ()), params.pop("cause", None)
    if not isinstance(details, list | tuple) or not isinstance(cause, Mapping | None):
        return None
    caused_by = None
    if cause is not None:
        others = {name: value for name, value in cause.items() if name != "code"}
        if (caused_by := _read(codes, cause.get("code"), others, initiated_by)) is None:
            return None
    reason = Reason(known, params, tuple(map(str, details)), caused_by, InitiatedBy(initiated_by))
    try:
        known.template.format(**params)
    except (LookupError, ValueError, TypeError, AttributeError):
        return None  # a parameter is missing, or of another type
    return reason
