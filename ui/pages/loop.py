"""The loop at a glance: what wants a person, the picture, what each part waits for."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlencode

import streamlit as st

from mcqa.readmodels import loop_overview
from mcqa.readmodels.loop_attention import Want
from mcqa.readmodels.loop_counts import Flow
from mcqa.readmodels.loop_overview import LoopOverview
from mcqa.readmodels.loop_parts import Fact, Part
from mcqa.readmodels.rollout_history import Since
from ui import elements, facts
from ui.elements import Badge, Cell, Code, Link, Strong, Time
from ui.language import duration, has, number, parts, t
from ui.live import live
from ui.pages.loop_picture import draw, page_of
from ui.rollout import words

# texts: loop.severity.* loop.state.* loop.part.*
# texts: loop.flow.*
# texts: loop.does.*
# texts: loop.waiting.*
# texts: loop.want.*
# texts: loop.change.*
# texts: loop.run.*
# texts: loop.state.*
# texts: loop.part.*

_URGENCY: Mapping[str, Literal["bad", "warn", "info"]] = {"fault": "bad", "decision": "warn", "notice": "info"}
_BADGES: Mapping[str, Literal["good", "bad", "warn", "wait", "sleep", "info"]] = {
    "ready": "good",
    "asleep": "sleep",
    "starting": "wait",
    "down": "bad",
    "unknown": "warn",
    "unseen": "info",
}
_COMMANDS = {"loop-down", "loop-stops"}
"""What a page cannot help with: their sentence names the command."""


def render() -> None:
    st.title(t("app.page.loop"))
    _overview()


def overview() -> LoopOverview:
    return loop_overview.read(os.environ)


@live()
def _overview() -> None:
    found = facts.shown(facts.read(overview), t("loop.reading"))
    if found is None:
        return
    if found["setting_error"]:
        elements.notice("error", *parts("loop.setting", error=found["setting_error"]), key="loop setting")
    elif found["database_error"]:
        elements.notice("error", *parts("loop.no_database", error=found["database_error"]), key="loop database")
    _wants(found)
    _serving(found)
    st.header(t("loop.picture"))
    draw(found, sentences)
    if found["place"] == "cluster":
        elements.paragraph(t("loop.on_cluster"), key="loop cluster")
    _parts(found["parts"])
    _flows(found["flows"])
    elements.paragraph(*parts("loop.as_of", time=Time(found["read_at"], "time")), key="loop as of")


def _wants(found: LoopOverview) -> None:
    st.header(t("loop.wants"))
    if not found["wants"]:
        known = not found["database_error"] and not found["setting_error"]
        badge = Badge("good", t("loop.wants_nothing")) if known else Badge("info", t("loop.wants_unknown"))
        elements.paragraph(badge, key="loop wants nothing")
        return
    elements.table(
        t("loop.wants"),
        [t("loop.column.urgency"), t("loop.column.what"), t("loop.column.since"), t("loop.column.help")],
        [
            [
                Badge(_URGENCY[want["severity"]], t(f"loop.severity.{want['severity']}")),
                _wanted(want),
                Time(want["since"], "ago"),
                _help(want),
            ]
            for want in found["wants"]
        ],
        hide_caption=True,
        key="loop wants",
    )


def _wanted(want: Want) -> list[Cell]:
    """The sentence; a part's own words are a parameter of it, and stay text."""
    shown = {**want["params"], "message": want["message"] or "—", "command": want["command"]}
    if "count" in shown:
        exact = number(shown["count"])
        shown["count"] = t("loop.more_than", n=exact) if shown.get("more") else exact
    if has(f"loop.part.{shown.get('part')}"):
        shown["part"] = t(f"loop.part.{shown['part']}")
    return parts(f"loop.want.{want['code']}", **shown)


def _help(want: Want) -> Cell:
    command = Code(want["command"]) if want["command"] else None
    if want["code"] in _COMMANDS or not want["page"]:
        return command
    query = f"?{urlencode(want['query'])}" if want["query"] else ""
    link = Link(t(f"app.page.{want['page']}"), f"/{want['page']}{query}")
    return [link, " · ", command] if command else link


