"""A static build of Kubeflow Pipelines' UI (its `frontend/build`), served as it is, on the API's own origin."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from local.pipelines.routing import plain, route

_INLINE = re.compile(r"<script(?P<attributes>[^>]*)>(?P<code>.*?)</script>", re.DOTALL | re.IGNORECASE)


class UiFolderError(ValueError):
    """A folder that holds no build of the UI; one line for people."""


def check_folder(folder: Path) -> Path:
    """The folder, if it has a build of the UI; UiFolderError."""
    found = folder.expanduser().resolve()
    if not (found / "index.html").is_file() or not (found / "static").is_dir():
        raise UiFolderError(
            f"{folder} has no build of Kubeflow Pipelines' UI, which has index.html and static/; "
            "docs/kubeflow-ui.md says how to get one"
        )
    return found


def routes(folder: Path) -> list[BaseRoute]:
    """`/` and `/static/…`. Everything else is the API's."""
    index = folder / "index.html"

    async def page(_: Request) -> Any:
        headers = {
            "Content-Security-Policy": policy(index.read_text(encoding="utf-8")),
            "Cache-Control": "no-cache",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
        }
        return FileResponse(index, media_type="text/html; charset=utf-8", headers=headers)

    return [
        route("GET", "/", page),
        route("GET", "/index.html", page),
        Mount("/static", _Static(directory=folder / "static")),
        # The UI's editor asks for a checker of YAML and JSON, which its build does not have: it checks nothing.
        route("GET", "/worker-{language}.js", plain(lambda _: Response("", media_type="text/javascript"))),
    ]


def policy(page: str) -> str:
    """What the page may load: its own scripts, those written in it, and nothing from anywhere else.

    A report that a step wrote is shown in a frame of the page, which inherits this: its scripts do not run, and it
    cannot load or send anything. 'unsafe-eval' is for google-protobuf's code in the build, which finds the global
    object with it.
    """
    inline = [found["code"] for found in _INLINE.finditer(page) if "src=" not in found["attributes"]]
    hashes = "".join(
        f" 'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'" for code in inline
    )
    return (
        f"default-src 'self'; script-src 'self' 'unsafe-eval'{hashes}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; "
        "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )


class _Static(StaticFiles):
    """Files whose names carry a hash of their content; StaticFiles refuses what is not below its directory."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
