"""What a cell or a sentence may contain, other than plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Link:
    """To another page of ours (`/versions?version=3`) or elsewhere (http, https): anything else is shown as text."""

    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Time:
    """Unix seconds, shown in the viewer's zone and language; `ago` counts on by itself."""

    at: float | None
    style: Literal["datetime", "time", "date", "ago"] = "datetime"


@dataclass(frozen=True, slots=True)
class Badge:
    """A state: its sign and its text differ by kind, not its colour alone."""

    kind: Literal["good", "bad", "warn", "wait", "sleep", "info"]
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A share of one, with its text next to it."""

    share: float
    text: str


@dataclass(frozen=True, slots=True)
class Code:
    text: str


@dataclass(frozen=True, slots=True)
class Strong:
    text: str


Cell = str | int | float | None | Link | Time | Badge | Bar | Code | Strong | Sequence[Any]


def as_data(cell: Cell) -> Any:
    """As the component reads it: a text, an object with its kind `k`, or a list of both."""
    match cell:
        case None:
            return "—"
        case str():
            return cell
        case bool() | int() | float():
            return str(cell)
        case Link(text, href):
            return {"k": "link", "text": text, "href": href}
        case Time(at, style):
            return "—" if at is None else {"k": "time", "at": at, "style": style}
        case Badge(kind, text):
            return {"k": "badge", "kind": kind, "text": text}
        case Bar(share, text):
            return {"k": "bar", "share": min(max(share, 0.0), 1.0), "text": text}
        case Code(text):
            return {"k": "code", "text": text}
        case Strong(text):
            return {"k": "strong", "text": text}
        case _:
            return [as_data(part) for part in cell]
