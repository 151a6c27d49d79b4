"""Drift: whether the answers still look like the champion's baseline, on what evidence, and what to do about it."""

from __future__ import annotations

import streamlit as st

from mcqa.readmodels.drift import DriftFacts
from ui import elements, facts, query
from ui.drift import readers, wording
from ui.drift.accept import accept
from ui.drift.asked import asked
from ui.drift.comparison import compared, one_check
from ui.drift.history import history
from ui.drift.over_time import over_time
from ui.drift.overview import CHECKS, current, overview
from ui.language import t

OPEN = "open"
"""`?check=open`: the open window, however few answers it holds."""


def render() -> None:
    st.title(t("app.page.drift"))
    named = query.number("check", words=(OPEN,))
    query.explain(named)
    elements.paragraph(t("drift.intro"), key="drift intro")
    overview()
    found = facts.read(readers.status, CHECKS).value
    check = named.value if named.value is not None and _one(named.value, found) else None
    if check is None and found is not None and st.query_params.get("check") != OPEN:
        check = _newest(found)
    st.header(t("drift.compare.title"))
    if found is not None and found["champion"] is not None:
        _choose(found, check)
    compared(check)
    asked(check)
    over_time()
    history()
    accept()


def _one(sequence: int, found: DriftFacts | None) -> bool:
    """Whether there is that check."""
    read = facts.read(readers.check, sequence)
    check = facts.shown(read, t("drift.part.checks"))
    if check is None:
        if read.ok:
            elements.notice("warning", t("drift.check.missing", n=sequence), key="drift no check")
        return False
    compared_with = facts.read(readers.distributions, sequence, seconds=60.0).value
    baseline = wording.baseline(compared_with["baseline"]) if compared_with and compared_with["baseline"] else ["—"]
    one_check(check, found["consecutive"] if found else 2, baseline)
    return True


def _newest(found: DriftFacts) -> int | None:
    """The check to show where none is named: the newest with evidence, while the open window is too small for any."""
    window, check = found["window"], current(found)
    if check is None or window is None or window["answers"] >= window["needed"]:
        return None
    return next((c["sequence"] for c in found["checks"] if c["evidence"] and c["version"] == found["champion"]), None)


def _choose(found: DriftFacts, check: int | None) -> None:
    """Which window is compared: the open one, or that of a check with evidence."""
    numbers = [c["sequence"] for c in found["checks"] if c["evidence"]]
    options: list[int | None] = [None, *sorted({*numbers, *([check] if check else [])}, reverse=True)]
    picked = st.selectbox(
        t("drift.choose.label"), options, index=options.index(check), format_func=_option, key=f"drift choose {check}",
        width=320,
    )  # fmt: skip
    if picked != check:
        st.query_params["check"] = OPEN if picked is None else str(picked)
        st.rerun()


def _option(check: int | None) -> str:
    return t("drift.choose.open") if check is None else t("drift.choose.check", n=check)
