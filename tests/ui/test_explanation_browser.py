"""An explanation in a real browser while a model writes it as slowly as the test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.usefixtures("processes")

HOSTILE = "\n\n**bold** <img src=x onerror=alert(1)> $x$ 👩‍👧"
END = "The explanation is written."
PageAt = Callable[..., "Page"]
PageServer = Callable[[dict[str, str]], str]


@dataclass
class Writer:
    """A model that answers B, and writes what it is given; None ends its text."""

    url: str = ""
    texts: Queue[str | None] = field(default_factory=Queue)
    stopped: threading.Event = field(default_factory=threading.Event)

    def events(self, answer: dict[str, Any]) -> Iterator[bytes]:
        yield _event("answer", answer)
        written = ""
        while (text := self.texts.get(timeout=60)) is not None:
            written += text
            yield _event("text", {"text": text}) if text else b":\n\n"
        whole = {"explanation": written, "finish_reason": "stop", "completion_tokens": 9}
        yield _event("end", {"explanations": [{**answer, **whole}]})


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


@pytest.fixture
def writer(processes: None) -> Iterator[Writer]:
    made = Writer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["content-length"])))["instances"][0]
            answer = {
                "letter": "B", "index": 1, "choice": question["choices"][1], "probabilities": {"A": 0.1, "B": 0.9},
                "confidence": 0.9, "margin": 0.8, "entropy": 0.3, "letter_mass": 1.0, "prompt_tokens": 48,
                "model_version": "7",
            }  # fmt: skip
            streams = self.path.endswith(":explain")
            self.send_response(200)
            self.send_header("content-type", "text/event-stream" if streams else "application/json")
            self.end_headers()
            try:
                for part in made.events(answer) if streams else [json.dumps({"predictions": [answer]}).encode()]:
                    self.wfile.write(part)
            except ConnectionError:
                made.stopped.set()

        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def asked(writer: Writer, page_server: PageServer, page_at: PageAt) -> Page:
    """The page with an answer whose explanation was asked for."""
    page = page_at(page_server({"MCQA_URL": writer.url}), width=390)
    page.get_by_label("Question", exact=True).fill("Which?")
    page.get_by_label("Choice A").fill("1")
    page.get_by_label("Choice B").fill("2")
    page.get_by_role("button", name="Ask the model").click()
    page.get_by_role("button", name="Explain this answer").click()
    page.get_by_text("The model is about to write").wait_for()
    return page


def test_the_text_grows_and_its_end_is_said_once(asked: Page, writer: Writer) -> None:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import expect

    text, said = asked.locator(".mcqa-writing .text"), asked.locator(".mcqa-writing [role=status]")
    writer.texts.put("Because")
    expect(text).to_have_text("Because")
    # The same nodes to the end: a selection in them stays, and a screen reader knows the status from the beginning.
    asked.evaluate("() => { for (const node of document.querySelectorAll('.mcqa-writing > *')) node.marked = true; }")
    expect(text).to_have_attribute("aria-busy", "true")
    writer.texts.put(HOSTILE)
    expect(text).to_contain_text("👩‍👧")
    assert text.text_content() == f"Because{HOSTILE}"
    assert (text.locator("*").count(), said.text_content()) == (0, "")
    found = Axe().run(asked, context=".st-key-ask-answer").response["violations"]
    assert [rule["id"] for rule in found if rule["impact"] in ("serious", "critical")] == []
    writer.texts.put(None)
    expect(said).to_have_text(END)
    expect(text).to_have_attribute("aria-busy", "false")
    asked.get_by_text("It argues for the answer").wait_for()
    assert text.text_content() == f"Because{HOSTILE}"
    marked = asked.evaluate("() => [...document.querySelectorAll('.mcqa-writing > *')].map((node) => node.marked)")
    assert marked == [True, True]
    assert asked.get_by_role("button", name="Stop").count() == 0


def test_stop_keeps_the_text_and_frees_the_model(asked: Page, writer: Writer) -> None:
    writer.texts.put("Because")
    asked.get_by_text("Because").wait_for()
    asked.get_by_role("button", name="Stop").press("Enter")
    asked.get_by_text("It was stopped.").wait_for()
    assert asked.locator(".mcqa-writing .text").text_content() == "Because"
    for _ in range(1000):  # what a model sends while it writes nothing, until it finds nobody there
        writer.texts.put("")
        if writer.stopped.wait(0.02):
            break
    assert writer.stopped.is_set()
    writer.texts = Queue()
    asked.get_by_role("button", name="Explain this answer").click()
    writer.texts.put("Again")
    asked.get_by_text("Again").wait_for()
    writer.texts.put(None)
    asked.get_by_text("It argues for the answer").wait_for()
