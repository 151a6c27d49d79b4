"""Where the parts are in the picture of the loop, and which arrows there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mcqa.readmodels.loop_counts import Flow
from mcqa.readmodels.loop_overview import LoopOverview
from mcqa.readmodels.loop_parts import Part
from ui import elements
from ui.elements import Arrow, Node
from ui.elements.picture import Kind
from ui.language import has, number, t

# texts: loop.part.*
# texts: loop.state.*
# texts: loop.flow.*

_PLACES: Mapping[str, tuple[int, int]] = {
    "people": (0, 0),
    "gateway": (1, 0),
    "model": (2, 0),
    "broker": (1, 1),
    "collect": (1, 2),
    "database": (1, 3),
    "drift": (2, 3),
    "retrain": (3, 3),
    "pipelines": (3, 2),
    "registry": (3, 1),
    "rollout": (3, 0),
    "notify": (4, 0),
    "dead-letters": (0, 2),
    "platform": (4, 3),
    "page": (4, 2),
}
"""Column and row; the order is the one in which a narrow picture shows them."""

_ARROWS = (
    ("people", "gateway", "questions"),
    ("gateway", "model", ""),
    ("model", "broker", "answers"),
    ("people", "broker", "feedback"),
    ("broker", "collect", ""),
    ("broker", "dead-letters", "dead-letters"),
    ("collect", "database", ""),
    ("database", "drift", "checks"),
    ("drift", "retrain", "alarms"),
    ("retrain", "pipelines", "runs"),
    ("pipelines", "registry", "versions"),
    ("registry", "rollout", ""),
    ("rollout", "model", "decisions"),
    ("rollout", "notify", "notices"),
)
_WIDE_ONLY = {("broker", "dead-letters")}

_KINDS: Mapping[str, Kind] = {
    "ready": "good",
    "asleep": "sleep",
    "starting": "wait",
    "down": "bad",
    "unknown": "unknown",
    "unseen": "none",
}
_PAGES = {
    "gateway": "/",
    "model": "/versions",
    "broker": "/events",
    "collect": "/events",
    "drift": "/drift",
    "retrain": "/pipelines",
    "pipelines": "/pipelines",
    "registry": "/versions",
    "rollout": "/rollout",
    "notify": "/events",
    "dead-letters": "/events",
}


def page_of(name: str) -> str:
    """The page that shows more of a part, "" where none does."""
    return _PAGES.get(name, "")


def draw(found: LoopOverview, sentences: Callable[[Part], list[str]]) -> None:
    known = {part["name"]: part for part in found["parts"]}
    counts = {flow["what"]: flow for flow in found["flows"] or ()}
    elements.picture(
        t("loop.picture_described"),
        [_node(name, place, known.get(name), sentences) for name, place in _PLACES.items()],
        [_arrow(source, target, counts.get(what)) for source, target, what in _ARROWS],
        _middle(found),
        key="loop picture",
    )


def _node(name: str, place: tuple[int, int], part: Part | None, sentences: Callable[[Part], list[str]]) -> Node:
    title = t(f"loop.part.{name}")
    if part is None:  # people: they have no state
        does = t(f"loop.does.{name}")
        return Node(name, *place, title, "", "none", f"{title}: {does}")
    state = t(f"loop.state.{part['state']}")
    replicas = part["replicas"]
    shown = f"{state} · {replicas}" if replicas and replicas > 1 else state
    does = f"loop.does.{name}"
    waits = t("loop.node_waits", waits="; ".join(said)) if (said := sentences(part)) else t(does) if has(does) else ""
    described = t("loop.node_described", part=title, state=state, waits=waits)
    return Node(name, *place, title, shown, _KINDS[part["state"]], described, page_of(name))


def _arrow(source: str, target: str, flow: Flow | None) -> Arrow:
    wide = (source, target) in _WIDE_ONLY
    if flow is None:
        return Arrow(source, target, wide=wide)
    count = number(flow["count"]) + ("+" if flow["more"] else "")
    what = t(f"loop.flow.{flow['what']}.{'one' if flow['count'] == 1 else 'other'}")
    return Arrow(source, target, f"{count} {what}", flow["count"] > 0, wide)


def _middle(found: LoopOverview) -> list[str]:
    """Which version answers, within the circle."""
    serving = found["serving"]
    lines = []
    if serving["champion"]:
        lines.append(t("loop.version", version=serving["champion"]))
        lines.append(t("loop.champion"))
    if serving["challenger"] and serving["percent"] is not None:
        challenger = t("loop.version", version=serving["challenger"])
        lines.append(t("loop.version_with_share", version=challenger, percent=serving["percent"]))
    return lines
