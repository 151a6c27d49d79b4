"""The decision log by pages, and one decision with its evidence."""

from __future__ import annotations

import os

import streamlit as st

from mcqa.readmodels import rollout_history
from mcqa.readmodels.rollout_history import Decision, LogPage
from ui import elements, facts
from ui.elements import Cell, Code, Link, Time
from ui.language import t
from ui.live import live
from ui.rollout import words
from ui.rollout.current import evidence_table

PAGE = 20
LIVE_SECONDS = 10.0
_BEFORE = "rollout log before"


def read_log(before: int | None) -> LogPage:
    return rollout_history.log(os.environ, before, PAGE)


def read_decision(number: int) -> Decision | None:
    return rollout_history.decision(os.environ, number)


@live(LIVE_SECONDS)
def log() -> None:
    # texts: rollout.action_type.*
    st.header(t("rollout.log.title"))
    before = st.session_state.get(_BEFORE)
    found = facts.shown(facts.read(read_log, before), t("rollout.part_log"))
    if found is None:
        return
    columns = [t(f"rollout.column.{name}") for name in ("decision", "time", "what", "why", "who")]
    rows: list[list[Cell]] = [
        [
            Link(str(row["number"]), f"/rollout?decision={row['number']}"),
            Time(row["at"]),
            words.coded("rollout.action_type", row["action_type"]),
            words.why(row),
            words.who(row),
        ]
        for row in found["decisions"]
    ]
    elements.table(t("rollout.log.caption"), columns, rows, empty=t("rollout.log.empty"), stack=True, key="rollout log")
    older = found["older"]
    if before is None and older is None:
        return
    with st.container(horizontal=True, key="rollout-log-pages"):
        st.button(t("rollout.log.newest"), key="log newest", disabled=before is None, on_click=_turn, args=(None,))
        st.button(t("rollout.log.older"), key="log older", disabled=older is None, on_click=_turn, args=(older,))


def _turn(before: int | None) -> None:
    st.session_state[_BEFORE] = before


def decision(number: int) -> None:
    st.header(t("rollout.decision.title", number=number))
    facts_read = facts.read(read_decision, number)
    row = facts.shown(facts_read, t("rollout.part_log"))
    if row is None:
        if facts_read.ok:
            elements.notice("warning", t("rollout.decision.missing", number=number))
        return
    items: dict[str, Cell] = {
        t("rollout.column.time"): Time(row["at"]),
        t("rollout.now.champion"): words.version(row["champion"]),
        t("rollout.now.challenger"): words.version(row["challenger"]),
        t("rollout.now.phase"): words.coded("rollout.phase", row["phase"]),
        t("rollout.column.what"): words.coded("rollout.action_type", row["action_type"]),
        t("rollout.decision.action"): Code(row["action"]),
        t("rollout.column.why"): words.why(row),
        t("rollout.column.who"): words.who(row),
    }
    if told := words.details(row):
        items[t("rollout.decision.details")] = "\n".join(told)
    if row["trace"]:
        link = Link(t("rollout.decision.trace_link"), f"/events?trace={_trace_id(row['trace'])}")
        items[t("rollout.decision.trace")] = [Code(_trace_id(row["trace"])), " ", link]
    elements.details(items, key="decision")
    if row["evidence"] and row["evidence"].get("measures"):
        evidence_table(t("rollout.decision.evidence", number=number), row["evidence"], None, "decision evidence")
    elements.paragraph(Link(t("rollout.decision.close"), "/rollout"), key="decision close")


def _trace_id(traceparent: str) -> str:
    """The trace's own part of a W3C traceparent."""
    return traceparent.split("-")[1] if traceparent.count("-") == 3 else traceparent
