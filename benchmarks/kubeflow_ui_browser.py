"""A Chromium on Kubeflow's UI that keeps what went wrong: refused requests, the console's errors, foreign requests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from playwright.sync_api import ConsoleMessage, Page, Request, Response, sync_playwright
from playwright.sync_api import Error as PlaywrightError

TIMEOUT_MS = 15_000
FONTS = "cdn.jsdelivr.net"
"""Where the UI would fetch its font from; the page's policy forbids it, and the system's font stands in."""


@dataclass
class Ui:
    """The UI at `url`, in a page whose problems are collected in `problems` as lines."""

    url: str
    token: str
    page: Page
    screenshots: Path | None = None
    problems: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """A page by its route, loaded from scratch."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/#{path}")

    def sees(self, text: str, seconds: float = TIMEOUT_MS / 1000) -> None:
        """Waits until a text is visible; AssertionError."""
        try:
            self.page.get_by_text(text).locator("visible=true").first.wait_for(timeout=seconds * 1000)
        except PlaywrightError as error:
            raise AssertionError(f"{text!r} does not appear: {str(error).splitlines()[0]}") from None

    def click(self, selector: str) -> None:
        self.page.locator(selector).locator("visible=true").first.click(timeout=TIMEOUT_MS)

    def button(self, name: str) -> None:
        """Clicks a button by the text on it."""
        self.page.get_by_role("button", name=name, exact=True).last.click(timeout=TIMEOUT_MS)

    def tab(self, name: str) -> None:
        self.page.get_by_role("button", name=re.compile(f"^{re.escape(name)}$", re.IGNORECASE)).last.click(
            timeout=TIMEOUT_MS
        )

    def node(self, name: str, *, pattern: bool = False) -> Any:
        """A node of the graph, by its label or a pattern of it."""
        label = name if pattern else re.escape(name)
        return self.page.locator(".react-flow__node", has_text=re.compile(f"^{label}$")).first

    def state_of(self, name: str) -> str:
        """The icon of a node: CheckCircleIcon, ErrorIcon, RefreshIcon, StopCircleIcon … or "" where it has none."""
        icon = self.node(name).locator("svg[data-testid$=Icon]:not([data-testid=CropFreeIcon])").last
        return str(icon.get_attribute("data-testid", timeout=TIMEOUT_MS) or "")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A request to the API, made without the browser."""
        response = httpx2.request(
            method, f"{self.url}{path}", json=body, headers={"Authorization": f"Bearer {self.token}"}, timeout=30
        )
        assert response.status_code == 200, f"{method} {path}: {response.status_code} {response.text[:200]}"
        return response.json()

    def shoot(self, name: str) -> None:
        if self.screenshots:
            self.screenshots.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(self.screenshots / f"{name.replace(' ', '-').replace(',', '')}.png"))


@contextmanager
def opened(url: str, token: str, chromium: Path, screenshots: Path | None = None) -> Iterator[Ui]:
    """The UI, logged in."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), headless=True)
        page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
        ui = Ui(url.rstrip("/"), token, page, screenshots)
        _watch(ui)
        page.goto(f"{ui.url}/?token={token}")
        page.wait_for_load_state("networkidle")
        yield ui
        browser.close()


def _watch(ui: Ui) -> None:
    origin = urlsplit(ui.url).netloc

    def responded(response: Response) -> None:
        if response.status >= 400:
            ui.problems.append(f"{response.status} {response.request.method} {response.url.removeprefix(ui.url)}")

    def said(message: ConsoleMessage) -> None:
        if message.type == "error" and FONTS not in message.text:
            ui.problems.append(f"console: {message.text[:200]}")

    def requested(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https") and parts.netloc not in (origin, FONTS):
            ui.problems.append(f"a request to {parts.netloc}")

    ui.page.on("response", responded)
    ui.page.on("console", said)
    ui.page.on("request", requested)
    ui.page.on("pageerror", lambda error: ui.problems.append(f"page: {str(error)[:200]}"))
