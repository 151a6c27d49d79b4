"""axe-core on every page with data: light and dark, at a phone's and a desktop's width."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from shown_loop import PAGES, shown_loop
from shown_page import ui_server
from tool import ROOT, TOOL

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.usefixtures("processes")

WIDTHS = (1280, 390)
GRAVE = ("serious", "critical")
ALSO = ("heading-order", "empty-heading", "landmark-one-main", "page-has-heading-one")
"""Rules that axe calls moderate, and that are held here, too."""

STREAMLIT: dict[str, tuple[str, str]] = {}
"""What Streamlit's own elements do wrong and a page cannot mend: by axe's rule the part of the HTML, and why."""


@pytest.fixture(scope="module")
def address(mlflow_url: str, processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("accessibility")
    with shown_loop(folder, mlflow_url, "accessibility-test") as loop, ui_server(folder, dict(os.environ)) as start:
        yield start(loop.environ)


@pytest.mark.parametrize("name", PAGES)
def test_nothing_serious_or_critical(address: str, page_at: Any, name: str) -> None:
    page = page_at(address + PAGES[name])
    prepare(page, name)
    found: dict[tuple[str, str], str] = {}
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            settle(page)
            for violation in Axe().run(page).response["violations"]:
                for node in violation["nodes"]:
                    if is_grave(violation) and not is_streamlits(violation["id"], node["html"]):
                        where = f"{width} px, {scheme}: {' '.join(node['failureSummary'].split())[:250]}"
                        found[violation["id"], node["html"][:150]] = where
    assert not found, "\n".join(f"{rule}: {html}: {where}" for (rule, html), where in found.items())


def is_grave(violation: dict[str, Any]) -> bool:
    return violation["impact"] in GRAVE or violation["id"] in ALSO


def is_streamlits(rule: str, html: str) -> bool:
    return rule in STREAMLIT and STREAMLIT[rule][0] in html


def prepare(page: Page, name: str) -> None:
    """Waits for what the page shows, and makes it show more."""
    settle(page)
    if name == "ask":
        page.get_by_text("Start from an example").click()
        page.get_by_role("button", name="Fill in an example").click()
        page.get_by_role("button", name="Ask the model").click()
        page.get_by_role("heading", name="The model answers").wait_for()
    closed = page.locator("[data-testid=stExpander] details:not([open]) > summary")
    while closed.count():
        closed.first.click()
    settle(page)


def settle(page: Page) -> None:
    page.wait_for_timeout(500)
    running = "[data-testid=stStatusWidget], [data-stale=true]"  # what is being shown again is paler meanwhile
    page.wait_for_function("running => !document.querySelector(running)", arg=running, timeout=60_000)
    page.wait_for_timeout(400)


def test_the_pictures_of_the_documentation_can_be_taken_again(address: str, tmp_path: Path) -> None:
    """In a process of its own: Playwright runs here already, and allows one at a time."""
    command = [*TOOL, "screenshots", "--url", address, "--out", str(tmp_path), "--page", "versions"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["versions-dark.png", "versions-phone.png", "versions.png"]
    for file in files:
        content = file.read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(content[16:20]) == (390 if "phone" in file.name else 1280)
        assert len(content) < 100_000


def test_pictures_of_what_is_not_there_are_refused() -> None:
    for arguments, line in (
        (["--url", "http://127.0.0.1:9", "--page", "cost"], "screenshots: there is no page cost; there are ask, loop"),
        (["--url", "http://127.0.0.1:9", "--chromium", "/no/browser"], "screenshots: "),
    ):
        done = subprocess.run([*TOOL, "screenshots", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode in (1, 2)
        assert done.stderr.startswith(line)
        assert done.stderr.count("\n") == 1
