"""A page as AppTest or a browser shows it."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
import pytest
from servers import free_port
from streamlit.testing.v1 import AppTest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 30.0


def _script(name: str) -> None:
    import importlib

    importlib.import_module(f"ui.pages.{name}").render()


@dataclass
class ShownPage:
    """`app` is Streamlit's AppTest: its widgets, and `run()`."""

    app: AppTest

    def nodes(self, kind: str = "") -> list[dict[str, Any]]:
        """What `ui.elements.view` got, in order; of one kind: table, p, notice, dl, h."""
        return [node for node in _nodes(self.app._tree) if not kind or node["t"] == kind]

    @property
    def tables(self) -> dict[str, list[list[str]]]:
        """The rows of each table by its caption, every cell as text."""
        return {node["caption"]: [[text(cell) for cell in row] for row in node["rows"]] for node in self.nodes("table")}

    @property
    def notices(self) -> list[tuple[str, str]]:
        """Kind and text."""
        return [(node["kind"], text(node["parts"])) for node in self.nodes("notice")]

    @property
    def paragraphs(self) -> list[str]:
        return [text(node["parts"]) for node in self.nodes("p")]

    @property
    def writings(self) -> list[tuple[str, str]]:
        """What `ui.elements.writing` got: the text so far, and what is said at its end."""
        return [(data["text"], data["end"]) for data in _data(self.app._tree) if {"text", "end"} <= data.keys()]

    @property
    def details(self) -> dict[str, str]:
        return {name: text(value) for node in self.nodes("dl") for name, value in node["items"]}

    @property
    def everything(self) -> str:
        """All that our own elements show, as one text."""
        return "\n".join(json.dumps(node, ensure_ascii=False) for node in self.nodes())


def show(name: str, query: Mapping[str, str]) -> ShownPage:
    app = AppTest.from_function(_script, args=(name,), default_timeout=SECONDS)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, app.exception
    return ShownPage(app)


def text(cell: Any) -> str:
    """A cell or the parts of a sentence, as plain text; a time as its Unix seconds."""
    match cell:
        case list():
            return "".join(text(part) for part in cell)
        case {"k": "time", "at": at}:
            return str(at)
        case {"text": value}:
            return str(value)
    return str(cell)


def _nodes(block: Any) -> Iterator[dict[str, Any]]:
    return (data["node"] for data in _data(block) if "node" in data)


def _data(block: Any) -> Iterator[dict[str, Any]]:
    """What our components got, in order."""
    if getattr(block, "type", "") == "bidi_component":
        yield json.loads(block.proto.json)
    for child in getattr(block, "children", {}).values():
        yield from _data(child)


@contextlib.contextmanager
def running_chromium() -> Iterator[Browser]:
    """Debian's Chromium; the test is skipped where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed (apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@contextlib.contextmanager
def browser_context(browser: Browser) -> Iterator[Callable[..., Page]]:
    contexts, faults = [], []

    def opened(address: str, *, width: int = 1280, height: int = 900, dark: bool = False, **options: Any) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text) if _is_fault(message) else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if _is_outside(request.url) else None)
        page.goto(address)
        page.get_by_role("heading", level=1).first.wait_for()
        return page

    opened.faults = faults  # type: ignore[attr-defined]  # a test that ends a server empties it
    try:
        yield opened
    finally:
        for context in contexts:
            context.close()
    assert not faults, faults


def _is_fault(message: ConsoleMessage) -> bool:
    """An error, or a warning of the charts' drawing (Vega)."""
    return message.type == "error" or (message.type == "warning" and message.text.startswith("WARN "))


def _is_outside(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("data", "blob") and parts.hostname not in ("127.0.0.1", "localhost")


@contextlib.contextmanager
def ui_server(folder: Path, base: Mapping[str, str]) -> Iterator[Callable[[Mapping[str, str]], str]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(environ: Mapping[str, str] = {}, port: int | None = None) -> str:
        port = port or free_port()
        log = (folder / f"ui-{port}.log").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", "ui", "--port", str(port)], cwd=ROOT, env={**base, **environ}, stdout=log, stderr=log
        )
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            assert process.poll() is None, (folder / f"ui-{port}.log").read_text()
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"{url}/_stcore/health", timeout=2).is_success:
                    return url
            time.sleep(0.1)
        raise AssertionError((folder / f"ui-{port}.log").read_text())

    start.processes = started  # type: ignore[attr-defined]
    try:
        yield start
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
