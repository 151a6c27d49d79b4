"""The frame in a real browser, and its parts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx2
import pytest

from common.errors import SettingError
from ui import actions, facts, server
from ui.pages import NAMES
from ui.settings import UiSettings, allowed_hosts, read_settings


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"MCQA_UI_LOGIN": "basic"}, "MCQA_UI_LOGIN must be one of none, oidc, found 'basic'"),
        ({"MCQA_UI_LOGIN": "oidc"}, "MCQA_UI_LOGIN=oidc needs MCQA_UI_URL"),
        ({"MCQA_UI_URL": "loop.example"}, "MCQA_UI_URL must be an http or https address"),
        ({"MCQA_UI_ACTIONS": "perhaps"}, "MCQA_UI_ACTIONS must be true or false"),
    ],
)
def test_wrong_settings(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        read_settings(environ)


@pytest.mark.parametrize(
    ("secrets", "message"),
    [
        (None, "needs MCQA_UI_SECRETS"),
        ("", "has no usable"),
        ("[auth]\nclient_id = 'x'", "has no usable"),
        ("[auth]\nredirect_uri = 'https://evil.example/oauth2callback'", "must be https://loop.example/oauth2callback"),
    ],
)
def test_a_sign_in_that_leads_elsewhere_is_refused(tmp_path: Path, secrets: str | None, message: str) -> None:
    file = tmp_path / "secrets.toml"
    if secrets is not None:
        file.write_text(secrets)
    with pytest.raises(SettingError, match=message):
        server.require_sign_in(
            UiSettings(login="oidc", url="https://loop.example"), "" if secrets is None else str(file)
        )


def test_settings() -> None:
    settings = read_settings(
        {
            "MCQA_UI_ACTIONS": "on",
            "MCQA_UI_OPERATORS": "Ann@x.org, bob@x.org,",
            "MCQA_UI_URL": "https://loop.example:8/",
        }
    )
    assert settings == UiSettings(True, "none", frozenset({"ann@x.org", "bob@x.org"}), "https://loop.example:8", ())
    assert "loop.example" in allowed_hosts(settings)


def test_a_read_serves_all_and_an_error_is_kept_as_well() -> None:
    calls: list[int] = []

    def reader(value: int) -> int:
        calls.append(value)
        if value < 0:
            raise ValueError("below\n zero")
        return value

    assert [facts.read(reader, 1).value, facts.read(reader, 1).value, calls] == [1, 1, [1]]
    assert [facts.read(reader, -1).error, facts.read(reader, -1).value, calls] == ["below zero", None, [1, -1]]
    facts.forget()
    assert (facts.read(reader, 1).value, calls) == (1, [1, -1, 1])
    assert facts.read(reader, 1, seconds=0).ok


@pytest.fixture
def address(page_server: Any) -> str:
    return str(page_server({"MCQA_DATABASE_URL": "sqlite:////proc/nowhere/loop.db"}))


def test_every_page_opens_by_its_address_although_nothing_answers(address: str, page_at: Any) -> None:
    for name in NAMES:
        page = page_at(f"{address}/{name}")
        assert page.get_by_role("heading", level=1).count() == 1
        assert not page.locator("[data-testid=stException]").count()


def test_the_language_goes_along_with_the_address(address: str, page_at: Any) -> None:
    page = page_at(f"{address}/events", locale="vi-VN")
    page.get_by_role("heading", name="Sự kiện", level=1).wait_for()
    assert page.evaluate("document.documentElement.lang") == "vi"
    page = page_at(f"{address}/events?lang=en", locale="vi-VN")
    page.get_by_role("heading", name="Events", level=1).wait_for()


def test_a_page_whose_server_is_gone_says_so(page_server: Any, page_at: Any) -> None:
    url = page_server()
    page = page_at(f"{url}/events")
    page.locator(".mcqa-freshness").wait_for()
    (process,) = page_server.processes
    process.kill()
    page.get_by_role("alert").get_by_text("Not updated since").wait_for(timeout=40_000)
    page_at.faults.clear()  # the browser's own reports of refused connections
    page_server({}, port=int(url.rpartition(":")[2]))
    page.wait_for_function("!document.body.classList.contains('mcqa-stale')", timeout=60_000)
    page_at.faults.clear()


def test_what_one_comes_back_to_after_the_machine_slept_is_stale_at_once(address: str, page_at: Any) -> None:
    page = page_at(f"{address}/events")
    page.locator(".mcqa-freshness").wait_for()
    assert page.evaluate("""() => {
        const now = Date.now;
        Date.now = () => now() + 3600000;
        document.dispatchEvent(new Event("visibilitychange"));
        return document.body.classList.contains("mcqa-stale");
    }""")
    page.wait_for_function("!document.body.classList.contains('mcqa-stale')", timeout=30_000)


def test_every_answer_has_the_headers_that_keep_others_out(address: str) -> None:
    for path in ("/", "/loop", "/_stcore/health", "/nothing"):
        headers = httpx2.get(address + path).headers
        assert {name: headers.get(name) for name in server.HEADERS} == server.HEADERS


ODD = (
    "/nothing",
    "/ask/x",
    "/LOOP",
    "/%ff",
    "/%3Cb%3E",
    "/.env",
    "/static/nothing.js",
    "/index.html",
    "/" + "a" * 3000,
)


def test_a_slash_at_the_end_leads_to_the_page(address: str) -> None:
    for path, leads_to in (("/loop/?lang=vi", "/loop?lang=vi"), ("//versions//", "/versions"), ("/ask/", "/")):
        sent = httpx2.get(address + path, follow_redirects=False)
        assert (sent.status_code, sent.headers["location"]) == (307, leads_to), path


def test_an_address_that_is_no_page_leads_to_the_first_which_says_so(address: str, page_at: Any) -> None:
    for path in ODD:
        assert httpx2.get(address + path).status_code == 404, path
        sent = httpx2.get(f"{address}{path}?lang=vi", headers={"accept": "text/html,*/*"}, follow_redirects=False)
        assert sent.status_code == 303, path
        assert sent.headers["location"].startswith("/?unknown=%2F"), path
        assert sent.headers["location"].endswith("&lang=vi"), path
    for path in ("/%00", "//evil.example", "/..%2f..%2fetc/passwd", "/media/x", "/%0d%0aX:1"):
        assert 400 <= httpx2.get(address + path, follow_redirects=False).status_code < 500, path
    page = page_at(f"{address}/<b>nothing")
    page.get_by_text("There is no page /<b>nothing here.").wait_for()
    page.get_by_role("heading", name="Ask", level=1).wait_for()
    page.get_by_role("link", name="Loop").first.click()
    page.get_by_role("heading", name="Loop", level=1).wait_for()
    page.get_by_text("There is no page").wait_for(state="detached")


@pytest.mark.parametrize("name", ["evil.example", "localhost.evil.example"])
def test_a_page_of_a_strange_name_gets_no_session(address: str, name: str) -> None:
    """DNS rebinding: the browser would take our port for that site's."""
    port = address.rpartition(":")[2]
    upgrade = {
        "connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    for host, origin, status in (
        (f"localhost:{port}", f"http://localhost:{port}", 101),
        (f"{name}:{port}", f"http://{name}:{port}", 403),
        (f"localhost:{port}", f"http://{name}", 403),
    ):
        with httpx2.stream(
            "GET", f"{address}/_stcore/stream", headers={**upgrade, "host": host, "origin": origin}
        ) as response:
            assert response.status_code == status, (host, origin)


