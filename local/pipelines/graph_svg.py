"""The graph of a run or of a pipeline as SVG. Pure.

A state is a sign, a word and the style of a border, never a colour alone. Each box links to its step's place on the
page, with its name and state as the link's name; the table of steps says the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from local.pipelines.graph_layout import Arrow, Box, Node, lay_out
from local.pipelines.html_rendering import WORDS, escape

MAX_NODES = 300
_LETTERS = 25
_MARGIN = 4.0
_DASHED = frozenset({"PENDING", "SKIPPED", "CANCELED"})
_MARKS = {
    "SUCCEEDED": "M-6 0l4 5l8 -10", "FAILED": "M-5 -5l10 10M5 -5l-10 10", "RUNNING": "M-4 -6l9 6l-9 6z",
    "SKIPPED": "M-6 0h12", "CANCELED": "M-5 -5h10v10h-10z", "CANCELING": "M-5 -5h10v10h-10z",
}  # fmt: skip
_WAITING = "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0"


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is written into a box: a name, a state of the API or "", and a further word or two."""

    name: str
    state: str = ""
    note: str = ""


def graph(nodes: Sequence[Node], drawn: Mapping[str, Drawn], anchor: Callable[[str], str], label: str) -> str:
    """The SVG, or a sentence where there is too much to draw. `anchor`: the id on the page that a box leads to; `label`
    names the graph.
    """
    count = sum(1 for _ in _all(nodes))
    if count > MAX_NODES:
        return f'<p class="quiet">The graph of {count:,} steps is not drawn; the table has them all.'
    layout = lay_out(nodes)
    width, height = layout.width + 2 * _MARGIN, layout.height + 2 * _MARGIN
    groups = {node.key for node in _all(nodes) if node.children}
    arrows: dict[str, list[str]] = {}
    for arrow in layout.arrows:
        arrows.setdefault(arrow.group, []).append(_arrow(arrow))
    # What is drawn later lies above: an arrow above the group that it is in, and behind all other boxes.
    shapes = list(arrows.get("", ()))
    for key, box in layout.boxes.items():
        shapes += [_box(key, box, drawn[key], anchor(key), key in groups), *arrows.get(key, ())]
    return (
        f'<div id="drawn" class="scroll" tabindex="0" role="group" aria-label="{escape(label)}">'
        '<svg xmlns="http://www.w3.org/2000/svg" role="group" aria-labelledby="graph-title" '
        f'aria-describedby="graph-description" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{-_MARGIN} {-_MARGIN} {width:.0f} {height:.0f}">'
        f'<title id="graph-title">{escape(label)}</title><desc id="graph-description">{_counted(nodes, drawn)}</desc>'
        f"{''.join(shapes)}</svg></div>"
    )


def _all(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _all(node.children)


def _counted(nodes: Sequence[Node], drawn: Mapping[str, Drawn]) -> str:
    """How many boxes there are, and in which states; groups are not counted."""
    states = Counter(drawn[node.key].state for node in _all(nodes) if not node.children)
    said = ", ".join(f"{count} {WORDS.get(state, state.lower())}" for state, count in states.items() if state)
    return escape(f"Steps: {states.total()}{f' ({said})' if said else ''}. The table of steps below has the same.")


def _box(key: str, box: Box, drawn: Drawn, anchor: str, group: bool) -> str:
    word = WORDS.get(drawn.state, drawn.state.lower())
    said = ", ".join(part for part in (drawn.name, word, drawn.note) if part)
    below = " · ".join(part for part in (word, drawn.note) if part)
    classes = " ".join(
        part
        for part in ("group" if group else "", drawn.state, "dashed" if drawn.state in _DASHED or group else "")
        if part
    )
    x, y = box.x, box.y
    text_x, text_y = x + (34 if drawn.state else 12), y + (20 if below else 29)
    mark = ""
    if drawn.state:
        form = _MARKS.get(drawn.state, _WAITING)
        mark = f'<path class="mark" d="{form}" transform="translate({x + 18:.1f} {text_y - 4:.1f})"/>'
    name = f'<text x="{text_x:.1f}" y="{text_y:.1f}">{escape(_short(drawn.name))}</text>'
    under = f'<text class="sub" x="{text_x:.1f}" y="{y + 39:.1f}">{escape(below)}</text>' if below else ""
    return (
        f'<a href="#{escape(anchor)}" aria-label="{escape(said)}"><title>{escape(said)}</title><g class="{classes}">'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="7"/>'
        f"{mark}{name}{under}</g></a>"
    )


def _arrow(arrow: Arrow) -> str:
    (x1, y1), (x2, y2) = arrow.source, arrow.target
    bend = (y2 - y1) / 2
    line = f"M{x1:.1f} {y1:.1f}C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2 - 6:.1f}"
    return f'<path class="edge" d="{line}"/><path class="tip" d="M{x2:.1f} {y2:.1f}l-4.5 -8h9z" aria-hidden="true"/>'


def _short(name: str) -> str:
    """A name that fits into a box; the whole one is the link's."""
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 9]}…{name[-8:]}"
