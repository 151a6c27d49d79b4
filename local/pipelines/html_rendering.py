"""The HTML of the pages: their frame, tables, times, states and errors. Pure; every text is escaped here."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from local.pipelines.html_assets import REFRESH_SECONDS, SCRIPT, STYLE


class _Task(Protocol):
    @property
    def path(self) -> tuple[str, ...]: ...
    @property
    def started_at(self) -> str: ...


T = TypeVar("T", bound=_Task)

UNFINISHED = frozenset({"PENDING", "RUNNING", "CANCELING", "PAUSED"})
"""States of what has not finished."""

SIGNS = {
    "SUCCEEDED": "✓", "FAILED": "✗", "RUNNING": "▶", "PENDING": "○", "SKIPPED": "–", "CANCELED": "■", "CANCELING": "■",
    "PAUSED": "⏸",
}  # fmt: skip
WORDS = {"PENDING": "waits"}
"""The states that are shown by another word than the API's."""
SHORT, LONG = 120, 50_000
"""How many characters of a value a table shows as they are, and how many of it a page has at all."""
_NEVER = "~"  # sorts after every time

NAVIGATION = (
    ("/runs", "Runs"), ("/experiments", "Experiments"), ("/pipelines", "Pipelines"), ("/schedules", "Schedules")
)  # fmt: skip
_FRAME = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width,initial-scale=1">{refresh}
<title>{title}</title>
<style>{style}</style></head><body>
<nav aria-label="Pages">{navigation}</nav>
<p id="stale" role="status"></p>
<main{changing}>
{body}
</main>
<script>{script}</script></body></html>"""


def page(title: str, body: str, *, changing: bool = False) -> str:
    """A whole page. One that is still `changing` brings itself up to date: by its script, without moving or losing
    what is read, or by loading again where scripts are off.
    """
    refresh = f'<noscript><meta http-equiv="refresh" content="{REFRESH_SECONDS}"></noscript>' if changing else ""
    return _FRAME.format(
        title=escape(title),
        body=body,
        refresh=refresh,
        style=STYLE,
        script=SCRIPT,
        changing=" data-changing" if changing else "",
        navigation="".join(f'<a href="{href}">{name}</a>' for href, name in NAVIGATION),
    )


def escape(text: Any) -> str:
    """Text for an element or a quoted attribute. Half a surrogate pair, which UTF-8 does not have, becomes "?"."""
    return html.escape(str(text).encode("utf-8", "replace").decode())


def table(heads: Sequence[str], rows: Iterable[str], caption: str = "", kind: str = "") -> str:
    """A table of rows that are HTML already; `kind` is its class. Wider than the screen, it scrolls by itself, with the
    keyboard too.
    """
    opening = f'<table class="{kind}">' if kind else "<table>"
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    head = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    label = escape(caption or ", ".join(head for head in heads if head))
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{label}">{opening}{title}'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(*cells: str) -> str:
    return f"<tr>{''.join(cells)}"


def cell(content: Any = "", kind: str = "") -> str:
    """A cell of HTML; `kind` is its class."""
    return f'<td class="{kind}">{content}' if kind else f"<td>{content}"


def head_cell(content: Any) -> str:
    """The cell that names its row."""
    return f'<th scope="row">{content}'


def link(href: str, text: Any) -> str:
    """A link within these pages; `href` is a path whose segments are quoted."""
    return f'<a href="{escape(href)}">{escape(text)}</a>'


def state_cell(state: str, more: str = "") -> str:
    """A cell with a state as a sign and a word; `more` is HTML after it."""
    return f'<td class="{escape(state)}">{state_text(state)}{more}'


def state_text(state: str) -> str:
    word = WORDS.get(state, state.lower())
    return f'<span class="state"><span aria-hidden="true">{SIGNS.get(state, "·")}</span> {escape(word)}</span>'


def value_html(value: Any) -> str:
    """A parameter's or a metric's value; a long one behind a disclosure."""
    if value is None or value == "":
        return f'<span class="quiet">{"none" if value is None else "(empty)"}</span>'
    try:
        text = value if isinstance(value, str) else _json(value)
    except RecursionError:
        return '<span class="quiet">nested too deeply to be shown</span>'
    if len(text) <= SHORT and "\n" not in text:
        return f"<code>{escape(text)}</code>"
    return f"<details><summary>{len(text):,} characters</summary><pre>{escape(clipped(text))}</pre></details>"


def _json(value: Any) -> str:
    """On one line if it is short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHORT else json.dumps(value, ensure_ascii=False, default=str, indent=2)


def error_html(error: str) -> str:
    """An error's cause, and the whole of it behind a disclosure where there is more."""
    short = short_error(error)
    if short == error and len(error) <= 3 * SHORT:
        return escape(error)
    summary = short if len(short) <= 3 * SHORT else f"{short[: 3 * SHORT]}…"
    whole = error.replace(" | ", "\n")
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(clipped(whole))}</pre></details>"


def clipped(text: str) -> str:
    """What a page holds of a long text."""
    return text if len(text) <= LONG else f"{text[:LONG]}\n… and {len(text) - LONG:,} characters more"


def time_html(text: str | None, *, day: bool = True) -> str:
    """A time of the API's form, in UTC; the page's script shows it in the reader's zone."""
    if not text:
        return ""
    shown = text[:19].replace("T", " ")
    form = "" if day else ' data-form="hour"'
    return f'<time datetime="{escape(text)}"{form}>{escape(shown if day else shown[11:])} UTC</time>'


def time_cell(text: str | None, *, day: bool = True) -> str:
    return f'<td class="t">{time_html(text, day=day)}'


def duration_cell(began: str | None, ended: str | None) -> str:
    """A cell with the time in between, empty until both are known: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min."""
    return f'<td class="t">{duration_text(began, ended)}'


def duration_text(began: str | None, ended: str | None) -> str:
    if not began or not ended:
        return ""
    return seconds_text((datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds())


def seconds_text(seconds: float) -> str:
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {left} min"
    return f"{f'{minutes} min ' if minutes else ''}{rest} s"


def size_text(size: int) -> str:
    """Bytes for people: 812 B, 3.4 kB, 1.2 GB."""
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


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


def in_time_order(tasks: Sequence[T]) -> list[T]:
    """Tasks by when they began, each followed by those inside it.

    What has not begun follows what has, in the order given, which is the specification's.
    """
    place = {task.path: (task.started_at or _NEVER, index) for index, task in enumerate(tasks)}

    def position(task: T) -> tuple[tuple[str, int], ...]:
        above = (task.path[: depth + 1] for depth in range(len(task.path)))
        return tuple(place.get(path, (_NEVER, -1)) for path in above)

    return sorted(tasks, key=position)
