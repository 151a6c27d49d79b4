"""Label selectors and field selectors, as list, watch and delete-collection take them.

By hand: the clients in use (lightkube, kubernetes) write selectors and do not read them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from local.kube.errors import bad_request
from local.kube.resources import Object

Predicate = Callable[[Object], bool]

_SET = re.compile(r"(?P<key>[\w./-]+)\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)$")
_EQUAL = re.compile(r"(?P<key>[\w./-]+)\s*(?P<op>==|!=|=)\s*(?P<value>[\w.-]*)$")
_EXISTS = re.compile(r"(?P<not>!?)\s*(?P<key>[\w./-]+)$")


def label_selector(text: str) -> Predicate:
    """`a=b,c!=d,e in (f,g),h notin (i),j,!k`; 400 for anything else."""
    terms = [_label_term(term.strip(), text) for term in re.split(r",(?![^(]*\))", text) if term.strip()]
    return lambda item: all(term(item["metadata"].get("labels") or {}) for term in terms)


def _label_term(term: str, text: str) -> Callable[[Mapping[str, str]], bool]:
    if match := _SET.match(term):
        key, values = match["key"], {value.strip() for value in match["values"].split(",")}
        if match["op"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if match := _EQUAL.match(term):
        key, value = match["key"], match["value"]
        if match["op"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if match := _EXISTS.match(term):
        key, absent = match["key"], bool(match["not"])
        return lambda labels: (key in labels) != absent
    raise bad_request(f"unable to parse requirement: {term!r} in label selector {text!r}")


# Only these can be selected by, as on a cluster, and an Event's own fields.
_FIELDS = re.compile(r"metadata\.(name|namespace)$")
_EVENT_FIELDS = re.compile(
    r"(involvedObject\.(kind|namespace|name|uid|apiVersion|resourceVersion|fieldPath)|reason|type|source|"
    r"reportingComponent)$"
)
_POD_FIELDS = re.compile(r"(status\.(phase|podIP)|spec\.(nodeName|restartPolicy|serviceAccountName))$")


def field_selector(text: str, kind: str) -> Predicate:
    """`metadata.name=x,metadata.namespace!=y`; 400 for a field that cannot be selected by."""
    terms: list[tuple[tuple[str, ...], bool, str]] = []
    for term in filter(None, (part.strip() for part in text.split(","))):
        match = re.match(r"([\w.]+)\s*(==|!=|=)\s*(.*)$", term)
        if not match:
            raise bad_request(f"invalid field selector: {term!r} in {text!r}; write metadata.name=NAME")
        path = match[1]
        extra = {"Event": _EVENT_FIELDS, "Pod": _POD_FIELDS}.get(kind)
        if not _FIELDS.match(path) and not (extra and extra.match(path)):
            raise bad_request(f"field label not supported: {path}")
        terms.append((tuple(path.split(".")), match[2] != "!=", match[3]))
    return lambda item: all((_field_text(item, path) == value) == equal for path, equal, value in terms)


def _field_text(item: Object, path: tuple[str, ...]) -> str:
    value: Any = item
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return "" if value is None else str(value)


def object_selector(labels: str, fields: str, kind: str) -> Predicate | None:
    """One predicate of both selectors, None when neither is given."""
    predicates = [label_selector(labels)] if labels else []
    if fields:
        predicates.append(field_selector(fields, kind))
    return (lambda item: all(accepts(item) for accepts in predicates)) if predicates else None
