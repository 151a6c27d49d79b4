"""Where the rollout stands, what its guards still need, and the operator's actions."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

import streamlit as st

from common.event_types import SOURCE_UI
from functions.rollout.operator_actions import ACTIONS, Action, RefusedError, act
from mcqa.readmodels import rollout
from mcqa.readmodels.rollout import Need, RolloutFacts
from ui import actions, elements, facts
from ui.elements import Badge, Cell, Link, Strong, Time
from ui.language import duration, parts, t
from ui.live import live
from ui.rollout import words

LATE_SECONDS = 300.0
"""The rollout is reconciled every minute; later than this, something is wrong with the function."""

_PHASES = {"held": "warn", "blocked": "bad", "rolling-back": "warn", "idle": "info", "finished": "good"}


def read() -> RolloutFacts:
    return rollout.read(os.environ, 0)


@live()
def current() -> None:
    st.header(t("rollout.now.title"))
    found = facts.shown(facts.read(read), t("rollout.part"))
    if found is None:
        return
    look = found["look"]
    if look is None:
        elements.notice("info", t("rollout.latest.none"))
        return
    with st.container():  # so that what follows keeps its place under a finger when a notice comes or goes
        if time.time() - look["at"] > LATE_SECONDS:
            elements.notice("warning", *parts("rollout.stale", ago=Time(look["at"], "ago")))
        if look["phase"] in ("held", "blocked"):
            elements.notice("warning", t(_wanted(found, look)))
    _state(found, look)
    _act(found, look)
    if look["evidence"] or _is_under_way(look):
        st.header(t("rollout.guards.title"))
        _guards(found, look)


def _wanted(found: RolloutFacts, look: rollout.Row) -> str:
    if look["phase"] == "blocked":
        return "rollout.blocked"
    return "rollout.wants_person" if found["wish"] else "rollout.wants_decision"


def _is_under_way(look: rollout.Row) -> bool:
    """A challenger that was rolled back keeps its alias, and is not tried again."""
    over = look["phase"] in ("idle", "finished")
    return bool(look["challenger"] and look["challenger"] != look["champion"] and not over)


def _state(found: RolloutFacts, look: rollout.Row) -> None:
    # texts: rollout.phase.*
    percent = 100 if look["percent"] is None else look["percent"]
    rolling = _is_under_way(look) and look["version"] == look["challenger"]
    items: dict[str, Cell] = {}
    for alias, share in (("champion", 100 - percent), ("challenger", percent)):
        name = t("rollout.now.champion" if alias == "champion" else "rollout.now.challenger")
        traffic = [", ", t("rollout.now.traffic", percent=share)] if rolling else []
        items[name] = [words.version(look[alias]), *traffic] if look[alias] else t("rollout.now.nobody")
        if alias == "champion" and (since := found["since"]):
            items[t("rollout.now.since")] = words.since(since)
    kind: Any = _PHASES.get(look["phase"], "wait")
    items[t("rollout.now.phase")] = Badge(kind, words.coded("rollout.phase", look["phase"]))
    items[t("rollout.now.why")] = words.why(look)
    if rolling:
        items[t("rollout.now.steps")] = _steps(found["planned"], percent)
        items[t("rollout.now.left")] = _left(found, look)
    if (wish := found["wish"]) and wish["challenger"] == look["challenger"]:
        word = {"action": _label(wish["action"]), "by": wish["by"], "time": Time(wish["at"])}
        items[t("rollout.now.override")] = parts("rollout.now.override_text", **word)
    items[t("rollout.now.looked")] = Time(look["at"], "ago")
    elements.details(items, key="rollout state")
    if not _is_under_way(look):
        _no_rollout(found, look)


def _no_rollout(found: RolloutFacts, look: rollout.Row) -> None:
    """Instead of buttons that could do nothing: how a rollout starts."""
    name = t("rollout.registry")
    registry = Link(name, found["registry"]) if found["registry"] else name
    alone = [t("rollout.no_rollout", version=look["champion"]), " "] if look["champion"] else []
    elements.paragraph(*alone, *parts("rollout.how_one_starts", registry=registry), key="rollout none")


def _steps(planned: list[int], percent: int) -> Cell:
    cells: list[Cell] = []
    for step in planned:
        here = step == percent
        text = t("rollout.now.step_here" if here else "rollout.now.step_done", percent=step)
        cells += [" → " if cells else "", Strong(text) if here else text]
    return cells


def _left(found: RolloutFacts, look: rollout.Row) -> str:
    if look["phase"] == "held" and found["wish"]:
        return t("rollout.now.left_held")
    left = found["seconds_left"]
    if left is None:
        return t("rollout.now.left_unknown", why=_obstacle(found["needs"], look))
    return t("rollout.now.left_in", duration=duration(left)) if left > 0 else t("rollout.now.left_now")


def _obstacle(needs: list[Need], look: rollout.Row) -> str:
    """The first thing that keeps a forecast from being made."""
    for state, key in (("failed", "rollout.left.failed"), ("beyond", "rollout.left.beyond")):
        for place, need in enumerate(needs):
            if need["state"] == state:
                measure = look["evidence"]["measures"][place]
                return t(key, guard=words.guard(need["guard"], measure.get("of", "")))
    open_needs = [need for need in needs if need["state"] != "proven"]
    for unit, key in (("requests", "rollout.left.traffic"), ("labels", "rollout.left.labels")):
        if any(need["unit"] == unit and need["per_hour"] == 0 for need in open_needs):
            return t(key)
    young = any(need["per_hour"] is None for need in open_needs) or not needs
    return t("rollout.left.young" if young else "rollout.left.unknown")


def _label(action: str) -> str:
    # texts: rollout.act.*
    return t(f"rollout.act.{action}") if action in ACTIONS else action


def _act(found: RolloutFacts, look: rollout.Row) -> None:
    """What a confirmation names is what is acted on, also where the facts move on while it is open."""
    if not _is_under_way(look):
        for action in ACTIONS:
            actions.dismiss(_key(action))
            actions.show_outcome(_key(action))  # what was done is to be read, also where it took effect at once
        return
    st.header(t("rollout.act.title"))
    if actions.explain_refusal():
        return
    wish = found["wish"]
    now = {
        "challenger": look["challenger"],
        "champion": look["champion"] or "—",
        "percent": look["percent"] or 0,
        "seen": wish["at"] if wish else None,
    }
    valid = wish["action"] if wish and wish["challenger"] == look["challenger"] else ""
    possible = [a for a in ACTIONS if not (a == "resume" and not valid) and not (a == "hold" and valid == "hold")]
    buttons = st.container(horizontal=True, key="rollout-actions")
    below = st.container(key="rollout-questions")
    with buttons:
        for action in ACTIONS:
            if action not in possible and not actions.has_outcome(_key(action)):
                actions.dismiss(_key(action))
                continue
            named = _named(action, now)
            actions.action(
                t(f"rollout.act.{action}"),
                partial(_do, action, named["challenger"], named["seen"]),
                title=t(f"rollout.act.ask.{action}"),
                consequence=[t(f"rollout.act.consequence.{action}", **named)],
                key=_key(action),
                disabled=action not in possible,
                below=below,
            )


def _key(action: Action) -> str:
    return f"rollout {action}"


def _named(action: Action, now: dict[str, Any]) -> dict[str, Any]:
    name = f"{_key(action)} named"
    if not actions.is_asking(_key(action)) or name not in st.session_state:
        st.session_state[name] = now
    named: dict[str, Any] = st.session_state[name]
    return named


def _do(action: Action, challenger: str, seen: float | None, who: str) -> list[Cell]:
    # texts: rollout.refused.*
    try:
        done = act(os.environ, action, who, SOURCE_UI, challenger, seen)
    except RefusedError as error:
        params = {**error.params, "action": _label(str(error.params.get("action", "")))}
        raise RuntimeError(t(f"rollout.refused.{error.code}", **params)) from None
    params = {"action": _label(action), "challenger": challenger, "decision": done.decision, "problem": done.problem}
    return parts("rollout.act.done_later" if done.problem else "rollout.act.done", **params)


def _guards(found: RolloutFacts, look: rollout.Row) -> None:
    evidence = look["evidence"]
    if not evidence or not evidence["measures"]:
        elements.paragraph(t("rollout.guards.none"), key="rollout guards none")
        return
    elements.paragraph(t("rollout.guards.explain"), key="rollout guards explain")
    champion, challenger = (evidence.get(alias) or look[alias] for alias in ("champion", "challenger"))
    caption = t("rollout.guards.caption", champion=champion, challenger=challenger, percent=look["percent"] or 0)
    evidence_table(caption, evidence, found["needs"], "rollout guards")


def evidence_table(caption: str, evidence: rollout.Row, needs: list[Need] | None, key: str) -> None:
    """The measures of an analysis, with what each still needs where that is given."""
    names = ["name", "champion", "challenger", "worse", "interval", "margin", "verdict", "n"]
    columns = [t(f"rollout.column.{name}") for name in names]  # texts: rollout.column.*
    if needs:
        columns += [t("rollout.column.needed"), t("rollout.column.needed_time")]
    rows: list[list[Cell]] = []
    for place, measure in enumerate(evidence["measures"]):
        name, of = measure.get("guard", "unknown"), measure.get("of", "")
        row: list[Cell] = [
            words.guard(name, of) if name != "unknown" else measure["name"],
            words.champion(name, measure["champion"]),
            words.value(name, measure["challenger"]),
            words.difference(name, measure["worse_by"]),
            words.interval(name, measure["low"], measure["high"]),
            words.value(name, measure["margin"]),
            words.verdict(measure["verdict"]),
            f"{measure['n_challenger']} / {measure['n_champion']}",
        ]
        if needs:
            need = needs[place] if place < len(needs) else None
            row += [words.needed(need), words.takes(need)]
        rows.append(row)
    elements.table(caption, columns, rows, numeric=(1, 2, 3, 4, 5, 7), stack=True, key=key)
