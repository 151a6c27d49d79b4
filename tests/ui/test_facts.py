"""Reading for a page: what is shared, what does not answer, and what recovers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from ui import facts


class Part:
    """Something to read that can be made to hang or to fail."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.error = ""
        self.calls = 0

    def reader(self, value: int = 0) -> int:
        self.calls += 1
        self.answers.wait(20)
        if self.error:
            raise ValueError(self.error)
        return value


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Iterator[Part]:
    monkeypatch.setattr(facts, "PATIENCE", 0.3)
    monkeypatch.setattr(facts, "LEAST", 0.05)
    made = Part()
    yield made
    made.answers.set()
    deadline = time.monotonic() + 10
    while any(facts._under_way.values()) and time.monotonic() < deadline:
        time.sleep(0.01)


def until_ok(part: Part) -> facts.Facts[int]:
    deadline = time.monotonic() + 10
    while not (found := facts.read(part.reader)).ok and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def test_a_part_that_says_nothing_holds_a_page_once_and_is_shown_when_it_answers(part: Part) -> None:
    part.answers.clear()
    began = time.monotonic()
    found = facts.read(part.reader)
    assert (found.late, found.ok, found.value) == (True, False, None)
    assert 0.3 <= time.monotonic() - began < 5
    began = time.monotonic()
    assert all(facts.read(part.reader).late for _ in range(50))
    assert time.monotonic() - began < 0.3, "the next ones do not wait again"
    assert part.calls == 1
    part.answers.set()
    assert until_ok(part).value == 0
    assert part.calls == 1


def test_one_run_of_a_page_waits_once_for_all_that_say_nothing(part: Part) -> None:
    part.answers.clear()
    began = time.monotonic()
    with facts.page_run() as missed:
        for value in range(6):
            assert facts.read(part.reader, value).late
        assert facts.read(len, (1, 2)).value == 2, "what answers is shown"
    assert time.monotonic() - began < 6 * 0.3
    assert [each.args for each in missed] == [(value,) for value in range(6)]


def test_a_part_that_says_nothing_takes_so_many_threads_and_no_more(
    part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    part.answers.clear()
    with facts.page_run():
        for value in range(facts.AT_ONCE + 5):
            assert facts.read(part.reader, value).late
    assert part.calls == facts.AT_ONCE
    monkeypatch.setattr(facts, "LEAST", 10.0)
    part.answers.set()
    assert facts.read(part.reader, -1).value == -1, "as soon as one of them ends"
    assert facts.read(len, (1,)).ok, "other parts are read"


def test_many_reads_at_once_take_turns(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "PATIENCE", 10.0)
    monkeypatch.setattr(facts, "LEAST", 10.0)
    found: list[facts.Facts[int]] = []
    threads = [
        threading.Thread(target=lambda value=value: found.append(facts.read(part.reader, value)))
        for value in range(5 * facts.AT_ONCE)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.value for each in found if each.value is not None) == list(range(5 * facts.AT_ONCE))


def test_a_read_that_was_lost_does_not_undo_a_later_one(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "LOST", 0.0)
    part.answers.clear()
    assert facts.read(part.reader).late
    assert facts.read(part.reader).late
    assert part.calls == 2
    part.answers.set()
    assert until_ok(part).ok


def test_while_they_are_read_again_facts_are_shown_for_some_seconds_and_no_longer(
    part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert facts.read(part.reader, seconds=0).value == 0
    part.answers.clear()
    again = facts.read(part.reader, seconds=0)
    assert (again.value, again.late) == (0, False)
    monkeypatch.setattr(facts, "GRACE", -1.0)
    assert facts.read(part.reader, seconds=0).late


def test_an_error_is_not_kept_for_as_long_as_facts(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "SECONDS", 0.0)
    part.error = "away"
    assert facts.read(part.reader, seconds=300.0).error == "away"
    part.error = ""
    assert facts.read(part.reader, seconds=300.0).ok
    part.error = "away"
    assert facts.read(part.reader, seconds=300.0).ok


def test_what_a_page_missed_is_read_again_but_not_what_its_live_parts_did(part: Part) -> None:
    part.error = "away"
    with facts.page_run() as missed:
        facts.read(part.reader, 1)
        facts.read(len, (1,))
        with facts.live_run():
            facts.read(part.reader, 2)
    assert [each.args for each in missed] == [(1,)]
    assert not missed[0].again().ok
    part.error = ""
    facts.forget()
    assert missed[0].again().value == 1


def test_what_nobody_is_shown_any_more_is_not_kept(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    facts.forget()
    monkeypatch.setattr(facts, "GRACE", 0.1)
    assert facts.read(part.reader, 1, seconds=0).ok
    assert facts.read(part.reader, 2, seconds=60).ok
    part.answers.clear()
    assert facts.read(part.reader, 3, seconds=0).late
    time.sleep(0.2)
    facts.read(len, (1,))
    kept = [key[1] for key in facts._entries if isinstance(key, tuple)]
    assert kept == [2, 3, (1,)], "what is still valid, what is being read, and what was just asked for"
    part.answers.set()
