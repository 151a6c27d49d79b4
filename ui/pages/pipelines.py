"""Pipelines: the retraining runs, one run with its steps, the schedules, and the pipeline's versions."""

from __future__ import annotations

import os
import time
from typing import Any

import streamlit as st

from mcqa.addresses import FOLDER_VARIABLE
from mcqa.readmodels import pipeline_runs, versions
from mcqa.readmodels.pipeline_runs import PipelinesFacts, RunFacts, RunLine, Step
from ui import elements, facts
from ui.elements import Badge, Cell, Code, Link, Time
from ui.language import duration, has, parts, t
from ui.live import live
from ui.pipelines import requests, results
from ui.versions import lineage, listing

# texts: pipelines.state.*
# texts: pipelines.column.*
_BADGES = {"SUCCEEDED": "good", "FAILED": "bad", "CANCELED": "warn", "CANCELING": "warn", "SKIPPED": "sleep"}
_ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
MLFLOW_SECONDS = 20.0


def render() -> None:
    st.title(t("app.page.pipelines"))
    if not os.environ.get("KFP_ENDPOINT", "").strip():
        elements.notice("info", t("pipelines.none_here"), key="pipelines none")
        return
    if asked := st.query_params.get("run", "")[:200]:
        _one(asked)
        elements.paragraph(Link(t("pipelines.all"), "/pipelines"), key="pipelines all")
        return
    elements.paragraph(t("pipelines.intro"), key="pipelines intro")
    _all()


def read() -> PipelinesFacts:
    return pipeline_runs.read(os.environ)


def read_run(run_id: str) -> RunFacts | None:
    return pipeline_runs.run(os.environ, run_id)


def read_record(key: str) -> versions.Record:
    return versions.record(os.environ, key)


def read_cause(key: str) -> versions.Cause | None:
    return versions.cause(os.environ, key)


@live()
def _all() -> None:
    found = facts.shown(facts.read(read), t("pipelines.part.server"))
    if found is None:
        return
    if found["database"]:
        elements.notice("warning", *parts("pipelines.no_database", error=found["database"]), key="pipelines database")
    columns = [t(f"pipelines.column.{name}") for name in ("run", "state", "started", "took", "cause", "result")]
    rows = [_line(run) for run in found["runs"]]
    elements.table(t("pipelines.runs"), columns, rows, empty=t("pipelines.no_runs"), stack=True, key="pipelines runs")
    requests.show(found["requests"])
    elements.table(
        t("pipelines.schedules"),
        [t(f"pipelines.column.{name}") for name in ("name", "when", "enabled")],
        [
            [each["name"], Code(each["when"]), t("pipelines.yes" if each["enabled"] else "pipelines.no")]
            for each in found["schedules"]
        ],
        empty=t("pipelines.no_schedules"),
        stack=True,
        key="pipelines schedules",
    )
    elements.table(
        t("pipelines.versions"),
        [t("pipelines.column.name"), t("pipelines.column.uploaded")],
        [[each["name"], Time(each["created_at"])] for each in found["versions"]],
        empty=t("pipelines.no_versions"),
        stack=True,
        key="pipelines versions",
    )


@live()
def _one(run_id: str) -> None:
    read_facts = facts.read(read_run, run_id)
    run = facts.shown(read_facts, t("pipelines.part.server"))
    if run is None:
        if read_facts.ok:
            elements.notice("warning", *parts("pipelines.no_such", run=Code(run_id)), key="pipelines no such")
        return
    elements.heading(2, t("pipelines.one", name=run["name"]), key="pipelines run")
    _summary(run)
    elements.table(
        t("pipelines.steps"),
        [t(f"pipelines.column.{name}") for name in ("step", "state", "started", "took", "error")],
        [_step(step) for step in run["steps"]],
        empty=t("pipelines.no_steps"),
        stack=True,
        key="pipelines steps",
    )
    elements.table(
        t("pipelines.parameters"),
        [t("pipelines.column.parameter"), t("pipelines.column.value")],
        [[name, Code(str(value))] for name, value in sorted(run["parameters"].items())],
        empty=t("pipelines.defaults"),
        key="pipelines parameters",
    )
    results.artifacts(run_id)
    if run["requested"] is not None:
        _record(run["requested"]["key"])


