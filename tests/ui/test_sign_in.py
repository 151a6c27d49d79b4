"""The page's sign-in: Chromium, the real page, and a real OpenID provider, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from servers import free_port

from functions.database import engine, transaction
from functions.dead_letters import store as letters
from functions.dead_letters.parsing import DeadLetter
from functions.migrate import migrate
from tools.cluster.secrets import Secrets

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.usefixtures("processes")
ROOT = Path(__file__).resolve().parents[2]
LETTER = "a" * 64
PEOPLE = {
    "ann": {"email": "Ann@example.com", "email_verified": True},
    "bob": {"email": "bob@example.com", "email_verified": True},
    "eve": {"email": "ann@example.com", "email_verified": False},
}


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[str]:
    """The provider's address."""
    port = free_port()
    people = [part for sub, claims in PEOPLE.items() for part in ("--user-claims", json.dumps({"sub": sub, **claims}))]
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port), *people]
    with (tmp_path_factory.mktemp("provider") / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx2.get(f"http://127.0.0.1:{port}/.well-known/openid-configuration", timeout=2).raise_for_status()
                break
            except httpx2.HTTPError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def address(provider: str, page_server: Callable[..., str], tmp_path: Path) -> str:
    """The page with its sign-in, its file as `make secrets` writes it; Ann may act."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    given = {
        "UI_URL": url, "UI_LOGIN_METADATA_URL": f"{provider}/.well-known/openid-configuration",
        "UI_LOGIN_CLIENT_ID": "mcqa", "UI_LOGIN_CLIENT_SECRET": "of the test",
    }  # fmt: skip
    (tmp_path / "secrets.toml").write_text(Secrets(None, "", given)._page_login()["secrets.toml"])  # type: ignore[arg-type]
    database = f"sqlite:///{tmp_path}/loop.db"
    made = engine(database)
    migrate(made)
    attributes = {"id": "7", "source": "/test", "type": "test"}
    letter = DeadLetter(LETTER, "/test", "7", "test", "http://collect/", 400, "it makes no sense", attributes, b"{}")
    with transaction(made) as connection:
        letters.record(connection, letter, time.time())
    made.dispose()
    settings = {
        "MCQA_DATABASE_URL": database, "MCQA_UI_LOGIN": "oidc", "MCQA_UI_URL": url, "MCQA_UI_ACTIONS": "true",
        "MCQA_UI_OPERATORS": "ann@example.com", "MCQA_UI_SECRETS": str(tmp_path / "secrets.toml"),
    }  # fmt: skip
    return page_server(settings, port)


@pytest.fixture
def visit(address: str, provider: str, page_at: Any) -> Iterator[Callable[..., Page]]:
    """`visit("/loop")` opens the page at a path. What the provider's own pages load is theirs."""
    style = "https://cdn.jsdelivr.net/npm/@picocss/pico@2/css/pico.min.css"

    def opened(path: str = "") -> Page:
        page: Page = page_at(address + path)
        for theirs in (style, f"{provider}/favicon.ico"):
            page.route(theirs, lambda route: route.fulfill(body=""))
        return page

    yield opened
    page_at.faults[:] = [fault for fault in page_at.faults if fault != style]


def sign_in(page: Page, who: str) -> None:
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=who, exact=True).click()
    page.get_by_text("Signed in as").wait_for()


def test_nothing_is_shown_before_one_has_signed_in(visit: Callable[..., Page]) -> None:
    page = visit("/loop")
    page.get_by_role("button", name="Sign in").wait_for()
    assert page.get_by_role("link", name="Rollout").count() == 0
    assert page.get_by_role("heading").all_inner_texts() == ["coding-mcqa"]


def test_one_signs_in_and_out(visit: Callable[..., Page], address: str) -> None:
    page = visit()
    sign_in(page, "ann")
    assert page.get_by_text("Signed in as").inner_text() == "Signed in as Ann@example.com"
    page.goto(f"{address}/loop")  # the cookie is enough
    page.get_by_text("Signed in as Ann@example.com").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="End session").click()
    page.get_by_role("button", name="Sign in").wait_for()
    page.goto(f"{address}/loop")
    page.get_by_role("button", name="Sign in").wait_for()


def test_who_signed_in_is_who_acts(visit: Callable[..., Page], tmp_path: Path) -> None:
    page = visit()
    sign_in(page, "ann")
    page.goto(f"{page.url.rstrip('/')}/events?letter={LETTER}")
    page.get_by_role("button", name="Discard it").click()
    page.get_by_text("This is recorded as done by Ann@example.com.").wait_for()
    page.get_by_role("button", name="Yes, do it").click()
    page.get_by_text("Discarded.").wait_for()
    assert state(tmp_path) == "discarded"
    (log,) = tmp_path.glob("ui-*.log")
    assert "Ann@example.com" in log.read_text()


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("bob", "bob@example.com is not among the operators who may change what is served."),
        ("eve", "may change nothing: the sign-in has not verified the e-mail address."),
    ],
)
def test_others_may_look(visit: Callable[..., Page], tmp_path: Path, who: str, why: str) -> None:
    """Eve wrote Ann's address into her own profile."""
    page = visit()
    sign_in(page, who)
    page.goto(f"{page.url.rstrip('/')}/events?letter={LETTER}")
    page.get_by_text(why).wait_for()
    assert page.get_by_role("button", name="Discard it").is_disabled()
    assert page.get_by_role("button", name="Send it again").is_disabled()
    assert state(tmp_path) == "open"


def state(folder: Path) -> str:
    """Of the dead letter."""
    made = engine(f"sqlite:///{folder}/loop.db")
    try:
        with transaction(made) as connection:
            (row,) = letters.letters(connection, None)
            return str(row.state)
    finally:
        made.dispose()
