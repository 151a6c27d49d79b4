"""Which loop the verbs speak to: the platform on this machine, or whatever the environment names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from local.platform.settings import FOLDER, HOST, Folder
from local.tokens import TokenError, read
from mcqa.errors import CommandError

if TYPE_CHECKING:
    import httpx

FOLDER_VARIABLE = "MCQA_LOCAL_DIR"


def folder(path: Path | None = None) -> Folder:
    """The platform's folder: `path`, else MCQA_LOCAL_DIR, else `.local` of the checkout."""
    return Folder(path or Path(os.environ.get(FOLDER_VARIABLE) or FOLDER))


def environ(path: Path | None = None) -> dict[str, str]:
    """The variables by which the loop's parts find each other (K_SINK, MLFLOW_TRACKING_URI, MCQA_DATABASE_URL, …).

    Those of the local platform in the folder `path` where it is given. Else the process's own where MCQA_DATABASE_URL
    is set there, or the local platform's; CommandError without any.
    """
    if path is None and os.environ.get("MCQA_DATABASE_URL"):
        return dict(os.environ)
    place = folder(path).environment
    if not place.exists():
        raise CommandError(
            f"there is no loop here: start one with `mcqa up`, or set MCQA_DATABASE_URL, MLFLOW_TRACKING_URI and "
            f"K_SINK to reach another (looked for {place})"
        )
    found: dict[str, str] = json.loads(place.read_text())
    return {**os.environ, **found}


def token(path: Path) -> str:
    """What a server of the loop asks for; CommandError where it is not ours to read."""
    try:
        return read(path)
    except TokenError as error:
        raise CommandError(str(error)) from None


def broker(folder: Folder, timeout: float = 10.0) -> httpx.Client:
    """A client of the loop's broker, let in by its token."""
    return _client(folder.settings().ports.broker, token(folder.broker_token), timeout)


def pipelines(folder: Folder, timeout: float = 10.0) -> httpx.Client:
    """A client of the loop's pipelines' API, let in by its token."""
    return _client(folder.settings().ports.pipelines, token(folder.pipelines_token), timeout)


def pipelines_link(folder: Folder) -> str:
    """What to open in a browser: it is let in, and remembers it."""
    from local.loopback import link

    return link(f"http://{HOST}:{folder.settings().ports.pipelines}", token(folder.pipelines_token))


def _client(port: int, token: str, timeout: float) -> httpx.Client:
    import httpx

    return httpx.Client(
        base_url=f"http://{HOST}:{port}", headers={"Authorization": f"Bearer {token}"}, timeout=timeout, trust_env=False
    )