def _summary(run: RunFacts) -> None:
    requested = run["requested"]
    shown: dict[str, Cell] = {
        t("pipelines.column.state"): [_state(run["state"]), *_archived(run)],
        t("pipelines.column.started"): Time(run["created_at"]),
        t("pipelines.column.took"): _took(run["created_at"], run["finished_at"], run["state"]),
        t("pipelines.asked_by"): requests.cause(None)
        if requested is None
        else [requests.cause(requested), *_check(requested["key"])],
        t("pipelines.column.result"): _result(run),
    }
    if requested is not None and requested["reason"]:
        shown[t("pipelines.column.cause")] = requested["reason"]
    if run["description"]:
        shown[t("pipelines.description")] = run["description"]
    if run["error"]:
        shown[t("pipelines.column.error")] = run["error"]
    if run["page"]:
        link = Link(t("pipelines.open"), run["page"])
        # The token itself is not shown: whoever sees this page could act on the server with it.
        shown[t("pipelines.page")] = [link, " ", t("pipelines.token")] if os.environ.get(FOLDER_VARIABLE) else link
    elements.details(shown, key="pipelines summary")


def _check(key: str) -> list[Cell]:
    """The drift check that asked for it, as a link."""
    cause = facts.read(read_cause, key, seconds=MLFLOW_SECONDS).value
    alarm = cause["alarm"] if cause else None
    if alarm is None:
        return []
    return [" · ", Link(t("pipelines.check", n=alarm["sequence"]), f"/drift?check={alarm['sequence']}")]


def _record(key: str) -> None:
    """What the steps left in MLflow."""
    record = facts.shown(facts.read(read_record, key, seconds=MLFLOW_SECONDS), t("pipelines.part.record"))
    if record is None:
        return
    if record["verdict"] is not None:
        st.subheader(t("versions.gate.title"))
        elements.paragraph(listing.gate(record["verdict"]), key="pipelines gate")
        if record["checks"]:
            lineage.checks_table(record["checks"])
    lineage.steps(record)
    if record["data"]:
        elements.table(
            t("pipelines.data"),
            [t("pipelines.column.name"), t("pipelines.column.value")],
            [[name, Code(value)] for name, value in record["data"].items()],
            key="pipelines data",
        )
    results.show(key)


def _line(run: RunLine) -> list[Cell]:
    return [
        Link(run["name"], f"/pipelines?run={run['run_id']}"),
        [_state(run["state"]), *_archived(run)],
        Time(run["created_at"]),
        _took(run["created_at"], run["finished_at"], run["state"]),
        requests.cause(run["requested"]),
        run["error"] or _result(run),
    ]


def _step(step: Step) -> list[Cell]:
    indent = "\u2003" * step["depth"]
    attempt = [" ", t("pipelines.attempt", n=step["attempt"] + 1)] if step["attempt"] else []
    return [
        [indent, step["name"], *attempt],
        _state(step["state"]),
        Time(step["started_at"], "time"),
        _took(step["started_at"], step["ended_at"], step["state"]),
        step["error"] or "—",
    ]


def _state(state: str) -> Badge:
    key = f"pipelines.state.{state}"
    kind: Any = _BADGES.get(state, "wait")
    return Badge(kind, t(key) if has(key) else state)


def _archived(run: RunLine) -> list[Cell]:
    return [" ", Badge("sleep", t("pipelines.archived"))] if run["archived"] else []


def _took(began: float | None, ended: float | None, state: str) -> str:
    if began is None:
        return "—"
    if ended is None:
        return "—" if state in _ENDED else duration(time.time() - began)
    return duration(ended - began)


def _result(run: RunLine) -> Cell:
    requested = run["requested"]
    if requested is not None and requested["version"]:
        number = requested["version"]
        return Link(t("pipelines.registered", version=number), f"/versions?version={number}")
    return t("pipelines.nothing_registered" if run["state"] in _ENDED else "pipelines.undecided")
