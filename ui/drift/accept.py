"""Accept as normal, and take it back: an operator's override of what drift is measured against."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import streamlit as st

from functions.drift.acceptance import OtherBaselineError, TooFewAnswersError
from mcqa import baseline
from mcqa.baseline import Candidate, OtherChampionError
from mcqa.readmodels.drift import Baseline, DriftFacts
from ui import elements, facts
from ui.actions import action, explain_refusal, has_outcome
from ui.drift import readers, wording
from ui.drift.overview import CHECKS
from ui.elements import Cell, Time
from ui.language import number, parts, t

AGES = {"hour": 3600.0, "day": 86_400.0, "week": 7 * 86_400.0}
ROUND = 10.0
"""Times that move are cut to so many seconds, so that viewers share a count."""


def accept() -> None:
    st.header(t("drift.accept.title"))
    elements.paragraph(t("drift.accept.what"), key="drift accept what")
    read = facts.read(readers.status, CHECKS)
    found = facts.shown(read, t("drift.part.checks"))
    if found is None or found["champion"] is None or found["baseline"] is None:
        return
    if explain_refusal():
        return
    _accept(found)
    if found["baseline"]["check"] is not None:
        _undo(found["baseline"])


def _accept(found: DriftFacts) -> None:
    moments = _moments(found)
    chosen = st.selectbox(
        t("drift.accept.since"), list(moments), format_func=_label, key="drift accept since", width=420
    )
    since = moments[chosen]
    candidate = facts.shown(facts.read(readers.candidate, since), t("drift.part.answers"))
    if candidate is None:
        return
    key = "drift.accept.many" if candidate["n"] >= candidate["most"] else "drift.accept.count"
    elements.paragraph(*parts(key, n=number(candidate["n"]), since=Time(since)), key="drift accept count")
    if candidate["n"] < candidate["needed"]:
        figures = {"n": number(candidate["n"]), "needed": number(candidate["needed"])}
        elements.notice("info", t("drift.accept.too_few", **figures), key="drift accept too few")
        if not has_outcome("drift accept"):
            return
    action(
        t("drift.accept.button"),
        _accepting(candidate),
        title=t("drift.accept.ask"),
        consequence=_consequence(candidate),
        key="drift accept",
        disabled=candidate["n"] < candidate["needed"],
    )


def _moments(found: DriftFacts) -> dict[str, float]:
    """From when on answers can be accepted, the likeliest first; names are keys of the catalogue."""
    moments: dict[str, float] = {}
    if found["differs_since"] is not None:
        moments["differs"] = found["differs_since"]
    if found["window"] and found["window"]["since"] is not None:
        moments["window"] = found["window"]["since"]
    now = time.time() // ROUND * ROUND
    return moments | {name: now - age for name, age in AGES.items()}


def _label(name: str) -> str:
    return t(f"drift.since.{name}")  # texts: drift.since.*


def _consequence(candidate: Candidate) -> list[Cell]:
    return parts(
        "drift.accept.consequence",
        n=number(candidate["n"]),
        since=Time(candidate["since"]),
        version=candidate["version"],
    )


def _accepting(candidate: Candidate) -> Callable[[str], Sequence[Cell]]:
    """Accepts answers of the version that the confirmation named, and of no other that is champion by then."""

    def act(who: str) -> Sequence[Cell]:
        try:
            done = baseline.accept(os.environ, candidate["since"], who, time.time(), candidate["version"])
        except OtherChampionError as error:
            raise ValueError(t("drift.accept.other", version=error.expected, current=error.current)) from None
        except TooFewAnswersError as error:
            raise ValueError(t("drift.accept.too_few", n=number(error.n), needed=number(error.needed))) from None
        check = wording.check_link(done.sequence)
        return parts("drift.accept.done", n=number(done.n), since=Time(done.since), check=check)

    return act


def _undo(current: Baseline) -> None:
    figures = {"check": current["check"], "who": current["accepted_by"] or "", "time": Time(current["accepted_at"])}
    action(
        t("drift.undo.button"),
        _undoing(current["check"]),
        title=t("drift.undo.ask"),
        consequence=parts("drift.undo.consequence", **figures),
        key="drift undo",
    )


def _undoing(check: int | None) -> Callable[[str], Sequence[Cell]]:
    """Takes back what the confirmation named, and nothing that was accepted since."""

    def act(who: str) -> Sequence[Cell]:
        try:
            done = baseline.undo(os.environ, who, time.time(), check)
        except OtherBaselineError as error:
            key = "drift.undo.other" if error.current else "drift.undo.gone"
            raise ValueError(t(key, check=error.expected, current=error.current)) from None
        return parts("drift.undo.done", check=wording.check_link(done.sequence), version=done.version)

    return act
