"""The loop as a picture: parts that are links, and arrows with what went along them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from ui.elements.component import component
from ui.language import language

Kind = Literal["good", "bad", "wait", "sleep", "unknown", "none"]

_picture = component("picture")


@dataclass(frozen=True, slots=True)
class Node:
    """A part at (column, row) of the wide grid; in the narrow one they follow each other in the order given.

    `described` is what a screen reader says of it, `href` one of our own pages, "" for none.
    """

    name: str
    column: int
    row: int
    title: str
    state: str
    kind: Kind
    described: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class Arrow:
    """Between two nodes, with what went along it; `strong` where anything did. `wide`: not in the narrow picture."""

    source: str
    target: str
    label: str = ""
    strong: bool = False
    wide: bool = False


def picture(described: str, nodes: Sequence[Node], arrows: Sequence[Arrow], middle: Sequence[str], *, key: str) -> None:
    """`middle` are lines of text within the circle; `described` names the whole."""
    _picture(
        data={
            "lang": language(),
            "described": described,
            "nodes": [asdict(node) for node in nodes],
            "arrows": [asdict(arrow) for arrow in arrows],
            "middle": list(middle),
        },
        key=key,
    )
