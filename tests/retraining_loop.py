"""What the retraining pipeline meets in the loop: a database of logged questions with feedback, and an event sink."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from functions.collect.tables import AskedQuestion, GivenFeedback, LoggedRequest
from functions.database import engine, insert_once, transaction
from functions.migrate import migrate
from pipelines.bank import LabelledQuestion

SOURCE = "test/logger"


def feedback_database(folder: Path, labelled: Sequence[LabelledQuestion], *, since: float, version: str = "1") -> str:
    """The URL of a migrated SQLite database: the questions asked one a second from `since`, each with its answer."""
    url = f"sqlite:///{folder / 'loop.db'}"
    migrate(engine(url))
    requests: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    feedback: list[dict[str, Any]] = []
    for place, row in enumerate(labelled):
        q, name, at = row.question, f"q-{place}", since + place
        body = {"question": q.stem, "choices": list(q.choices), "code": q.code, "subject": q.subject}
        body = {key: value for key, value in body.items() if value is not None}
        requests.append({"source": SOURCE, "id": name, "version": version, "requested_at": at})
        asked = {"source": SOURCE, "id": name, "place": 0, "choices": len(q.choices), "question": body}
        questions.append(asked)
        judged = {"source": "test/user", "id": f"f-{place}", "answer_id": name, "place": 0, "letter": row.letter}
        feedback.append({**judged, "given_at": at + 5})
    with transaction(engine(url)) as connection:
        for table, rows in ((LoggedRequest, requests), (AskedQuestion, questions), (GivenFeedback, feedback)):
            insert_once(connection, table, rows)
    return url


class EventSink:
    """What was POSTed: the ce-attributes and the body."""

    def __init__(self) -> None:
        self.events: list[tuple[dict[str, str], Any]] = []
        self.url = ""

    def of(self, type: str) -> list[tuple[dict[str, str], Any]]:
        return [event for event in self.events if event[0]["type"] == type]


@contextlib.contextmanager
def event_sink() -> Iterator[EventSink]:
    """A server that accepts every event."""
    sink = EventSink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            attributes = {k.lower()[3:]: v for k, v in self.headers.items() if k.lower().startswith("ce-")}
            sink.events.append((attributes, json.loads(body)))
            self.send_response(202)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sink.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
