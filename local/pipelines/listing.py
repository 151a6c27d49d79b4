"""List calls: page_size, page_token, sort_by and filter (`filter.proto`) as SQL over the columns that may be asked."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from local.pipelines.database import Database, Row, stamp
from local.pipelines.errors import invalid

DEFAULT_PAGE = 20
MAX_PAGE = 200
_OPERATIONS = {
    1: "EQUALS", 2: "NOT_EQUALS", 3: "GREATER_THAN", 5: "GREATER_THAN_EQUALS", 6: "LESS_THAN", 7: "LESS_THAN_EQUALS",
    8: "IN", 9: "IS_SUBSTRING",
}  # fmt: skip
_COMPARE = {
    "EQUALS": "=", "NOT_EQUALS": "<>", "GREATER_THAN": ">", "GREATER_THAN_EQUALS": ">=", "LESS_THAN": "<",
    "LESS_THAN_EQUALS": "<=",
}  # fmt: skip
_SINGLE = ("string_value", "timestamp_value", "int_value", "long_value")
_LISTS = ("string_values", "int_values", "long_values")


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one page, how many there are in all, and the token of the next page ("" when this is the last)."""

    rows: list[Row]
    total: int
    token: str


def listing(
    database: Database, table: str, columns: Mapping[str, str], query: Mapping[str, str], where: Mapping[str, Any]
) -> Page:
    """A page of `table`. `columns` maps the fields a client may sort by and filter on to columns; `where` is always
    demanded. Newest last unless sorted otherwise. ApiError 400 for anything else.
    """
    size = _size(query.get("page_size", ""))
    column, descending = _order(query.get("sort_by", ""), columns)
    conditions, values = [f"{name} = ?" for name in where], list(where.values())
    for sql, value in _predicates(query.get("filter", ""), columns):
        conditions.append(sql)
        values += value
    told = json.dumps([table, column, descending, conditions, values])
    mark = hashlib.sha256(told.encode()).hexdigest()[:16]
    clause = " AND ".join(conditions) or "1"
    counted = database.one(f"SELECT count(*) FROM {table} WHERE {clause}", *values)
    if token := query.get("page_token", ""):
        sign = "<" if descending else ">"
        clause += f" AND ({column}, seq) {sign} (?, ?)"
        values += _open(token, mark)
    direction = "DESC" if descending else "ASC"
    order = f"ORDER BY {column} {direction}, seq {direction}"
    found = list(database.all(f"SELECT * FROM {table} WHERE {clause} {order} LIMIT ?", *values, size + 1))
    following = ""
    if len(found) > size:
        found = found[:size]
        following = base64.urlsafe_b64encode(json.dumps([mark, found[-1][column], found[-1]["seq"]]).encode()).decode()
    return Page(found, counted[0] if counted else 0, following)


def _size(text: str) -> int:
    if not text:
        return DEFAULT_PAGE
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise invalid(f"page_size must be a whole number from 1 to {MAX_PAGE}, found {text[:40]!r}")
    return min(int(text) or DEFAULT_PAGE, MAX_PAGE)


def _order(text: str, columns: Mapping[str, str]) -> tuple[str, bool]:
    field, *direction = text.split() or ["created_at"]
    if field not in columns or [word.lower() for word in direction] not in ([], ["asc"], ["desc"]):
        raise invalid(f"sort_by must be a field and asc or desc, found {text[:80]!r}; fields: {', '.join(columns)}")
    return columns[field], [word.lower() for word in direction] == ["desc"]


def _open(token: str, mark: str) -> list[Any]:
    try:
        found, value, seq = json.loads(base64.urlsafe_b64decode(token))
        if found == mark and isinstance(seq, int) and isinstance(value, str) and abs(seq) < 2**62:
            return [value, seq]
    except (ValueError, TypeError, RecursionError):
        pass
    raise invalid("page_token is none of this list's; send the same sort_by and filter as for the first page")


def _predicates(text: str, columns: Mapping[str, str]) -> list[tuple[str, list[Any]]]:
    if not text:
        return []
    try:
        found = json.loads(text if text.lstrip().startswith("{") else unquote(text))
    except (ValueError, RecursionError):
        raise invalid("filter is not JSON") from None
    predicates = found.get("predicates", []) if isinstance(found, dict) else None
    if not isinstance(predicates, list) or len(predicates) > 100:
        raise invalid(
            'filter must be {"predicates": [{"operation", "key", "string_value"}, …]} with 100 of them at most'
        )
    return [_predicate(item, columns) for item in predicates]


def _predicate(item: Any, columns: Mapping[str, str]) -> tuple[str, list[Any]]:
    if not isinstance(item, dict):
        raise invalid("filter: a predicate must be an object")
    given = {_snake(str(name)): value for name, value in item.items()}
    key, asked = given.pop("key", None), given.pop("operation", None)
    operation = _OPERATIONS.get(asked) if isinstance(asked, int) else asked
    if not isinstance(key, str) or key not in columns:
        raise invalid(f"filter: the key must be one of {', '.join(columns)}, found {json.dumps(key)[:60]}")
    if len(given) != 1:
        raise invalid("filter: a predicate has exactly one value")
    ((kind, value),) = given.items()
    column = columns[key]
    if operation == "IN" and kind in _LISTS:
        values = value.get("values") if isinstance(value, dict) else value
        if not isinstance(values, list) or len(values) > 500 or not all(isinstance(one, str | int) for one in values):
            raise invalid(f"filter: {kind} must be an object with a list of values")
        return f"{column} IN ({', '.join('?' * len(values))})", [str(one) for one in values]
    if kind in _SINGLE and isinstance(value, str | int):
        wanted = _time(value) if kind == "timestamp_value" else str(value)
        if operation == "IS_SUBSTRING":
            return f"instr({column}, ?) > 0", [wanted]
        if isinstance(operation, str) and operation in _COMPARE:
            return f"{column} {_COMPARE[operation]} ?", [wanted]
    raise invalid(f"filter: {json.dumps(asked)[:60]} with {kind[:40]} is not supported")


def _time(value: str | int) -> str:
    try:
        return stamp(datetime.fromisoformat(str(value)))
    except (ValueError, OverflowError):
        raise invalid(f"filter: timestamp_value must be an RFC 3339 time, found {str(value)[:40]!r}") from None


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
