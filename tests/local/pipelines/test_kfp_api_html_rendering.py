"""What the pages show: order, times, values, causes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from local.pipelines.html_rendering import (
    LONG,
    duration_cell,
    error_html,
    escape,
    in_time_order,
    page,
    short_error,
    size_text,
    time_cell,
    value_html,
)


@dataclass(frozen=True)
class Began:
    path: tuple[str, ...]
    started_at: str


def test_steps_stand_in_the_order_in_which_they_began_each_under_what_it_is_in() -> None:
    """What has not begun comes last, in the order of the specification."""
    given = [
        ("late", "05"), ("loop", "02"), ("never", ""), ("loop/2", "03"), ("loop/1", "02"), ("loop/2/note", "03"),
        ("loop/1/note", "04"), ("first", "01"), ("neither", ""),
    ]  # fmt: skip
    shown = ["first", "loop", "loop/1", "loop/1/note", "loop/2", "loop/2/note", "late", "never", "neither"]
    tasks = [Began(tuple(path.split("/")), at) for path, at in given]
    assert ["/".join(task.path) for task in in_time_order(tasks)] == shown


@pytest.mark.parametrize(
    ("began", "ended", "shown"),
    [
        ("2026-01-01T00:00:00.500Z", "2026-01-01T00:00:00.940Z", "0.4 s"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:12Z", "12 s"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:03:05Z", "3 min 5 s"),
        ("2026-01-01T00:00:00Z", "2026-01-01T02:10:59Z", "2 h 10 min"),
        ("2026-01-01T00:00:01Z", "2026-01-01T00:00:00Z", "0.0 s"),
        ("2026-01-01T00:00:01Z", "", ""),
        ("", None, ""),
    ],
)
def test_durations(began: str, ended: str | None, shown: str) -> None:
    assert duration_cell(began, ended).rpartition(">")[2] == shown


def test_times_are_those_of_the_api() -> None:
    """In UTC, and said so, until the page's script shows them in the reader's zone."""
    assert time_cell("2026-01-01T02:03:04.567Z").endswith(">2026-01-01 02:03:04 UTC</time>")
    assert time_cell("2026-01-01T02:03:04.567Z", day=False).endswith(">02:03:04 UTC</time>")
    assert time_cell("", day=False).endswith(">")


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            'task \'a\': the step failed: File "/x.py", line 16, in f | raise ValueError("no") | ValueError: no',
            "task 'a': the step failed: ValueError: no",
        ),
        ("terminated before it began", "terminated before it began"),
        ("", ""),
    ],
)
def test_the_cause_of_an_error(error: str, shown: str) -> None:
    assert short_error(error) == shown


def test_the_whole_of_an_error_is_behind_its_cause() -> None:
    error = 'failed: File "/x.py", line 1, in f | raise ValueError("<b>") | ValueError: <b>'
    shown = error_html(error)
    assert "<summary>failed: ValueError: &lt;b&gt;</summary>" in shown
    assert "line 1, in f\n" in shown
    assert error_html("terminated <i>") == "terminated &lt;i&gt;"


def test_only_what_still_changes_is_brought_up_to_date() -> None:
    assert "http-equiv" in page("a & b", "", changing=True)
    assert "<title>a &amp; b</title>" in page("a & b", "")
    assert "<main>" in page("a & b", "")
    assert "<main data-changing>" in page("a & b", "", changing=True)
    assert "http-equiv" not in page("a & b", "")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", '<span class="quiet">(empty)</span>'),
        (None, '<span class="quiet">none</span>'),
        (0, "<code>0</code>"),
        (False, "<code>false</code>"),
        ([], "<code>[]</code>"),
        ({"a": ["<i>"]}, "<code>{&quot;a&quot;: [&quot;&lt;i&gt;&quot;]}</code>"),
        ("half \ud800", "<code>half ?</code>"),
    ],
)
def test_values(value: Any, shown: str) -> None:
    assert value_html(value) == shown


def test_long_values_are_behind_a_disclosure_and_very_long_ones_are_cut() -> None:
    assert "<summary>200 characters</summary>" in value_html("x" * 200)
    shown = value_html("x" * (LONG + 1234))
    assert len(shown) < LONG + 200
    assert "… and 1,234 characters more" in shown
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert value_html(deep) == '<span class="quiet">nested too deeply to be shown</span>'


@pytest.mark.parametrize(("size", "shown"), [(0, "0 B"), (999, "999 B"), (3400, "3.4 kB"), (1_200_000_000, "1.2 GB")])
def test_sizes(size: int, shown: str) -> None:
    assert size_text(size) == shown


def test_quotes_are_escaped_too() -> None:
    assert escape("\"'<&>") == "&quot;&#x27;&lt;&amp;&gt;"
