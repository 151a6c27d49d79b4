"""Where the boxes and arrows of a graph are drawn: from top to bottom, groups as boxes around their own graph. Pure.

Layers are longest paths (Sugiyama's first step); within a layer, nodes are ordered by what leads to them. Arrows
that a longer way implies are left out. Hand-written: Graphviz is a program, and layout libraries draw in the browser.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 216.0, 50.0
GAP_X, GAP_Y = 20.0, 30.0
PADDING, TITLE = 14.0, 48.0
MAX_ROW = 1000.0
"""How wide a row may become, except for a single group that is wider."""


@dataclass(frozen=True, slots=True)
class Node:
    """`after`: the keys of the siblings that it waits for. One with `children` is a group."""

    key: str
    after: tuple[str, ...] = ()
    children: tuple[Node, ...] = ()


Sized = tuple[Node, float, float]
"""A node, its width and its height."""


@dataclass(frozen=True, slots=True)
class Box:
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Arrow:
    """From the middle of a box's lower edge to the middle of another's upper edge; `group` is the key of the one that
    both are in, or "".
    """

    source: tuple[float, float]
    target: tuple[float, float]
    group: str


@dataclass(slots=True)
class Layout:
    """`boxes` by key, groups before what is in them."""

    width: float = 0.0
    height: float = 0.0
    boxes: dict[str, Box] = field(default_factory=dict)
    arrows: list[Arrow] = field(default_factory=list)


def lay_out(nodes: Sequence[Node]) -> Layout:
    """The graph, its upper left corner at (0, 0)."""
    width, height = _size(nodes)
    layout = Layout(width, height)
    _place(nodes, 0.0, 0.0, width, layout, "")
    return layout


def rows(nodes: Sequence[Node]) -> list[list[Node]]:
    """The nodes from top to bottom; those that fit stand next to each other."""
    return [[node for node, _, _ in row] for row in _sized_rows(nodes)]


def _sized_rows(nodes: Sequence[Node]) -> list[list[Sized]]:
    depth = _depths(nodes)
    place: dict[str, float] = {}
    found: list[list[Sized]] = []
    for level in range(max(depth.values(), default=-1) + 1):
        layer = [node for node in nodes if depth[node.key] == level]
        layer.sort(key=functools.partial(_middle, place))
        found += _wrapped(layer)
        place = place | {node.key: float(index) for index, node in enumerate(layer)}
    return found


def _wrapped(layer: Sequence[Node]) -> Iterator[list[Sized]]:
    row: list[Sized] = []
    for node in layer:
        sized = (node, *_node_size(node))
        if row and _row_width([*row, sized]) > MAX_ROW:
            yield row
            row = []
        row.append(sized)
    if row:
        yield row


def _row_width(row: Sequence[Sized]) -> float:
    return sum(width for _, width, _ in row) + GAP_X * (len(row) - 1)


def _middle(place: Mapping[str, float], node: Node) -> float:
    """The middle of the places of what leads to a node."""
    before = [place[key] for key in node.after if key in place]
    return sum(before) / len(before) if before else 0.0


def needed_arrows(nodes: Sequence[Node]) -> list[tuple[str, str]]:
    """(from, to) without those that a longer way implies."""
    waits_for = _waits_for(nodes)
    reached: dict[str, set[str]] = {}
    for key in _in_order(waits_for):
        reached[key] = {found for other in waits_for[key] for found in (other, *reached.get(other, ()))}
    return [
        (other, key)
        for key, after in waits_for.items()
        for other in after
        if not any(other in reached[further] for further in after if further != other)
    ]


def _waits_for(nodes: Sequence[Node]) -> dict[str, tuple[str, ...]]:
    """What each node waits for, of these."""
    keys = {node.key for node in nodes}
    return {node.key: tuple(dict.fromkeys(key for key in node.after if key in keys)) for node in nodes}


def _in_order(waits_for: Mapping[str, Sequence[str]]) -> list[str]:
    """The keys, each behind what it waits for. What waits for itself cannot be drawn right, but is drawn: last."""
    found: dict[str, None] = {}
    rest = list(waits_for)
    while ready := [key for key in rest if all(other in found for other in waits_for[key])]:
        found |= dict.fromkeys(ready)
        rest = [key for key in rest if key not in found]
    return [*found, *rest]


def _depths(nodes: Sequence[Node]) -> dict[str, int]:
    waits_for = _waits_for(nodes)
    depth: dict[str, int] = {}
    for key in _in_order(waits_for):
        depth[key] = max((depth.get(other, 0) + 1 for other in waits_for[key]), default=0)
    return depth


def _size(nodes: Sequence[Node]) -> tuple[float, float]:
    found = _sized_rows(nodes)
    height = sum(max(height for _, _, height in row) for row in found) + GAP_Y * max(len(found) - 1, 0)
    return max(map(_row_width, found), default=0.0), height


def _node_size(node: Node) -> tuple[float, float]:
    if not node.children:
        return WIDTH, HEIGHT
    width, height = _size(node.children)
    return max(width, WIDTH - 2 * PADDING) + 2 * PADDING, height + TITLE + PADDING


def _place(nodes: Sequence[Node], x: float, y: float, width: float, layout: Layout, group: str) -> None:
    for row in _sized_rows(nodes):
        left = x + (width - _row_width(row)) / 2
        for node, box_width, box_height in row:
            layout.boxes[node.key] = Box(left, y, box_width, box_height)
            if node.children:
                _place(node.children, left + PADDING, y + TITLE, box_width - 2 * PADDING, layout, node.key)
            left += box_width + GAP_X
        y += max(height for _, _, height in row) + GAP_Y
    for source, target in needed_arrows(nodes):
        upper, lower = layout.boxes[source], layout.boxes[target]
        layout.arrows.append(
            Arrow((upper.x + upper.width / 2, upper.y + upper.height), (lower.x + lower.width / 2, lower.y), group)
        )
