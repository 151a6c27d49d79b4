"""Where a graph's boxes and arrows are drawn, and what is written into them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from local.pipelines.graph_layout import Box, Node, lay_out, needed_arrows, rows
from local.pipelines.graph_svg import MAX_NODES, Drawn, graph

DIAMOND = (Node("end", ("left", "right", "begin")), Node("left", ("begin",)), Node("right", ("begin",)), Node("begin"))
GROUPED = (
    Node("before"),
    Node("group", ("before",), (Node("one"), Node("two", ("one",)), Node("inner", (), (Node("deep"),)))),
    Node("after", ("group",)),
)


def test_each_stands_below_what_it_waits_for() -> None:
    assert [[node.key for node in row] for row in rows(DIAMOND)] == [["begin"], ["left", "right"], ["end"]]


def test_arrows_that_a_longer_way_implies_are_left_out() -> None:
    assert sorted(needed_arrows(DIAMOND)) == [
        ("begin", "left"), ("begin", "right"), ("left", "end"), ("right", "end"),
    ]  # fmt: skip


@pytest.mark.parametrize("nodes", [DIAMOND, GROUPED, tuple(Node(str(n)) for n in range(11)), (Node("alone"),), ()])
def test_boxes_beside_each_other_do_not_overlap_and_groups_hold_theirs(nodes: tuple[Node, ...]) -> None:
    layout = lay_out(nodes)

    def check(siblings: tuple[Node, ...], outer: Box) -> None:
        for node in siblings:
            box = layout.boxes[node.key]
            assert outer.x <= box.x
            assert box.x + box.width <= outer.x + outer.width + 0.01
            assert outer.y <= box.y
            assert box.y + box.height <= outer.y + outer.height + 0.01
            check(node.children, box)
        for one, other in itertools.combinations([layout.boxes[node.key] for node in siblings], 2):
            assert (
                one.x + one.width <= other.x
                or other.x + other.width <= one.x
                or one.y + one.height <= other.y
                or other.y + other.height <= one.y
            )

    check(nodes, Box(0, 0, layout.width, layout.height))
    assert all(arrow.source[1] < arrow.target[1] for arrow in layout.arrows)


def test_a_long_chain_and_a_circle_are_drawn() -> None:
    chain = [Node("0"), *(Node(str(n), (str(n - 1),)) for n in range(1, 600))]
    assert len(lay_out(chain).arrows) == 599
    circle = [Node("a", ("b",)), Node("b", ("a",)), Node("c", ("c", "unknown"))]
    assert lay_out(circle).boxes.keys() == {"a", "b", "c"}


def test_states_are_said_and_names_are_escaped() -> None:
    nasty = '</text><script>"&'
    drawn = {"a": Drawn(nasty, "SUCCEEDED", "2 s"), "b": Drawn("b", "PENDING"), "c": Drawn("c", "FAILED")}
    svg = graph([Node("a"), Node("b", ("a",)), Node("c", ("a",))], drawn, lambda key: f"step-{key}", "Steps")
    root = ElementTree.fromstring(svg)
    texts = list(labels(root))
    assert f"{nasty}, succeeded, 2 s" in texts
    assert "b, waits" in texts
    assert "c, failed" in texts
    description = root.find(".//{*}desc")
    assert description is not None
    assert description.text == "Steps: 3 (1 succeeded, 1 waits, 1 failed). The table of steps below has the same."
    marks = [path.get("d") for path in root.iterfind(".//{*}path[@class='mark']")]
    assert len(set(marks)) == 3  # each state has a form of its own


def test_too_many_steps_are_not_drawn() -> None:
    nodes = [Node(str(number)) for number in range(MAX_NODES + 1)]
    assert graph(nodes, {}, str, "Steps") == (
        '<p class="quiet">The graph of 301 steps is not drawn; the table has them all.'
    )


def labels(root: ElementTree.Element) -> Iterator[str]:
    for link in root.iterfind(".//{*}a"):
        yield link.get("aria-label", "")