def test_actions_without_a_login_are_for_loopback_only() -> None:
    import typer
    from typer.testing import CliRunner

    from ui.__main__ import main

    app = typer.Typer()
    app.command()(main)
    done = CliRunner().invoke(app, ["--host", "0.0.0.0"], env={"MCQA_UI_ACTIONS": "1"})
    assert done.exit_code == 2
    assert "set MCQA_UI_LOGIN=oidc" in done.stderr
    assert "MCQA_UI_ACTIONS" not in os.environ


def test_links_of_ours_never_leave_the_site(page_server: Any, page_at: Any) -> None:
    """Addresses that a browser reads as another host although they begin with one slash."""
    from ui.elements.component import FOLDER

    page = page_at(page_server())
    script = (FOLDER / "view.js").read_text("utf-8").replace("export default function", "window.mcqaView = function")
    page.evaluate(f"(() => {{ {script}; window.made = window.mcqaView; }})()")
    for href in ("/.//evil.example", "/\\evil.example", "/x/..//evil.example", "//evil.example", "javascript:alert(1)"):
        found = page.evaluate(
            """(href) => {
                const parent = document.createElement("div");
                window.made({ data: { lang: "en", node: { t: "p", parts: [{ k: "link", text: "x", href }] } },
                                  parentElement: parent });
                const link = parent.querySelector("a");
                return link ? new URL(link.href).origin : null;
            }""",
            href,
        )
        assert found in (None, page.evaluate("location.origin")), href


@pytest.mark.parametrize(
    ("user", "operators", "may"),
    [
        ({"email": "Ann@x.org", "email_verified": True, "sub": "1"}, "ann@x.org", True),
        ({"email": "ann@x.org", "sub": "1"}, "ann@x.org", False),
        ({"email": "ann@x.org", "email_verified": False, "sub": "1"}, "ann@x.org", False),
        ({"email": "\u212aate@x.org", "email_verified": True, "sub": "1"}, "kate@x.org", False),
        ({"sub": "ann@x.org"}, "ann@x.org", False),
        ({"sub": "1"}, "sub:1", True),
        ({"sub": "1"}, "*", True),
        ({}, "*", False),
    ],
)
def test_who_is_an_operator(user: dict[str, Any], operators: str, may: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlit.user", user)
    monkeypatch.setattr(actions, "t", lambda key, **params: key)
    settings = read_settings(
        {
            "MCQA_UI_ACTIONS": "1",
            "MCQA_UI_LOGIN": "oidc",
            "MCQA_UI_URL": "https://x.org",
            "MCQA_UI_OPERATORS": operators,
        }
    )
    assert (actions.operator(settings).refusal == "") is may


def test_actions_with_a_sign_in_need_a_list_of_operators() -> None:
    with pytest.raises(SettingError, match="needs MCQA_UI_OPERATORS"):
        read_settings({"MCQA_UI_ACTIONS": "1", "MCQA_UI_LOGIN": "oidc", "MCQA_UI_URL": "https://x.org"})
