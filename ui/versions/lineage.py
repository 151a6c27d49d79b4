"""Where a version comes from, what the gate and the canary said of it, its card, its letter prior, its run's steps."""

from __future__ import annotations

import re

import streamlit as st

from common.question import LETTERS
from mcqa.readmodels.versions import Card, Cause, Files, GateCheck, Record, VersionFacts
from ui import elements
from ui.elements import Badge, Cell, Code, Link, Time
from ui.facts import Facts
from ui.language import duration, has, number, percent, t
from ui.versions import listing

# texts: versions.column.*
# texts: versions.check.*
# texts: versions.check_code.*
# texts: versions.step.*
# texts: versions.status.*
# texts: versions.asked.*
_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
STATUS = {"FINISHED": "good", "FAILED": "bad", "KILLED": "bad", "RUNNING": "wait"}


def summary(one: VersionFacts, cause: Facts[Cause | None] | None, record: Record | None) -> None:
    rows: dict[str, Cell] = {
        t("versions.column.alias"): [part for name in one["aliases"] for part in (listing.alias(name), " ")]
        or t("versions.no_alias"),
        t("versions.column.registered"): Time(one["created"]),
        t("versions.column.origin"): listing.origin(one),
        t("versions.why"): one["reason"] or "—",
        t("versions.cause"): _cause(one, cause),
        t("versions.run"): _run(one),
        t("versions.data"): _data(one, record),
        t("versions.signature"): one["signature"] or t("versions.unsigned"),
        t("versions.column.rollout"): _rollout(one),
    }
    if one["not_offered"]:
        rows[t("versions.not_offered")] = one["not_offered"]
    if one["commit"]:
        rows[t("versions.commit")] = Code(one["commit"])
    if one["page"]:
        rows["MLflow"] = Link(t("versions.open_mlflow"), one["page"])
    elements.details(rows, key="versions summary")


def gate(one: VersionFacts | None, record: Facts[Record] | None) -> None:
    st.subheader(t("versions.gate.title"))
    if one is None or one["gate"] is None:
        elements.paragraph(t("versions.gate_none"), key="versions gate")
        return
    elements.paragraph(listing.gate(one["gate"]), key="versions gate")
    checks = record.value["checks"] if record is not None and record.value else None
    if checks is None:
        elements.paragraph(one["gate_reason"] or "—", key="versions gate reason")
        return
    checks_table(checks)


def checks_table(checks: list[GateCheck]) -> None:
    rows: list[list[Cell]] = [
        [_known("versions.check", check["name"].replace(" ", "_")) or check["name"], listing.gate(check["verdict"]),
         _known("versions.check_code", check["code"]) or check["code"], check["reason"]]
        for check in checks
    ]  # fmt: skip
    columns = [t(f"versions.column.{name}") for name in ("check", "verdict", "meaning", "numbers")]
    elements.table(t("versions.gate_checks"), columns, rows, hide_caption=True, stack=True, key="versions checks")


def prior(files: Files) -> None:
    st.subheader(t("versions.prior"))
    found = files["prior"]
    if found is None:
        elements.paragraph(t("versions.prior_none"), key="versions prior")
        return
    elements.paragraph(t("versions.prior_means", n=found["questions"]), key="versions prior means")
    widest = max(found["priors"], default=0)
    columns = [t("versions.column.choices"), *LETTERS[:widest]]
    rows: list[list[Cell]] = [
        [str(count), *(percent(share) for share in shares), *[""] * (widest - count)]
        for count, shares in found["priors"].items()
    ]
    numeric = range(1, widest + 1)
    elements.table(t("versions.prior"), columns, rows, numeric=numeric, hide_caption=True, key="versions prior table")


def card(files: Files) -> None:
    st.subheader(t("versions.card"))
    for name in files["unreadable"]:
        elements.notice("warning", t("versions.unreadable", file=name), key=f"versions unreadable {name}")
    found = files["card"]
    if found is None:
        elements.paragraph(t("versions.card_none"), key="versions card none")
        return
    elements.details(
        {
            t("versions.card_title"): found["title"],
            t("versions.card_subjects"): ", ".join(found["subjects"]) or "—",
            t("versions.card_stems"): number(found["stems"]),
            t("versions.card_accuracy"): _claimed(found),
        },
        key="versions card",
    )


def steps(record: Record) -> None:
    if not record["steps"]:
        return
    st.subheader(t("versions.steps"))
    rows: list[list[Cell]] = [
        [
            Link(_known("versions.step", step["name"]) or step["name"], step["page"]),
            Badge(STATUS.get(step["status"], "info"), _known("versions.status", step["status"]) or step["status"]),  # type: ignore[arg-type]
            Time(step["started"]),
            duration(None if step["ended"] is None else step["ended"] - step["started"]),
            step["error"] or "—",
        ]
        for step in record["steps"]
    ]
    columns = [t(f"versions.column.{name}") for name in ("step", "state", "started", "took", "error")]
    elements.table(t("versions.steps"), columns, rows, hide_caption=True, key="versions steps")


def _cause(one: VersionFacts, cause: Facts[Cause | None] | None) -> Cell:
    trace = _TRACE.fullmatch(one["traceparent"] or "")
    events: list[Cell] = [" · ", Link(t("versions.its_events"), f"/events?trace={trace[1]}")] if trace else []
    if cause is None or cause.value is None:
        said = t("versions.cause_unknown") if cause is None or cause.ok else t("versions.cause_unread")
        return [said, *events]
    alarm = cause.value["alarm"]
    if alarm is None:
        asked = _known("versions.asked", cause.value["initiated_by"]) or cause.value["initiated_by"]
        return [asked, " ", Time(cause.value["requested_at"]), *events]
    link = Link(t("versions.drift_check", n=alarm["sequence"]), f"/drift?check={alarm['sequence']}")
    return [link, ", ", Time(alarm["checked_at"]), ", ", t("versions.answers", n=number(alarm["n"])), *events]


def _run(one: VersionFacts) -> Cell:
    if not one["pipeline_run"]:
        return t("versions.no_run")
    return Link(one["pipeline_run"], f"/pipelines?run={one['pipeline_run']}")


def _data(one: VersionFacts, record: Record | None) -> Cell:
    counts = record["data"] if record else {}
    names = {name: f"versions.count.{name}" for name in ("train_new", "train_old", "holdout_current", "holdout_old")}
    told = [t(key, n=counts[name]) for name, key in names.items() if name in counts]  # texts: versions.count.*
    digest: list[Cell] = [t("versions.digest"), " ", Code(one["data_digest"][:16])] if one["data_digest"] else []
    if not told and not digest:
        return t("versions.no_data")
    return [", ".join(told), ", " if told and digest else "", *digest]


def _rollout(one: VersionFacts) -> Cell:
    ended = one["rollout"]
    if ended is None:
        return t("versions.not_tried")
    over: list[Cell] = (
        [" ", t("versions.over"), " ", listing.version_link(ended["champion"])] if ended["champion"] else []
    )
    return [listing.rollout(one), *over, f": {ended['text']}" if ended["text"] else ""]


def _claimed(found: Card) -> str:
    accuracy = found["accuracy"]
    if accuracy is None:
        return t("versions.card_unmeasured")
    low, high = percent(accuracy["low"]), percent(accuracy["high"])
    value, count = percent(accuracy["value"]), number(accuracy["questions"])
    return t("versions.card_measured", value=value, low=low, high=high, n=count)


def _known(prefix: str, name: str) -> str:
    """The catalogue's text for a code; "" for one of another release."""
    key = f"{prefix}.{name}"
    return t(key) if has(key) else ""
