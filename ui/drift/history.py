"""The checks so far."""

from __future__ import annotations

import streamlit as st

from mcqa.readmodels.drift import Check
from ui import elements, facts
from ui.drift import readers, wording
from ui.drift.overview import CHECKS
from ui.elements import Cell, Link, Time
from ui.language import number, t
from ui.live import live

COLUMNS = ("check", "when", "version", "answers", "verdict", "why")


@live()
def history() -> None:
    st.header(t("drift.history.title"))
    found = facts.shown(facts.read(readers.status, CHECKS), t("drift.part.checks"))
    if found is None:
        return
    elements.table(
        t("drift.history.caption", n=CHECKS),
        [t(f"drift.history.{name}") for name in COLUMNS],  # texts: drift.history.*
        [_row(check) for check in found["checks"]],
        empty=t("drift.history.none"),
        numeric=(3,),
        stack=True,
        key="drift history",
    )


def _row(check: Check) -> list[Cell]:
    version = Link(t("drift.version", version=check["version"]), f"/versions?version={check['version']}")
    return [
        wording.check_link(check["sequence"]),
        Time(check["checked_at"]),
        version,
        number(check["n"]),
        wording.verdict(check),
        wording.reason(check),
    ]
