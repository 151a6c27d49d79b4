"""Streamlit's server with our settings: nothing is sent to anybody, and a browser may load nothing from elsewhere."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from common.errors import SettingError
from ui import theme
from ui.language import LANGUAGES
from ui.pages import NAMES, UNKNOWN
from ui.settings import UiSettings, allowed_hosts

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SCRIPT = Path(__file__).parent / "entry/app.py"
"""In a folder of its own: Streamlit would take the folder `pages` next to it for pages of its older kind."""
SECRETS = "MCQA_UI_SECRETS"
"""The file with Streamlit's table `[auth]`: what the sign-in needs."""

# Streamlit's own code makes functions from text (Vega) and sets styles; nothing may come from another address.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval' 'unsafe-inline' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
ADDRESSES = "window.__streamlit = {BACKEND_BASE_URL: location.origin, MAIN_PAGE_BASE_URL: location.origin}"
_MOST_OF_A_PATH = 200
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
}


class FirstDocument:
    """Streamlit's HTML, told where its server is: on `/loop` its script would look below `/loop/` first.

    Each page's own address would otherwise make two errors in the browser's console and cost two more requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._html = _first_document()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if ours and scope["path"].strip("/") in ("", *NAMES):
            response = self._redirect(scope) or HTMLResponse(self._html, headers={"cache-control": "no-cache"})
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    @staticmethod
    def _redirect(scope: Scope) -> Response | None:
        """Streamlit knows the first page by the empty path alone, and the others without a slash at the end."""
        name = scope["path"].strip("/")
        path = "/" if name in ("", NAMES[0]) else f"/{name}"
        if path == scope["path"]:
            return None
        query = scope["query_string"].decode("latin-1")
        return RedirectResponse(f"{path}?{query}" if query else path)


def _first_document() -> str:
    html = (Path(st.__file__).parent / "static/index.html").read_text("utf-8")
    before, script, after = html.partition("<script>")
    if not script:
        raise RuntimeError("Streamlit's index.html has no inline script any more: see FirstDocument")
    return f"{before}<script>{ADDRESSES}</script>\n    {script}{after}".replace(
        "<title>Streamlit<", "<title>coding-mcqa<"
    )


class UnknownPaths:
    """Answers for an address that is not a page: a browser is sent to the first page, which says so, others get 404.

    Streamlit would serve its HTML with 200, and then a dialog about a folder of scripts.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        replaced = False

        async def without_html(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                html = Headers(raw=message["headers"]).get("content-type", "").startswith("text/html")
                replaced = html and message["status"] == 200
                if replaced:
                    await self._nowhere(scope)(scope, receive, send)
            if not replaced:
                await send(message)

        await self._app(scope, receive, without_html)

    @staticmethod
    def _nowhere(scope: Scope) -> Response:
        path = scope["path"][:_MOST_OF_A_PATH]
        if "text/html" not in Headers(scope=scope).get("accept", ""):
            return PlainTextResponse(f"there is no page {path}\n", 404)
        language = QueryParams(scope["query_string"]).get("lang", "")
        query = {UNKNOWN: path, **({"lang": language} if language in LANGUAGES else {})}
        return RedirectResponse(f"/?{urlencode(query, errors='replace')}", 303)


class OwnPagesOnly:
    """Refuses a websocket that another site's page opens.

    Streamlit refuses it, too, but not before it has asked a server on the Internet what this machine's address is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != headers.get("host"):
                await send({"type": "websocket.close", "code": 1008})  # before it is accepted: 403
                return
        await self._app(scope, receive, send)


class SecurityHeaders:
    """Adds HEADERS to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def serve(settings: UiSettings, host: str, port: int) -> None:
    """SettingError where the sign-in would lead elsewhere than to this page."""
    require_sign_in(settings, os.environ.get(SECRETS, ""))
    layers = (OwnPagesOnly, SecurityHeaders, FirstDocument, UnknownPaths)
    app = st.App(SCRIPT, middleware=[Middleware(layer) for layer in layers])
    print(f"ui: http://{host}:{port}", flush=True)
    app.run(config=configuration(settings, host, port))


def require_sign_in(settings: UiSettings, secrets: str) -> None:
    if settings.login != "oidc":
        return
    if not secrets:
        raise SettingError(f"MCQA_UI_LOGIN=oidc needs {SECRETS}: the file with the table [auth]")
    try:
        table = tomllib.loads(Path(secrets).read_text("utf-8"))["auth"]
        redirect = str(table["redirect_uri"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise SettingError(f"{SECRETS}: {secrets} has no usable [auth].redirect_uri ({error})") from None
    if redirect != f"{settings.url}/oauth2callback":
        raise SettingError(f"[auth].redirect_uri must be {settings.url}/oauth2callback, found {redirect[:200]}")


def configuration(settings: UiSettings, host: str, port: int) -> dict[str, Any]:
    """Streamlit's options by name."""
    secrets = {"secrets.files": [path]} if (path := os.environ.get(SECRETS, "")) else {}
    return {
        "server.address": host,
        "server.port": port,
        "server.headless": True,
        "server.allowedHosts": allowed_hosts(settings),
        "server.fileWatcherType": "none",
        "server.maxUploadSize": 1,
        "server.enableStaticServing": False,
        "server.disconnectedSessionTTL": 60,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        "runner.magicEnabled": False,
        "runner.postScriptGC": False,  # a full collection after every update of every part: most of what they cost
        "logger.hideWelcomeMessage": True,  # on 0.0.0.0 it asks a server on the Internet for our address
        **theme.OPTIONS,
        **secrets,
    }
