"""A Trigger's filters: which events it wants, decided by context attributes alone.

The dialects of the CloudEvents Subscriptions API (exact, prefix, suffix, all, any, not, cesql) and Knative's older
`filter.attributes`. A missing attribute fails every comparison.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local.broker import cesql
from local.broker.cesql.functions import FUNCTIONS, lookup
from local.broker.cesql.syntax import Call, Expression
from local.broker.cesql.walk import walk
from local.broker.cloudevent import CloudEvent
from local.broker.errors import FieldError

DIALECTS = ("exact", "prefix", "suffix", "all", "any", "not", "cesql")
MAX_NESTING = 20
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9]*")


@dataclass(frozen=True, slots=True)
class AttributesFilter:
    """filter.attributes: every attribute has exactly this value; an empty string means that it is present."""

    values: Mapping[str, str]

    def matches(self, event: CloudEvent) -> bool:
        for name, expected in self.values.items():
            actual = event.text(name)
            if not actual or (expected and actual != expected):
                return False
        return True


@dataclass(frozen=True, slots=True)
class ComparisonFilter:
    """exact, prefix and suffix: the comparison holds for every named attribute."""

    compare: Callable[[str, str], bool]
    values: Mapping[str, str]

    def matches(self, event: CloudEvent) -> bool:
        for name, expected in self.values.items():
            actual = event.text(name)
            if actual is None or not self.compare(actual, expected):
                return False
        return True


@dataclass(frozen=True, slots=True)
class AllFilter:
    filters: tuple[Filter, ...]

    def matches(self, event: CloudEvent) -> bool:
        return all(part.matches(event) for part in self.filters)


@dataclass(frozen=True, slots=True)
class AnyFilter:
    filters: tuple[Filter, ...]

    def matches(self, event: CloudEvent) -> bool:
        return any(part.matches(event) for part in self.filters)


@dataclass(frozen=True, slots=True)
class NotFilter:
    filter: Filter

    def matches(self, event: CloudEvent) -> bool:
        return not self.filter.matches(event)


@dataclass(frozen=True, slots=True)
class CesqlFilter:
    expression: Expression

    def matches(self, event: CloudEvent) -> bool:
        return cesql.passes(self.expression, event.attributes)


Filter = AttributesFilter | ComparisonFilter | AllFilter | AnyFilter | NotFilter | CesqlFilter

_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "exact": str.__eq__,
    "prefix": str.startswith,
    "suffix": str.endswith,
}


def parse_filters(spec: Mapping[str, Any]) -> Filter:
    """The filter of a Trigger's spec: `filters` if it is not empty, else `filter`; without either every event passes.

    FieldError names the field. Stricter than Knative in one way: an empty or malformed filter is an error there too,
    but admission catches only some of them, and those that it misses are skipped, so that more events pass.
    """
    filters = spec.get("filters")
    if filters:
        return AllFilter(_parse_list(filters, "filters", 0))
    legacy = spec.get("filter") or {}
    if not isinstance(legacy, Mapping):
        raise FieldError("filter", f"must be an object, found {type(legacy).__name__}")
    attributes = legacy.get("attributes") or {}
    return AttributesFilter(_parse_values(attributes, "filter.attributes", empty_allowed=True))


def _parse_list(value: Any, field: str, depth: int) -> tuple[Filter, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise FieldError(field, "must be a list of at least one filter")
    return tuple(_parse(item, f"{field}[{index}]", depth + 1) for index, item in enumerate(value))


def _parse(value: Any, field: str, depth: int) -> Filter:
    if depth > MAX_NESTING:
        raise FieldError(field, f"filters nest more than {MAX_NESTING} deep")
    if not isinstance(value, Mapping):
        raise FieldError(field, f"must be an object, found {type(value).__name__}")
    stated = [name for name in value if value[name] not in (None, "", {}, [])]
    unknown = [str(name) for name in value if name not in DIALECTS]
    if unknown:
        raise FieldError(f"{field}.{unknown[0]}", f"is not a filter dialect; the dialects are {', '.join(DIALECTS)}")
    if len(stated) != 1:
        listed = ", ".join(stated) if stated else "none"
        raise FieldError(field, f"needs exactly one dialect of {', '.join(DIALECTS)}, found {listed}")
    (dialect,) = stated
    inner, path = value[dialect], f"{field}.{dialect}"
    if dialect in _COMPARISONS:
        return ComparisonFilter(_COMPARISONS[dialect], _parse_values(inner, path, empty_allowed=False))
    if dialect == "all":
        return AllFilter(_parse_list(inner, path, depth))
    if dialect == "any":
        return AnyFilter(_parse_list(inner, path, depth))
    if dialect == "not":
        return NotFilter(_parse(inner, path, depth + 1))
    return CesqlFilter(_parse_cesql(inner, path))


def _parse_values(value: Any, field: str, empty_allowed: bool) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise FieldError(field, f"must map attributes to strings, found {type(value).__name__}")
    for name, expected in value.items():
        if not isinstance(name, str) or not _ATTRIBUTE.fullmatch(name):
            raise FieldError(f"{field}.{name}", "must start with a letter and contain only a-z and 0-9")
        if not isinstance(expected, str):
            raise FieldError(f"{field}.{name}", f"must be a string, found {type(expected).__name__}; quote it")
        if not expected and not empty_allowed:
            raise FieldError(f"{field}.{name}", "must not be empty; to test for presence use cesql: EXISTS " + name)
    return dict(value)


def _parse_cesql(value: Any, field: str) -> Expression:
    if not isinstance(value, str):
        raise FieldError(field, f"must be a string, found {type(value).__name__}")
    try:
        expression = cesql.parse(value)
    except cesql.ParseError as error:
        raise FieldError(field, str(error)) from None
    for node in walk(expression):
        if isinstance(node, Call) and lookup(node.name, len(node.arguments)) is None:
            raise FieldError(
                field,
                f"no function {node.name} takes {len(node.arguments)} arguments; the functions are "
                + ", ".join(sorted(FUNCTIONS)),
            )
    return expression
