"""`scripts/tools screenshots`: small pictures of every page of a running loop, for the documentation.

A page is shown by the address that shows most of it: the newest version with a comparison, the last check, and so on.
Light, dark, and at a phone's width; 128 colours keep each picture below 100 kB.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.errors import ToolError
from tools.project import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOLDER = ROOT / "docs" / "images" / "page"
PAGES = {
    "ask": "/",
    "loop": "/loop",
    "drift": "/drift",
    "rollout": "/rollout",
    "versions": "/versions",
    "pipelines": "/pipelines",
    "events": "/events",
}
KINDS = {"": (1280, 1000, "light"), "-dark": (1280, 1000, "dark"), "-phone": (390, 844, "light")}
"""By the end of the file's name: width and height in pixels, and the colour scheme."""
COLOURS = 128
SECONDS = 60_000


def screenshots(
    url: Annotated[str, typer.Option(help="The page's address, as `mcqa ui --no-browser` prints it.")],
    out: Annotated[
        Path, typer.Option(help="Folder for the pictures.", show_default="docs/images/page", file_okay=False)
    ] = FOLDER,
    pages: Annotated[list[str] | None, typer.Option("--page", help="Only this page; repeatable.")] = None,
    chromium: Annotated[str, typer.Option(envvar="CHROMIUM", help="The browser.", show_default="from PATH")] = "",
) -> None:
    """Take the pictures of the page in docs/images/page again, from a running loop."""
    wanted = pages or list(PAGES)
    if unknown := set(wanted) - set(PAGES):
        raise ToolError(f"there is no page {', '.join(sorted(unknown))}; there are {', '.join(PAGES)}", 2)
    out.mkdir(parents=True, exist_ok=True)
    with _browser(chromium) as browser:
        for name in wanted:
            for suffix, (width, height, scheme) in KINDS.items():
                picture = _picture(browser, url.rstrip("/") + PAGES[name], width, height, scheme, name == "ask")
                file = out / f"{name}{suffix}.png"
                file.write_bytes(picture)
                print(f"{file.relative_to(ROOT) if file.is_relative_to(ROOT) else file} {len(picture) / 1000:.0f} kB")


def register(app: typer.Typer) -> None:
    app.command("screenshots")(screenshots)


@contextmanager
def _browser(chromium: str) -> Iterator[Browser]:
    path = chromium or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise ToolError("chromium is not installed: apt install chromium, or name it with --chromium")
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise ToolError("playwright is not installed: .venv/bin/pip install -e '.[test]'") from None
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        except Error as error:
            raise ToolError(f"{path} does not start: {str(error).splitlines()[0]}") from None
        try:
            yield browser
        finally:
            browser.close()


def _picture(browser: Browser, address: str, width: int, height: int, scheme: str, ask: bool) -> bytes:
    """The top of the page as a PNG."""
    from playwright.sync_api import Error

    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        locale="en-GB",
        timezone_id="UTC",
    )
    try:
        page = context.new_page()
        page.goto(address)
        page.get_by_role("heading", level=1).first.wait_for(timeout=SECONDS)
        if ask:
            _ask(page)
        _settle(page)
        return _few_colours(page.screenshot())
    except Error as error:
        raise ToolError(f"{address}: {str(error).splitlines()[0]}") from None
    finally:
        context.close()


def _ask(page: Page) -> None:
    page.get_by_text("Start from an example").click()
    page.get_by_role("button", name="Fill in an example").click()
    page.locator("code .token").first.wait_for(timeout=SECONDS)  # what is clicked while the page changes may be lost
    page.get_by_role("button", name="Ask the model").click()
    heading = page.get_by_role("heading", name="The model answers")
    heading.wait_for(timeout=SECONDS)
    heading.scroll_into_view_if_needed()


def _settle(page: Page) -> None:
    """Until Streamlit has run the page, and its charts are drawn."""
    page.wait_for_timeout(1_000)
    page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')", timeout=SECONDS)
    page.wait_for_timeout(1_500)


def _few_colours(picture: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        small = io.BytesIO()
        image.convert("RGB").quantize(COLOURS).save(small, "PNG", optimize=True)
    return small.getvalue()
