"""Which schedules are due, with two clocks that the test sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.platform.schedule_clock import ScheduleClock

START = datetime(2026, 11, 1, 12, 0, 30, tzinfo=UTC)


class Clocks:
    """Wall and monotonic; looks four times a second, as the platform does."""

    def __init__(self, **schedules: str) -> None:
        self.schedules = {name: (text, "UTC") for name, text in schedules.items()}
        self.ticks, self.now, self.monotonic = ScheduleClock(), START, 5000.0
        self.look()

    def look(self) -> dict[str, datetime]:
        return self.ticks.due(self.schedules, self.now, self.monotonic)

    def set(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def passes(self, seconds: float) -> list[tuple[str, float]]:
        """What is due while so many seconds pass: its name, and after how many of them."""
        ticks = []
        for quarter in range(1, int(seconds * 4) + 1):
            self.now += timedelta(seconds=0.25)
            self.monotonic += 0.25
            ticks += [(name, quarter / 4) for name in self.look()]
        return ticks


def test_each_time_comes_once() -> None:
    clocks = Clocks(minute="* * * * *", seconds="*/20 * * * * *", every="@every 45s")
    assert clocks.passes(60) == [("seconds", 10), ("minute", 30), ("seconds", 30), ("every", 45), ("seconds", 50)]


@pytest.mark.parametrize("back", [3600, 86_400, 300, 61, 5])
def test_a_clock_that_is_set_back_silences_no_schedule(back: Any) -> None:
    clocks = Clocks(minute="* * * * *", five="*/5 * * * *", every="@every 60s", seconds="*/10 * * * * *")
    clocks.passes(20)
    clocks.set(-back)
    ticks = clocks.passes(301)
    times = {name: [at for key, at in ticks if key == name] for name in clocks.schedules}
    assert times["minute"][0] <= 60
    assert {b - a for a, b in zip(times["minute"], times["minute"][1:], strict=False)} == {60}
    assert times["five"][0] <= 300
    assert times["seconds"][0] <= 10
    assert times["every"][:2] == [40, 100], "it counts time that passes"


def test_a_clock_that_is_set_back_again_and_again_does_not_starve_what_counts_seconds() -> None:
    clocks = Clocks(every="@every 60s")
    ticks = []
    for _ in range(12):
        ticks += clocks.passes(30)
        clocks.set(-3600)
    assert len(ticks) == 6


@pytest.mark.parametrize("forward", [90, 3600, 30 * 86_400])
def test_a_clock_that_is_set_forward_brings_one_tick_not_all_that_it_passed(forward: Any) -> None:
    clocks = Clocks(minute="* * * * *", seconds="* * * * * *", every="@every 60s")
    clocks.passes(20.25)
    clocks.set(forward)
    ticks = clocks.passes(0.25)
    assert sorted(name for name, _ in ticks) == ["minute", "seconds"]
    assert [name for name, _ in clocks.passes(8)].count("seconds") == 8
    assert [at for name, at in clocks.passes(60) if name == "every"] == [31.5]


def test_forward_and_back_again() -> None:
    clocks = Clocks(minute="* * * * *")
    clocks.set(7 * 86_400)
    clocks.passes(1)
    clocks.set(-7 * 86_400)
    assert len(clocks.passes(180)) == 3


def test_a_pause_of_everything_brings_one_tick() -> None:
    clocks = Clocks(minute="* * * * *")
    clocks.now += timedelta(hours=5)
    clocks.monotonic += 5 * 3600
    assert clocks.look() == {"minute": START.replace(minute=1, second=0)}
    assert len(clocks.passes(60)) == 1


def test_a_changed_schedule_counts_at_once_and_one_that_is_gone_is_forgotten() -> None:
    clocks = Clocks(a="0 0 1 1 *", b="* * * * *")
    clocks.schedules = {"a": ("* * * * * *", "UTC")}
    assert [name for name, _ in clocks.passes(2)].count("a") >= 1
    assert "b" not in {name for name, _ in clocks.passes(60)}


@pytest.mark.parametrize("text", ["0 0 31 2 *", "no schedule", "@every"])
def test_what_never_comes_keeps_nobody_else_waiting(text: str) -> None:
    clocks = Clocks(never=text, minute="* * * * *")
    assert {name for name, _ in clocks.passes(60)} == {"minute"}
