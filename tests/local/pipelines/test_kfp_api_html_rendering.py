"""What the pages show: order, times, causes."""

from __future__ import annotations

import pytest

from local.pipelines.html_rendering import duration_cell, in_tree_order, page, short_error, time_cell


def test_each_step_stands_under_what_it_is_in() -> None:
    """The order is that of the specification; iterations come last there, for they are known last."""
    given = ["inner", "inner/decide", "loop", "join", "loop/1", "loop/2", "loop/1/note", "loop/2/note"]
    shown = ["inner", "inner/decide", "loop", "loop/1", "loop/1/note", "loop/2", "loop/2/note", "join"]
    assert [task["path"] for task in in_tree_order([{"path": path} for path in given])] == shown


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
    assert time_cell("2026-01-01T02:03:04.567Z").endswith(">2026-01-01 02:03:04")
    assert time_cell("2026-01-01T02:03:04.567Z", day=False).endswith(">02:03:04")
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


def test_only_what_still_changes_loads_itself_again() -> None:
    assert "http-equiv" in page("a & b", "", changing=True)
    assert "<title>a &amp; b</title>" in page("a & b", "")
    assert "http-equiv" not in page("a & b", "")
