"""The page stays open while parts of its loop are killed, and while all of it is away: what `benchmarks.page_kills`
does at length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from benchmarks.page_kills import LIMIT_SECONDS, PageKills, Seen, loop_of_its_own

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def kills(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageKills]:
    with loop_of_its_own(tmp_path_factory.mktemp("recovers") / "loop") as folder:
        kills = PageKills(folder.path, chromium, ("loop", "versions"), steady=0.0)
        kills.open()
        yield kills


def recovered(seen: Seen) -> bool:
    return seen.right is not None and seen.oldest < LIMIT_SECONDS


def test_the_page_is_killed(kills: PageKills) -> None:
    assert recovered(kills.disturb("page", lambda: kills.kill("ui")))


def test_the_registry_is_killed(kills: PageKills) -> None:
    """Whether a page says so depends on who looks within the seconds of its start."""
    assert recovered(kills.disturb("registry", lambda: kills.kill("mlflow")))


def test_down_and_up(kills: PageKills) -> None:
    seen = kills.disturb("down and up", lambda: kills.down_and_up(12.0))
    assert recovered(seen)
    assert seen.stale is not None, "facts of a server that is gone"
