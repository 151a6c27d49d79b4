"""A multi-user Kubeflow's door before the local pipelines' API: only with a token, only into one's own namespace."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from kfp_server import HEADERS


@dataclass
class Gate:
    """`token` opens it, and may change. `refused` are the paths that were asked for without what they need."""

    token: str
    namespace: str
    url: str = ""
    refused: list[str] = field(default_factory=list)


@contextlib.contextmanager
def multi_user_kubeflow(behind: str, token: str, namespace: str) -> Iterator[Gate]:
    """Asks for the namespace where a multi-user server does: in lists and in what is made, save what names an id."""
    gate = Gate(token, namespace)

    class Handler(BaseHTTPRequestHandler):
        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if problem := self._problem(body):
                gate.refused.append(f"{self.command} {self.path}")
                status, content = problem, json.dumps({"code": 7, "message": "not allowed"}).encode()
            else:
                kept = {k: v for k, v in self.headers.items() if k.lower() in ("content-type", "accept")} | HEADERS
                answer = httpx2.request(self.command, behind + self.path, content=body, headers=kept, timeout=30)
                status, content = answer.status_code, answer.content
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _problem(self, body: bytes) -> int:
            if self.headers.get("authorization") != f"Bearer {gate.token}":
                return 401
            parts = urlsplit(self.path)
            asked = parse_qs(parts.query).get("namespace", [""])[0]
            kind = parts.path.removeprefix("/apis/v2beta1/")
            given: dict[str, Any] = json.loads(body) if kind != "pipelines/upload_version" and body else {}
            if self.command == "GET" and kind in ("runs", "experiments", "recurringruns"):
                return 0 if asked == gate.namespace else 403
            if self.command == "POST" and kind in ("experiments", "pipelines"):
                return 0 if given.get("namespace") == gate.namespace else 403
            if self.command == "POST" and kind in ("runs", "recurringruns"):
                return 0 if given.get("experiment_id") else 400
            return 0

        do_GET = do_POST = do_DELETE = _pass  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    gate.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield gate
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
