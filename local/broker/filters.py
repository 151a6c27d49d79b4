"""A Trigger's filters: which events it wants, decided from context attributes alone.

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

DIALECTS = ("exact", "prefix", "suffix", "all", "any", "not", "cesql")
MAX_NESTING = 20
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9]*")


class FilterError(ValueError):
    """A filter is not usable. `field` is its path within the Trigger's spec."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(f"{field}: {message}")


@dataclass(frozen=True, slots=True)
class Attributes:
    """filter.attributes: every attribute has exactly this value; the empty text means it is there."""

    values: Mapping[str, str]

    def matches(self, event: CloudEvent) -> bool:
        for name, wanted in self.values.items():
            found = event.text(name)
            if not found or (wanted and found != wanted):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Compared:
    """exact, prefix and suffix: the comparison holds for every attribute named."""

    compare: Callable[[str, str], bool]
    values: Mapping[str, str]

    def matches(self, event: CloudEvent) -> bool:
        for name, wanted in self.values.items():
            found = event.text(name)
            if found is None or not self.compare(found, wanted):
                return False
        return True


@dataclass(frozen=True, slots=True)
class All:
    filters: tuple[Filter, ...]

    def matches(self, event: CloudEvent) -> bool:
        return all(one.matches(event) for one in self.filters)


@dataclass(frozen=True, slots=True)
class Any_:
    filters: tuple[Filter, ...]

    def matches(self, event: CloudEvent) -> bool:
        return any(one.matches(event) for one in self.filters)


@dataclass(frozen=True, slots=True)
class Not:
    filter: Filter

    def matches(self, event: CloudEvent) -> bool:
        return not self.filter.matches(event)


@dataclass(frozen=True, slots=True)
class Cesql:
    expression: Expression

    def matches(self, event: CloudEvent) -> bool:
        return cesql.passes(self.expression, event.attributes)


Filter = Attributes | Compared | All | Any_ | Not | Cesql

_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "exact": str.__eq__,
    "prefix": str.startswith,
    "suffix": str.endswith,
}


def parse_filters(spec: Mapping[str, Any]) -> Filter:
    """The filter of a Trigger's spec: `filters` where it is not empty, else `filter`, else every event passes.

    FilterError names the field. Stricter than Knative in one thing: an empty or broken filter is an error there too,
    but found at admission only in part, and skipped (so that more events pass) when it is not found.
    """
    filters = spec.get("filters")
    if filters:
        return All(_parse_list(filters, "filters", 0))
    old = spec.get("filter") or {}
    if not isinstance(old, Mapping):
        raise FilterError("filter", f"must be an object, found {type(old).__name__}")
    attributes = old.get("attributes") or {}
    return Attributes(_parse_values(attributes, "filter.attributes", empty_allowed=True))


def _parse_list(value: Any, field: str, depth: int) -> tuple[Filter, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise FilterError(field, "must be a list of at least one filter")
    return tuple(_parse(item, f"{field}[{index}]", depth + 1) for index, item in enumerate(value))


def _parse(value: Any, field: str, depth: int) -> Filter:
    if depth > MAX_NESTING:
        raise FilterError(field, f"filters nest more than {MAX_NESTING} deep")
    if not isinstance(value, Mapping):
        raise FilterError(field, f"must be an object, found {type(value).__name__}")
    found = [name for name in value if value[name] not in (None, "", {}, [])]
    unknown = [str(name) for name in value if name not in DIALECTS]
    if unknown:
        raise FilterError(f"{field}.{unknown[0]}", f"is no filter dialect; the dialects are {', '.join(DIALECTS)}")
    if len(found) != 1:
        listed = ", ".join(found) if found else "none"
        raise FilterError(field, f"needs exactly one dialect of {', '.join(DIALECTS)}, found {listed}")
    (dialect,) = found
    inner, path = value[dialect], f"{field}.{dialect}"
    if dialect in _COMPARISONS:
        return Compared(_COMPARISONS[dialect], _parse_values(inner, path, empty_allowed=False))
    if dialect == "all":
        return All(_parse_list(inner, path, depth))
    if dialect == "any":
        return Any_(_parse_list(inner, path, depth))
    if dialect == "not":
        return Not(_parse(inner, path, depth + 1))
    return Cesql(_parse_cesql(inner, path))


def _parse_values(value: Any, field: str, empty_allowed: bool) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise FilterError(field, f"must map attributes to texts, found {type(value).__name__}")
    for name, wanted in value.items():
        if not isinstance(name, str) or not _ATTRIBUTE.fullmatch(name):
            raise FilterError(f"{field}.{name}", "must start with a letter and hold only a-z and 0-9")
        if not isinstance(wanted, str):
            raise FilterError(f"{field}.{name}", f"must be a text, found {type(wanted).__name__}; quote it")
        if not wanted and not empty_allowed:
            raise FilterError(f"{field}.{name}", 'must not be empty; for "is there" use cesql: EXISTS ' + name)
    return dict(value)


def _parse_cesql(value: Any, field: str) -> Expression:
    if not isinstance(value, str):
        raise FilterError(field, f"must be a text, found {type(value).__name__}")
    try:
        expression = cesql.parse(value)
    except cesql.ParseError as error:
        raise FilterError(field, str(error)) from None
    for node in walk(expression):
        if isinstance(node, Call) and lookup(node.name, len(node.arguments)) is None:
            raise FilterError(
                field,
                f"no function {node.name} takes {len(node.arguments)} arguments; the functions are "
                + ", ".join(sorted(FUNCTIONS)),
            )
    return expression
