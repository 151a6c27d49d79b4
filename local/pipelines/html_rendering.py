"""The HTML of the pages: their frame, tables, times and errors. Pure."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar


class _Row(Protocol):
    def __getitem__(self, key: str, /) -> Any: ...


T = TypeVar("T", bound=_Row)

UNFINISHED = frozenset({"PENDING", "RUNNING", "CANCELING", "PAUSED"})
"""States of what has not finished."""

REFRESH_SECONDS = 3
_FRAME = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">{refresh}
<title>{title}</title>
<style>:root{{color-scheme:light dark}}body{{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;
padding:0 1rem}}h1{{margin-bottom:0}}table{{border-collapse:collapse;width:100%;margin-top:1rem}}td,th{{text-align:left;
padding:.3rem .7rem;border-bottom:1px solid #8884;vertical-align:top}}.wrap{{overflow-wrap:anywhere}}
.t{{white-space:nowrap;font-variant-numeric:tabular-nums}}.FAILED{{color:#d0203c}}.SUCCEEDED{{color:#0a8a3c}}
.SKIPPED,.PENDING,.CANCELED,.quiet{{color:#888}}pre{{white-space:pre-wrap}}</style>
<script>const run=location.hash.match(/^#\\/runs\\/details\\/([\\w-]+)/)
if(run)location.replace("/runs/"+run[1])</script>
{body}"""


def page(title: str, body: str, *, changing: bool = False) -> str:
    """A whole page; one that is still `changing` reloads itself."""
    refresh = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">' if changing else ""
    return _FRAME.format(title=escape(title), body=body, refresh=refresh)


def table(heads: Sequence[str], rows: Iterable[str]) -> str:
    return f"<table><tr>{''.join(f'<th>{head}' for head in heads)}{''.join(rows)}</table>"


def escape(text: str) -> str:
    return html.escape(text)


def time_cell(text: str | None, *, day: bool = True) -> str:
    """A cell with a UTC time of the API's form, to the second."""
    shown = (text or "")[:19].replace("T", " ")
    return f'<td class="t">{shown if day else shown[11:]}'


def duration_cell(began: str | None, ended: str | None) -> str:
    """A cell with the time in between, empty until both are known: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min."""
    if not began or not ended:
        return "<td>"
    return seconds_cell((datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds())


def seconds_cell(seconds: float) -> str:
    """A cell with a duration."""
    if seconds < 10:
        return f'<td class="t">{max(seconds, 0.0):.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    if hours:
        return f'<td class="t">{hours} h {left} min'
    return f'<td class="t">{f"{minutes} min " if minutes else ""}{rest} s'


def busy_seconds(times: Iterable[tuple[str, str]]) -> float:
    """Seconds during which at least one of these (began, ended) ran: pauses in between do not count."""
    seconds, until = 0.0, datetime.min.replace(tzinfo=UTC)
    for began, ended in sorted((datetime.fromisoformat(a), datetime.fromisoformat(b)) for a, b in times if a and b):
        seconds += max((ended - max(began, until)).total_seconds(), 0.0)
        until = max(until, ended)
    return seconds


def short_error(error: str) -> str:
    """An error without its traceback: what failed, and the last message. For display only."""
    head, _, places = error.partition(": File ")
    last = places.rpartition(" | ")[2]
    return f"{head}: {last}" if places and last else error


def in_tree_order(tasks: Sequence[T]) -> list[T]:
    """Tasks in their order, each followed by those inside it; `path` names them like folders."""
    place = {task["path"]: index for index, task in enumerate(tasks)}

    def position(task: T) -> tuple[int, ...]:
        parts = str(task["path"]).split("/")
        return tuple(place.get("/".join(parts[: depth + 1]), -1) for depth in range(len(parts)))

    return sorted(tasks, key=position)
