"""What a run left behind: metrics and files of its steps in MLflow, artifacts of its tasks at the pipeline server."""

from __future__ import annotations

import os

import streamlit as st

from mcqa.readmodels import pipeline_results
from mcqa.readmodels.pipeline_results import Metric, Produced, Results, StoredFile
from ui import elements, facts
from ui.elements import Cell, Code, Link
from ui.language import has, number, parts, size, t

# texts: pipelines.column.*
SECONDS = 20.0


def read(key: str) -> Results:
    return pipeline_results.read(os.environ, key)


def read_artifacts(run_id: str) -> list[Produced] | None:
    return pipeline_results.produced(os.environ, run_id)


def show(key: str) -> None:
    """Metrics and files of the steps, by the key of the request."""
    found = facts.shown(facts.read(read, key, seconds=SECONDS), t("pipelines.part.record"))
    if found is None:
        return
    if found["metrics"]:
        with st.expander(t("pipelines.metrics"), key="pipelines metrics folded"):
            columns = [t(f"pipelines.column.{name}") for name in ("metric", "step", "value")]
            rows = [_metric(metric) for metric in found["metrics"]]
            elements.table(t("pipelines.metrics"), columns, rows, numeric=(2,), hide_caption=True,
                           key="pipelines metrics")  # fmt: skip
    if found["unlisted"]:
        elements.notice("warning", *parts("pipelines.unlisted", error=found["unlisted"]), key="pipelines unlisted")
    if found["files"]:
        columns = [t(f"pipelines.column.{name}") for name in ("file", "step", "size")]
        rows = [_file(file) for file in found["files"]]
        elements.table(t("pipelines.files"), columns, rows, numeric=(2,), key="pipelines files")


def artifacts(run_id: str) -> None:
    read_facts = facts.read(read_artifacts, run_id)
    if not read_facts.ok:  # the page has said already that the server does not answer
        return
    if read_facts.value is None:
        elements.paragraph(t("pipelines.artifacts_elsewhere"), key="pipelines artifacts elsewhere")
        return
    elements.table(
        t("pipelines.artifacts"),
        [t(f"pipelines.column.{name}") for name in ("artifact", "step", "type", "size")],
        [_artifact(artifact) for artifact in read_facts.value],
        numeric=(3,),
        empty=t("pipelines.no_artifacts"),
        key="pipelines artifacts",
    )


def _metric(metric: Metric) -> list[Cell]:
    value = metric["value"]
    shown = number(value) if value.is_integer() else number(value, 4)
    return [metric["name"], _step(metric["step"]), shown]


def _file(file: StoredFile) -> list[Cell]:
    return [_link(file["name"], file["page"]), _step(file["step"]), size(file["size"])]


def _artifact(artifact: Produced) -> list[Cell]:
    return [
        _link(artifact["name"], artifact["page"]),
        artifact["task"],
        Code(artifact["type"]),
        size(artifact["size"]),
    ]


def _link(name: str, page: str) -> Cell:
    return Link(name, page) if page else name


def _step(name: str) -> str:
    key = f"versions.step.{name}"
    return t(key) if has(key) else name