def _serving(found: LoopOverview) -> None:
    serving = found["serving"]
    champion = _version(serving["champion"])
    if not serving["from_registry"] and serving["champion"]:
        champion = parts("loop.as_rollout_saw", version=champion, time=Time(serving["seen_at"], "ago"))
    if since := serving["since"]:
        champion = [champion, ", ", *_since(since)]
    challenger = _version(serving["challenger"])
    if serving["challenger"] and serving["percent"] is not None:
        challenger = parts("loop.version_with_share", version=challenger, percent=serving["percent"])
    change = serving["last_change"]
    last: Cell = t("loop.change.none")
    if change is not None:
        link = Link(str(change["version"]), f"/rollout?decision={change['decision']}")
        last = parts(f"loop.change.{change['kind']}", version=link, time=Time(change["at"], "ago"))
    shown: dict[str, Cell] = {t("loop.champion"): champion, t("loop.challenger"): challenger}
    if serving["previous"]:
        shown[t("loop.previous")] = _version(serving["previous"])
    promoted = change is not None and change["kind"] == "upgraded" and change["version"] == serving["champion"]
    if not (promoted and serving["since"]):  # said above
        shown[t("loop.last_change")] = last
    if found["up_for"] is not None:
        shown[t("loop.running")] = duration(found["up_for"])
    st.header(t("loop.serves"))
    elements.details(shown, key="loop serving")


def _since(since: Since) -> list[Cell]:
    made = since["decision"]
    link = Link(str(made["number"]), f"/rollout?decision={made['number']}")
    return parts("loop.since", time=Time(since["at"]), decision=link, who=words.who(made))


def _version(version: str | None) -> Cell:
    if version is None:
        return t("loop.no_version")
    return Link(t("loop.version", version=version), f"/versions?{urlencode({'version': version})}")


def _parts(shown: list[Part]) -> None:
    st.header(t("loop.parts"))
    elements.table(
        t("loop.parts"),
        [t("loop.column.part"), t("loop.column.state"), t("loop.column.waits")],
        [[_name(part["name"]), _state(part), _waits(part)] for part in shown],
        hide_caption=True,
        key="loop parts",
    )


def _name(name: str) -> Cell:
    title = t(f"loop.part.{name}")
    page = page_of(name)
    return Link(title, page) if page else title


def _state(part: Part) -> Cell:
    badge = Badge(_BADGES[part["state"]], t(f"loop.state.{part['state']}"))
    if part["restarts"]:
        return [badge, " ", t("loop.restarted", n=part["restarts"])]
    return badge


def _waits(part: Part) -> Cell:
    said: list[Cell] = []
    for sentence in sentences(part):
        said += [" · "] if said else []
        said.append(sentence)
    if part["message"] and part["state"] not in ("ready", "asleep"):
        said += [" · ", Code(part["message"])] if said else [Code(part["message"])]
    return said or None


def sentences(part: Part) -> list[str]:
    return [_sentence(fact) for fact in part["waiting_for"]]


def _sentence(fact: Fact) -> str:
    return t(f"loop.waiting.{fact['code']}", **{name: _shown(name, value) for name, value in _timed(fact).items()})


def _timed(fact: Fact) -> dict[str, Any]:
    params = dict(fact["params"])
    if "since" in params:
        since = params.pop("since")
        params["seconds"] = None if since is None else max(time.time() - since, 0.0)
    return params


def _shown(name: str, value: Any) -> Any:
    match name:
        case "seconds":
            return duration(value)
        case "measures":
            return ", ".join(value) or "—"
        case "state":
            return t(f"loop.run.{value}") if has(f"loop.run.{value}") else value
    return number(value) if isinstance(value, int) else value


def _flows(flows: list[Flow] | None) -> None:
    if flows is None:
        return
    with st.expander(t("loop.flows")):
        elements.table(
            t("loop.flows_last_hour"),
            [t("loop.column.from"), t("loop.column.to"), t("loop.column.what"), t("loop.column.count")],
            [
                [
                    t(f"loop.part.{flow['source']}"),
                    t(f"loop.part.{flow['target']}"),
                    t(f"loop.flow.{flow['what']}.other"),
                    _count(flow),
                ]
                for flow in flows
            ],
            numeric=[3],
            key="loop flows",
        )


def _count(flow: Flow) -> Cell:
    exact = number(flow["count"])
    return Strong(t("loop.more_than", n=exact) if flow["more"] else exact)
