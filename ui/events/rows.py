"""Rows of tables that several parts of the page show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.trace_context import trace_id
from mcqa.readmodels.traces import TraceRow
from ui import elements
from ui.elements import Cell, Code, Link, Time
from ui.language import t

_SHORT = 8


def trace_link(attributes: Mapping[str, Any]) -> Cell:
    """To the event's trace: its traceparent's, or its id where that is one."""
    found = trace_id(str(attributes.get("traceparent", ""))) or trace_id(str(attributes.get("id", "")))
    return Link(found[:_SHORT], f"/events?trace={found}") if found else None


def trace_rows(caption: str, rows: Sequence[TraceRow], key: str) -> None:
    """What the database has, in the order given."""
    elements.table(
        caption,
        [t("events.column.at"), t("events.column.what"), t("events.column.which"), t("events.column.says"),
         t("events.column.trace")],
        [_row(row) for row in rows],
        empty=t("events.trace.no_rows"),
        stack=True,
        key=key,
    )  # fmt: skip


def _row(row: TraceRow) -> list[Cell]:
    trace = row["trace"]
    return [
        Time(row["at"]),
        t(f"events.kind.{row['kind']}"),  # texts: events.kind.*
        _which(row),
        [Code(row["code"]), " ", row["text"]] if row["code"] else row["text"],
        Link(trace[:_SHORT], f"/events?trace={trace}") if trace else None,
    ]


def _which(row: TraceRow) -> Cell:
    """The page that shows it, where there is one."""
    pages = {
        "check": "/drift?check=", "decision": "/rollout?decision=", "run": "/pipelines?run=",
        "dead-letter": "/events?letter=",
    }  # fmt: skip
    key, version = row["key"], row["version"]
    named: list[Cell] = [Link(key, pages[row["kind"]] + key) if key and row["kind"] in pages else key]
    if version:
        named += [", ", Link(t("events.version", version=version), f"/versions?version={version}")]
    return named
