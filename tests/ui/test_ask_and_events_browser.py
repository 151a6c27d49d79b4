"""Ask and Events in a real browser, with the real tiny model, a real broker and the real function collect.

No gateway runs here, so the test itself sends the two events that its payload logger would.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from function_server import function
from servers import free_port
from shown_page import ui_server
from small_loop import SmallLoop, small_loop, triggers

from common.event_types import FEEDBACK, INFERENCE_REQUEST, INFERENCE_RESPONSE
from mcqa import defaults, server_process

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.usefixtures("processes")

HOSTILE = "**bold** <img src=x onerror=alert(1)>"
PageAt = Callable[..., "Page"]
COUNT_CLICKS = """(selector) => {
  window.clicks = 0;
  document.addEventListener("click", (event) => { window.clicks += event.target.closest(selector) ? 1 : 0; });
}"""


@dataclass
class Stack:
    url: str
    loop: SmallLoop
    model: str

    def log(self, answer_id: str, question: dict[str, Any], letter: str) -> None:
        """A question and its answer, as the payload logger copies them."""
        annotations = json.dumps({"coding-mcqa/model-version": "tiny"})
        self.loop.send(answer_id, INFERENCE_REQUEST, {"instances": [question]}, annotations=annotations)
        answered = {"predictions": [{"letter": letter}], "model_version": "tiny"}
        self.loop.send(answer_id, INFERENCE_RESPONSE, answered, annotations=annotations)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder, port = tmp_path_factory.mktemp("stack"), free_port()
    with contextlib.ExitStack() as parts:
        parts.enter_context(server_process.running(str(defaults.TINY_MODEL), port, free_port()))
        loop = parts.enter_context(small_loop(folder / "loop", gateway=port))
        parts.enter_context(loop.serve_triggers())
        database = {"MCQA_DATABASE_URL": loop.environ["MCQA_DATABASE_URL"]}
        collect = parts.enter_context(function("collect", folder / "collect.log", database))
        kept = parts.enter_context(function("dead-letters", folder / "dead-letters.log", database))
        loop.apply("Broker", "default", {"delivery": {"retry": 1, "deadLetterSink": {"uri": kept.url}}})
        spec = next(item["spec"] for item in triggers() if item["metadata"]["name"] == "collect")
        loop.apply("Trigger", "collect", {**spec, "subscriber": {"uri": collect.url}})
        start = parts.enter_context(ui_server(folder, dict(os.environ)))
        url = start({**loop.environ, "MCQA_UI_ACTIONS": "true"})
        yield Stack(url, loop, f"http://127.0.0.1:{port}")


def ask_hostile(page: Page) -> None:
    page.get_by_label("Question", exact=True).fill(HOSTILE)
    page.get_by_label("Choice A").fill("1")
    page.get_by_label("Choice B").fill(HOSTILE)
    page.get_by_role("button", name="Ask the model").click()
    page.get_by_role("heading", name="The model answers").wait_for()


def test_ask_correct_and_follow_the_trace(stack: Stack, page_at: PageAt) -> None:
    page = page_at(stack.url)
    page.get_by_text("Start from an example").click()
    page.get_by_role("button", name="Fill in an example").click()
    page.locator("code .token").first.wait_for()
    page.get_by_role("button", name="Ask the model").click()
    heading = page.get_by_role("heading", name="The model answers")
    heading.wait_for()
    letter = heading.inner_text().strip()[-1]
    page.get_by_text("tiny demonstration model").first.wait_for()
    page.get_by_text("Details of this answer").click()
    trace = page.locator("a[href*='trace=']")
    trace.first.wait_for()
    trace_id = trace.first.inner_text()
    answer_id = str(uuid.UUID(trace_id))
    stack.log(answer_id, {"question": "What does this code print?", "choices": list("1234")}, letter)
    page.get_by_role("button", name=f"{letter} was right").click()
    page.get_by_text("Counted:").wait_for(timeout=30_000)
    page.get_by_role("button", name="was right").wait_for(state="detached")
    trace.first.click()
    page.get_by_role("heading", name="One trace, from its beginning").wait_for()
    rows = page.get_by_role("table", name="Its events, in the order of their arrival").get_by_role("row")
    rows.nth(3).wait_for()
    assert [FEEDBACK in row for row in rows.all_inner_texts()] == [False, False, False, True]
    stored = page.get_by_role("table", name="What the database has of it, in time order")
    stored.get_by_text("right answer").wait_for()
    page.go_back()
    heading.wait_for()
    assert page.get_by_label("Question", exact=True).input_value() == "What does this code print?"


def test_keys_are_enough(stack: Stack, page_at: PageAt) -> None:
    """Ctrl+Enter asks with what was typed last, and the answer gets the focus."""
    from playwright.sync_api import expect

    page = page_at(stack.url)
    page.get_by_label("Question", exact=True).fill("What is 1 + 1?")
    page.get_by_label("Choice A").fill("1")
    page.get_by_label("Choice B").focus()
    page.keyboard.type("zwei")
    page.keyboard.press("Control+Enter")
    answer = page.get_by_role("heading", name="The model answers")
    expect(answer).to_be_focused()
    page.get_by_role("cell", name="zwei").wait_for()
    page.evaluate(COUNT_CLICKS, ".st-key-ask-now")
    page.get_by_label("Choice B").fill("two")
    page.keyboard.press("Control+Enter")
    page.get_by_role("cell", name="two", exact=True).wait_for()
    expect(answer).to_be_focused()
    assert page.evaluate("window.clicks") == 1


def test_nothing_typed_is_lost_while_the_model_is_away(stack: Stack, page_at: PageAt, page_server: Any) -> None:
    """Another page and back, and a model that does not answer."""
    from playwright.sync_api import expect

    url = page_server({**stack.loop.environ, "MCQA_URL": "http://127.0.0.1:9"})
    page = page_at(url)
    page.get_by_label("Question", exact=True).fill(HOSTILE)
    page.get_by_label("Choice A").fill("one")
    page.get_by_label("Choice B").fill("two")
    page.get_by_role("button", name="Ask the model").click()
    page.get_by_text("Nothing answers at http://127.0.0.1:9").wait_for()
    page.get_by_role("link", name="Events").click()
    page.get_by_role("heading", name="Events", level=1).wait_for()
    page.get_by_role("link", name="Ask").click()
    page.get_by_role("heading", name="Ask", level=1).wait_for()
    expect(page.get_by_label("Question", exact=True)).to_have_value(HOSTILE)
    expect(page.get_by_label("Choice B")).to_have_value("two")


def test_what_is_typed_after_the_code_arrives(stack: Stack, page_at: PageAt) -> None:
    """The highlighted code appears when its field is left."""
    page = page_at(stack.url)
    page.get_by_label("Code, if").fill("print(1)")
    page.keyboard.press("Tab")
    page.locator("code .token").first.wait_for()
    page.get_by_label("Code, if").fill("print(2)")
    page.get_by_label("Choice A").click()
    page.keyboard.type("typed while the page changes", delay=60)
    page.keyboard.press("Tab")
    page.wait_for_timeout(1000)
    assert page.get_by_label("Choice A").input_value() == "typed while the page changes"


def test_texts_stay_texts(stack: Stack, page_at: PageAt) -> None:
    stack.loop.send("hostile", HOSTILE[:20].replace("*", "x").replace(" ", "-"), {"text": HOSTILE}, subject=HOSTILE)
    page = page_at(stack.url)
    ask_hostile(page)
    page.get_by_role("cell", name=HOSTILE).wait_for()
    assert page.locator("img[src=x]").count() == 0
    page = page_at(f"{stack.url}/events?text=onerror")
    page.get_by_role("table", name="Events, the newest first").get_by_role("link").first.click()
    page.get_by_role("heading", name="Data").wait_for()
    page.get_by_text("All attributes").first.click()
    page.get_by_role("cell", name=HOSTILE).wait_for()
    assert page.locator("img[src=x]").count() == 0


def test_a_dead_letter_is_found_understood_and_sent_again(stack: Stack, page_at: PageAt) -> None:
    stack.loop.send("refused", FEEDBACK, {"answer_id": "x", "answer": "Z"})
    page = page_at(f"{stack.url}/events?view=letters")
    letters = page.get_by_role("table", name="Events that a function could not use")
    letters.get_by_text("must be an index from 0 or a letter A to J, found 'Z'").wait_for()
    letters.get_by_role("link").first.click()
    page.get_by_role("heading", name="A dead letter").wait_for()
    page.get_by_role("button", name="Send it again").click()
    page.get_by_text("for every Trigger that wants such events").wait_for()
    page.get_by_role("button", name="Yes, do it").click()
    page.get_by_text("Sent again, and refused again at once").wait_for(timeout=30_000)
    page.get_by_role("button", name="Discard it").click()
    page.get_by_role("button", name="Yes, do it").click()
    page.get_by_text("Discarded.").wait_for()


def test_the_broker_goes_and_comes_back(stack: Stack, page_at: PageAt) -> None:
    """A broker that does not answer is a sentence; the page recovers by itself."""
    page = page_at(f"{stack.url}/events")
    page.get_by_role("table", name="Events, the newest first").wait_for()
    process = stack.loop.process
    process.send_signal(signal.SIGSTOP)
    try:
        page.get_by_text("The broker does not answer").wait_for(timeout=30_000)
    finally:
        process.send_signal(signal.SIGCONT)
    page.get_by_role("table", name="Events, the newest first").wait_for(timeout=30_000)


@pytest.mark.parametrize(
    ("width", "dark", "paths"),
    [(390, True, ("/", "/events?event=1")), (1280, False, ("/events?view=flow", "/events?view=letters"))],
)
def test_nothing_bars_the_way(stack: Stack, page_at: PageAt, width: int, dark: bool, paths: Sequence[str]) -> None:
    """axe: nothing serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    stack.loop.send(f"refused-{width}", FEEDBACK, {"answer_id": "x", "answer": "Z"})
    stack.loop.settle()
    for path in paths:
        page = page_at(stack.url + path, width=width, dark=dark)
        if path == "/":
            ask_hostile(page)
        page.locator("table:visible, [data-testid=stVegaLiteChart]:visible").first.wait_for()
        found = Axe().run(page).response["violations"]
        grave = [
            (item["id"], [node["target"] for node in item["nodes"]])
            for item in found
            if item["impact"] in ("serious", "critical")
        ]
        assert grave == [], path


def test_an_explanation_is_written_to_its_end(stack: Stack, page_at: PageAt) -> None:
    page = page_at(stack.url)
    ask_hostile(page)
    page.get_by_role("button", name="Explain this answer").click()
    page.get_by_role("heading", name="Its explanation").wait_for()
    page.get_by_text("It argues for the answer").wait_for(timeout=240_000)
    assert page.locator(".mcqa-writing [role=status]").text_content() == "The explanation is written."
