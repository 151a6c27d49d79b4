"""List calls: page_size, page_token, sort_by and filter (`filter.proto`) as SQL over the columns open to clients.

A predicate's `operation` was called `op` in v1beta1.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from local.pipelines.database import PipelineDatabase, Row, timestamp
from local.pipelines.errors import invalid_argument

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


def paginate(
    database: PipelineDatabase,
    table: str,
    columns: Mapping[str, str],
    query: Mapping[str, str],
    where: Mapping[str, Any],
) -> Page:
    """A page of `table`, newest last unless sorted otherwise. `columns` maps the fields that a client may sort by and
    filter on to columns; `where` always applies. KfpApiError INVALID_ARGUMENT for anything else.
    """
    size = _size(query.get("page_size", ""))
    column, descending = _order(query.get("sort_by", ""), columns)
    conditions, values = [f"{name} = ?" for name in where], list(where.values())
    for sql, value in _predicates(query.get("filter", ""), columns):
        conditions.append(sql)
        values += value
    fingerprint = json.dumps([table, column, descending, conditions, values])
    query_digest = hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
    clause = " AND ".join(conditions) or "1"
    count_row = database.fetch_one(f"SELECT count(*) FROM {table} WHERE {clause}", *values)
    if token := query.get("page_token", ""):
        sign = "<" if descending else ">"
        clause += f" AND ({column}, seq) {sign} (?, ?)"
        values += _decode_token(token, query_digest)
    direction = "DESC" if descending else "ASC"
    order = f"ORDER BY {column} {direction}, seq {direction}"
    rows = list(database.fetch_all(f"SELECT * FROM {table} WHERE {clause} {order} LIMIT ?", *values, size + 1))
    next_token = ""
    if len(rows) > size:
        rows = rows[:size]
        next_token = base64.urlsafe_b64encode(
            json.dumps([query_digest, rows[-1][column], rows[-1]["seq"]]).encode()
        ).decode()
    return Page(rows, count_row[0] if count_row else 0, next_token)


def list_response(field: str, page: Page, serialize: Callable[[Row], dict[str, Any]]) -> dict[str, Any]:
    """The message of a list call; its items, under `field`, are left out when there are none."""
    response: dict[str, Any] = {field: [serialize(row) for row in page.rows]} if page.rows else {}
    response["total_size"] = page.total
    return response | {"next_page_token": page.token} if page.token else response


def _size(text: str) -> int:
    if not text:
        return DEFAULT_PAGE
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise invalid_argument(f"page_size must be a whole number from 1 to {MAX_PAGE}, found {text[:40]!r}")
    return min(int(text) or DEFAULT_PAGE, MAX_PAGE)


def _order(text: str, columns: Mapping[str, str]) -> tuple[str, bool]:
    field, *direction = text.split() or ["created_at"]
    if field not in columns or [word.lower() for word in direction] not in ([], ["asc"], ["desc"]):
        raise invalid_argument(
            f"sort_by must be a field and asc or desc, found {text[:80]!r}; fields: {', '.join(columns)}"
        )
    return columns[field], [word.lower() for word in direction] == ["desc"]


def _decode_token(token: str, query_digest: str) -> list[Any]:
    try:
        digest, value, seq = json.loads(base64.urlsafe_b64decode(token))
        if digest == query_digest and isinstance(seq, int) and isinstance(value, str) and abs(seq) < 2**62:
            return [value, seq]
    except (ValueError, TypeError, RecursionError):
        pass
    raise invalid_argument("page_token is not one of this list; send the same sort_by and filter as for the first page")


def _predicates(text: str, columns: Mapping[str, str]) -> list[tuple[str, list[Any]]]:
    if not text:
        return []
    try:
        parsed = json.loads(text if text.lstrip().startswith("{") else unquote(text))
    except (ValueError, RecursionError):
        raise invalid_argument("filter is not JSON") from None
    predicates = parsed.get("predicates", []) if isinstance(parsed, dict) else None
    if not isinstance(predicates, list) or len(predicates) > 100:
        raise invalid_argument(
            'filter must be {"predicates": [{"operation", "key", "string_value"}, …]} with 100 of them at most'
        )
    return [_predicate(item, columns) for item in predicates]


def _predicate(item: Any, columns: Mapping[str, str]) -> tuple[str, list[Any]]:
    if not isinstance(item, dict):
        raise invalid_argument("filter: a predicate must be an object")
    fields = {_snake(str(name)): value for name, value in item.items()}
    key, operation_name = fields.pop("key", None), fields.pop("operation", fields.pop("op", None))
    operation = _OPERATIONS.get(operation_name) if isinstance(operation_name, int) else operation_name
    if not isinstance(key, str) or key not in columns:
        raise invalid_argument(f"filter: the key must be one of {', '.join(columns)}, found {json.dumps(key)[:60]}")
    if len(fields) != 1:
        raise invalid_argument("filter: a predicate has exactly one value")
    ((kind, value),) = fields.items()
    column = columns[key]
    if operation == "IN" and kind in _LISTS:
        values = value.get("values") if isinstance(value, dict) else value
        if (
            not isinstance(values, list)
            or len(values) > 500
            or not all(isinstance(entry, str | int) for entry in values)
        ):
            raise invalid_argument(f"filter: {kind} must be an object with a list of values")
        return f"{column} IN ({', '.join('?' * len(values))})", [str(entry) for entry in values]
    if kind in _SINGLE and isinstance(value, str | int):
        operand = _time(value) if kind == "timestamp_value" else str(value)
        if operation == "IS_SUBSTRING":
            # Kubeflow's MySQL compares without regard to case, and its UI sends what was typed.
            return f"instr(casefold({column}), ?) > 0", [operand.casefold()]
        if isinstance(operation, str) and operation in _COMPARE:
            return f"{column} {_COMPARE[operation]} ?", [operand]
    raise invalid_argument(f"filter: {json.dumps(operation_name)[:60]} with {kind[:40]} is not supported")


def _time(value: str | int) -> str:
    try:
        return timestamp(datetime.fromisoformat(str(value)))
    except (ValueError, OverflowError):
        raise invalid_argument(f"filter: timestamp_value must be an RFC 3339 time, found {str(value)[:40]!r}") from None


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
