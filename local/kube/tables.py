"""Objects as `kubectl get` prints them: the meta.k8s.io/v1 Table that the server makes for its clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from local.kube.jsonpath import first
from local.kube.resources import AGE, Object, PrinterColumn, Resource

Cells = Callable[[Object, datetime], list[Any]]


def table(resource: Resource, items: Sequence[Object], metadata: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    """The Table of these objects; rows carry the `whole` object or its metadata only."""
    columns, cells = _CORE_TABLES.get(resource.kind, (None, None)) if not resource.custom else (None, None)
    columns = columns or resource.columns
    cells = cells or (lambda item, now: [_cell(item, column, now) for column in columns])
    now = datetime.now(UTC)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [_definition(PrinterColumn("Name", "")), *map(_definition, columns)],
        "rows": [
            {
                "cells": [item["metadata"]["name"], *cells(item, now)],
                "object": item if whole else partial_object_metadata(item),
            }
            for item in items
        ],
    }


def partial_object_metadata(item: Object) -> Object:
    """The object's metadata, as PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}


def age(timestamp: Any, now: datetime) -> str:
    """The time since, in kubectl's short form: 5s, 3m20s, 2h5m, 4d."""
    try:
        began = datetime.fromisoformat(str(timestamp))
    except ValueError:
        return "<unknown>"
    seconds = int((now - began).total_seconds())
    if seconds < 0:
        return "0s" if seconds > -2 else "<invalid>"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d"


def _definition(column: PrinterColumn) -> dict[str, Any]:
    name = column.name == "Name"
    return {
        "name": column.name,
        "type": column.type,
        "format": "name" if name else "",
        "description": f"The object's {'name' if name else column.path}",
        "priority": column.priority,
    }


def _cell(item: Object, column: PrinterColumn, now: datetime) -> Any:
    value = first(item, column.path)
    if value is not None and column.type == "date":
        return age(value, now)
    if value is not None and column.type == "string" and not isinstance(value, str):
        return str(value)
    return value


def _age(item: Object, now: datetime) -> str:
    return age(item["metadata"].get("creationTimestamp"), now)


def _namespace(item: Object, now: datetime) -> list[Any]:
    phase = "Terminating" if item["metadata"].get("deletionTimestamp") else item.get("status", {}).get("phase", "")
    return [phase, _age(item, now)]


def _service(item: Object, now: datetime) -> list[Any]:
    spec = item.get("spec") or {}
    ports = ",".join(f"{port.get('port')}/{port.get('protocol', 'TCP')}" for port in spec.get("ports") or [])
    external = spec.get("externalName") or "<none>"
    return [
        spec.get("type", "ClusterIP"),
        spec.get("clusterIP", "<none>"),
        external,
        ports or "<none>",
        _age(item, now),
    ]


def _event(item: Object, now: datetime) -> list[Any]:
    about = item.get("involvedObject") or {}
    seen = item.get("lastTimestamp") or item.get("eventTime") or item["metadata"].get("creationTimestamp")
    what = f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"
    return [age(seen, now), item.get("type", ""), item.get("reason", ""), what, item.get("message", "").strip()]


def _pod(item: Object, now: datetime) -> list[Any]:
    status = item.get("status") or {}
    states = status.get("containerStatuses") or []
    total = len((item.get("spec") or {}).get("containers") or [])
    ready = sum(1 for state in states if state.get("ready"))
    phase = "Terminating" if item["metadata"].get("deletionTimestamp") else status.get("phase", "Unknown")
    restarts = sum(state.get("restartCount", 0) for state in states)
    return [f"{ready}/{total}", phase, restarts, _age(item, now)]


def _columns(*names: str) -> tuple[PrinterColumn, ...]:
    return tuple(AGE if name == "Age" else PrinterColumn(name, "") for name in names)


_CORE_TABLES: dict[str, tuple[tuple[PrinterColumn, ...], Cells]] = {
    "Namespace": (_columns("Status", "Age"), _namespace),
    "ConfigMap": (
        _columns("Data", "Age"),
        lambda item, now: [len(item.get("data") or {}) + len(item.get("binaryData") or {}), _age(item, now)],
    ),
    "Secret": (
        _columns("Type", "Data", "Age"),
        lambda item, now: [item.get("type", "Opaque"), len(item.get("data") or {}), _age(item, now)],
    ),
    "Service": (_columns("Type", "Cluster-IP", "External-IP", "Port(s)", "Age"), _service),
    "ServiceAccount": (
        _columns("Secrets", "Age"),
        lambda item, now: [len(item.get("secrets") or []), _age(item, now)],
    ),
    "Event": (_columns("Last Seen", "Type", "Reason", "Object", "Message"), _event),
    "Pod": (_columns("Ready", "Status", "Restarts", "Age"), _pod),
}
