"""Whether there is drift now, what drift waits for, and what became of the last alarm."""

from __future__ import annotations

import streamlit as st

from mcqa.readmodels.drift import Check, DriftFacts, Registered, Retraining
from ui import elements, facts
from ui.drift import readers, wording
from ui.elements import Badge, Bar, Cell, Link, Time
from ui.language import count, number, parts, t
from ui.live import live

CHECKS = 50
"""Checks read: those of the history; all parts of the page share one read."""
_STATES = {
    "waiting": "wait",
    "starting": "wait",
    "queued": "wait",
    "running": "wait",
    "succeeded": "good",
    "failed": "bad",
}


@live()
def overview() -> None:
    found = facts.shown(facts.read(readers.status, CHECKS), t("drift.part.checks"))
    if found is None:
        return
    if found["champion"] is None:
        elements.notice("info", t("drift.no_champion"), key="drift state")
        return
    _state(found)
    elements.details(_now(found), key="drift now")
    st.header(t("drift.alarm.title"))
    if found["alarm"] is None:
        elements.paragraph(t("drift.alarm.none"), key="drift alarm none")
        return
    alarm = found["alarm"]
    elements.details(_alarm(alarm, found["retraining"], found["registered"]), key="drift alarm")


def current(found: DriftFacts) -> Check | None:
    """The newest check, where it is the champion's."""
    newest = found["checks"][0] if found["checks"] else None
    return newest if newest is not None and newest["version"] == found["champion"] else None


def _verdict(found: DriftFacts) -> str:
    """The newest check's; while its window is too small for one, that of the window before still stands."""
    of_champion = (check["verdict"] for check in found["checks"] if check["version"] == found["champion"])
    newest = next(of_champion, "insufficient")
    if newest != "insufficient" or not found["streaks"]:
        return newest
    return next((verdict for verdict in of_champion if verdict in ("drift", "suspect")), newest)


def _state(found: DriftFacts) -> None:
    check, version = current(found), found["champion"] or ""
    verdict = _verdict(found)
    since = Time(found["differs_since"])
    if verdict == "drift":
        elements.notice("warning", *parts("drift.state.drift", version=version, since=since), key="drift state")
    elif verdict == "suspect":
        windows = max(found["streaks"].values(), default=1)
        params = {"version": version, "since": since, "windows": windows, "needed": found["consecutive"]}
        elements.notice("warning", *parts("drift.state.suspect", **params), key="drift state")
    elif verdict == "no-drift":
        elements.notice("success", t("drift.state.no_drift", version=version), key="drift state")
    elif check and check["reason_code"] in ("reference-missing", "reference-unusable", "reference-too-small"):
        elements.notice("warning", *wording.reason(check), key="drift state")
    else:
        elements.notice("info", t("drift.state.learning", version=version), key="drift state")


def _now(found: DriftFacts) -> dict[str, Cell]:
    version, check = found["champion"] or "", current(found)
    shown: dict[str, Cell] = {
        t("drift.now.champion"): Link(t("drift.version", version=version), f"/versions?version={version}")
    }
    if found["baseline"]:
        shown[t("drift.now.baseline")] = wording.baseline(found["baseline"])
    if window := found["window"]:
        figures = {
            "n": number(window["answers"]),
            "needed": number(window["needed"]),
            "enough": number(window["enough"]),
        }
        least = window["answers"] < window["needed"]
        text = t("drift.now.needed", **figures) if least else t("drift.now.enough", **figures)
        share = window["answers"] / (window["needed"] if least else window["enough"])
        since: list[Cell] = [", ", *parts("drift.now.since", time=Time(window["since"]))] if window["since"] else []
        of = figures["needed"] if least else figures["enough"]
        shown[t("drift.now.window")] = [Bar(share, f"{figures['n']} / {of}"), text, *since]
    if found["streaks"]:
        rows = (f"{wording.feature(name)} {windows}" for name, windows in found["streaks"].items())
        shown[t("drift.now.streaks")] = t("drift.now.in_a_row", features=", ".join(rows), needed=found["consecutive"])
    if check:
        when: list[Cell] = [Time(check["checked_at"], "ago"), " (", wording.check_link(check["sequence"]), "): "]
        shown[t("drift.now.last_check")] = [*when, *wording.reason(check)]
    return shown


def _alarm(alarm: Check, run: Retraining | None, registered: Registered | None) -> dict[str, Cell]:
    raised = parts("drift.alarm.raised", time=Time(alarm["checked_at"]), check=wording.check_link(alarm["sequence"]))
    moved = [item for item in alarm["evidence"] if item["rejected"]]
    shown: dict[str, Cell] = {
        t("drift.alarm.when"): raised,
        t("drift.alarm.version"): Link(
            t("drift.version", version=alarm["version"]), f"/versions?version={alarm['version']}"
        ),
        t("drift.alarm.why"): wording.reason(alarm),
    }
    if moved:
        shown[t("drift.alarm.moved")] = "; ".join(wording.moved(item) for item in moved)
    shown[t("drift.alarm.retraining")] = _retraining(run)
    if run is not None and run["error"]:
        shown[t("drift.alarm.error")] = run["error"]
    if registered is not None:
        version = Link(t("drift.version", version=registered["version"]), f"/versions?version={registered['version']}")
        became = f"drift.became.{registered['state']}"  # texts: drift.became.*
        shown[t("drift.alarm.outcome")] = [
            version,
            " ",
            t(became),
            *([f": {registered['text']}"] if registered["text"] else []),
        ]
    if trace := wording.trace_link(alarm["traceparent"]):
        shown[t("drift.alarm.trace")] = trace
    return shown


def _retraining(run: Retraining | None) -> Cell:
    if run is None:
        return t("drift.alarm.not_requested")
    state = f"drift.retraining.{run['state']}"  # texts: drift.retraining.*
    shown: list[Cell] = [Badge(_STATES.get(run["state"], "info"), t(state))]  # type: ignore[arg-type]
    if run["run_id"]:
        shown += [" ", Link(t("drift.alarm.run"), f"/pipelines?run={run['run_id']}")]
    if run["attempt"] > 1:
        shown += [" ", count("drift.alarm.attempts", run["attempt"])]
    return shown
