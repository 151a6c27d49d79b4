"""The real page in a real browser, against the whole running loop: what a student does, and what an operator does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from running_loop import RunningLoop, Users, running_loop

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.timeout(900)]

PATIENCE = 240_000.0
"""Milliseconds that only a loop which hangs takes."""
PageAt = Callable[..., "Page"]


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[RunningLoop]:
    with running_loop(tmp_path_factory.mktemp("journey") / "loop") as loop:
        yield loop


def test_a_student_and_an_operator(loop: RunningLoop, page_at: PageAt) -> None:
    operator = page_at(loop.page)
    operator.set_default_timeout(PATIENCE)
    with Users(loop).asking():
        ask_and_correct(page_at(loop.page))
        see_drift_arrive(operator)
    watch_to_the_end(operator, loop, loop.challenge())
    abort(operator, loop.challenge())
    loop.say("unusable", {"answer_id": "x", "answer": "Z"})
    replay_a_dead_letter(operator)


def ask_and_correct(page: Page) -> None:
    page.set_default_timeout(PATIENCE)
    page.get_by_text("Start from an example").click()
    page.get_by_role("button", name="Fill in an example").click()
    page.locator("code .token").first.wait_for()
    page.get_by_role("button", name="Ask the model").click()
    page.get_by_role("heading", name="The model answers").wait_for()
    assert page.get_by_role("button", name="Send the right answer").is_disabled()
    click_until(page.get_by_role("combobox", name="The right answer is"), page.get_by_role("option").first)
    page.get_by_role("option").first.click()
    page.get_by_role("button", name="Send the right answer").click()
    page.get_by_text("Counted:").wait_for()
    page.get_by_text("Details of this answer").click()
    page.locator("a[href*='trace=']").first.click()
    page.get_by_role("table", name="What the database has of it, in time order").get_by_text("right answer").wait_for()


def see_drift_arrive(page: Page) -> None:
    go_to(page, "Drift")
    page.get_by_role("heading", name="The last alarm, and what became of it").wait_for()
    page.get_by_text("Drift: the answers of version 1 have differed from their baseline since").wait_for()
    checks = page.get_by_role("table", name="The last 50 checks, the newest first")
    checks.get_by_text("drift, alarm").first.wait_for()
    page.get_by_text("What moved").wait_for()


def watch_to_the_end(page: Page, loop: RunningLoop, version: str) -> None:
    go_to(page, "Rollout")
    page.get_by_text("50% of the traffic").first.wait_for()
    loop.answers("1", version)
    rollout_row(page, version, "1", "promoted").wait_for()
    page.get_by_text(f"No rollout is under way: version {version} serves alone.").wait_for()


def abort(page: Page, version: str) -> None:
    champion = str(int(version) - 1)
    asks = page.get_by_text(f"All traffic goes back to version {champion}. Version {version} is marked")
    click_until(page.get_by_role("button", name="Abort", exact=True), asks)
    page.get_by_role("button", name="Yes, do it").click()
    page.get_by_text(f"Abort version {version}: recorded as decision").wait_for()
    rollout_row(page, version, champion, "rolled back").wait_for()
    log = page.get_by_role("table", name="Decisions, the newest first")
    log.get_by_text("(page)").first.wait_for()
    page.get_by_text(f"No rollout is under way: version {champion} serves alone.").wait_for()


def replay_a_dead_letter(page: Page) -> None:
    go_to(page, "Events")
    page.goto(f"{page.url.partition('?')[0]}?view=letters")
    letters = page.get_by_role("table", name="Events that a function could not use")
    letters.get_by_text("must be an index from 0 or a letter A to J, found 'Z'").wait_for()
    letters.get_by_role("link").first.click()
    page.get_by_role("heading", name="A dead letter").wait_for()
    click_until(page.get_by_role("button", name="Send it again"), page.get_by_role("button", name="Yes, do it"))
    page.get_by_role("button", name="Yes, do it").click()
    page.get_by_text("Sent again, and refused again at once").wait_for()


def click_until(button: Locator, shown: Locator) -> None:
    """A click is lost where the page changes between press and release, as on a slow machine: people click again."""
    for _ in range(int(PATIENCE / 10_000)):
        button.click()
        for _ in range(40):
            if shown.is_visible():
                return
            button.page.wait_for_timeout(250)
    shown.wait_for()


def go_to(page: Page, name: str) -> None:
    page.get_by_role("link", name=name, exact=True).click()
    page.get_by_role("heading", name=name, level=1, exact=True).wait_for()


def rollout_row(page: Page, challenger: str, champion: str, outcome: str) -> Locator:
    row = page.get_by_role("table", name="The last rollouts").get_by_role("row")
    return row.filter(has_text=f"version {challenger} against {champion}").get_by_text(outcome)
