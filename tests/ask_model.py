"""A model server that answers what a test of the page Ask wants, and what such a test does on the page."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it needs Streamlit
    from shown_page import ShownPage

HOSTILE = "**bold** <img src=x onerror=alert(1)> :smile: $x$ [a](http://evil.example)"


@dataclass
class Model:
    """A model server that answers what a test wants."""

    url: str = ""
    status: int = 200
    version: str = "7"
    headers: dict[str, str] = field(default_factory=dict)
    error: str = ""
    card: dict[str, Any] | None = None
    mass: float = 0.98
    awake: Event = field(default_factory=Event)
    writes: tuple[str, ...] = ("Because.\n\n", HOSTILE)
    breaks_off: bool = False
    more: Event = field(default_factory=Event)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def reply(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(body)
        assert self.awake.wait(20)
        if self.status != 200:
            return {"error": self.error}
        question = body["instances"][0]
        count = len(question["choices"])
        shares = {"ABCDEFGHIJ"[place]: (0.9 if place == 1 else 0.1 / (count - 1)) for place in range(count)}
        answer = {
            "letter": "B", "index": 1, "choice": question["choices"][1], "probabilities": shares, "confidence": 0.9,
            "margin": 0.8, "entropy": 0.3, "letter_mass": self.mass, "prompt_tokens": 48, "model_version": self.version,
        }  # fmt: skip
        return {"predictions": [answer], "model_version": self.version}

    def events(self, body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """An explanation of another version: its last event once there may be `more`."""
        (answer,) = self.reply("", body)["predictions"]
        answer["model_version"] = "8"
        yield "answer", answer
        for text in self.writes:
            yield "text", {"text": text}
        assert self.more.wait(20)
        if self.breaks_off:
            yield "error", {"error": "the server is stopping", "status": 503}
            return
        written = {"explanation": "".join(self.writes), "finish_reason": "length", "completion_tokens": 9}
        yield "end", {"explanations": [{**answer, **written}]}


@contextlib.contextmanager
def model_server() -> Iterator[Model]:
    made = Model()
    made.awake.set()
    made.more.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path.endswith(":explain"):
                self._stream(made.events(body))
            else:
                self._send(made.status, made.reply(self.path, body), made.headers)

        def _stream(self, events: Iterator[tuple[str, dict[str, Any]]]) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # it was stopped
                for name, data in events:
                    self.wfile.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())

        def do_GET(self) -> None:
            properties = {} if made.card is None else {"properties": {"card": json.dumps(made.card)}}
            self._send(200, {"versions": [made.version], **properties}, {})

        def _send(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()
    server.server_close()


Show = Callable[..., "ShownPage"]


def field_key(page: ShownPage, name: str) -> str:
    """A field's key ends with its name; a remove button's does, too."""
    areas = [*page.app.text_area, *page.app.selectbox]
    return next(str(widget.key) for widget in areas if str(widget.key).endswith(f" {name}"))


def type_in(page: ShownPage, stem: str, *choices: str, code: str = "") -> None:
    page.app.text_area(field_key(page, "stem")).set_value(stem)
    page.app.text_area(field_key(page, "code")).set_value(code)
    for place, choice in enumerate(choices):
        page.app.text_area(field_key(page, f"choice {place} {place}")).set_value(choice)


def click(page: ShownPage, key: str) -> None:
    page.app.button(key).click()
    page.app.run()
    assert not page.app.exception, page.app.exception


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ask(page: ShownPage, *choices: str, stem: str = "What is 1 + 1?", code: str = "") -> None:
    type_in(page, stem, *choices or ("1", "2"), code=code)
    click(page, "ask now")
