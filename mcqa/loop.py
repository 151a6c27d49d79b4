"""The loop of a folder on this machine: whether it runs, what it is called, and clients of its servers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from local.platform.settings import FOLDER, HOST, ROOT, Folder
from local.tokens import TokenError, read_token
from mcqa.addresses import FOLDER_VARIABLE
from mcqa.errors import CommandError, LoopNotRunningError
from mcqa.paths import displayed

if TYPE_CHECKING:
    import httpx2

DEMO_FOLDER = ROOT / ".local-demo"
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        help="The loop's folder.",
        show_default=f"{FOLDER_VARIABLE}, or .local of the checkout",
        file_okay=False,
    ),
]


def folder(path: Path | None = None) -> Folder:
    """The platform's folder: `path`, else MCQA_LOCAL_DIR, else `.local` of the checkout."""
    selected = path or Path(os.environ.get(FOLDER_VARIABLE) or FOLDER)
    return Folder(selected.expanduser().absolute())


def name(folder: Folder) -> str:
    """A loop as messages name it."""
    return f"the loop in {displayed(folder.path)}"


def dir_flag(folder: Folder) -> str:
    """The flag by which a command means this loop, with a space before it; empty for the checkout's own."""
    return "" if folder.path == FOLDER else f" --dir {displayed(folder.path)}"


def require_running(folder: Folder) -> Folder:
    """LoopNotRunningError when the loop of this folder is not running; it mentions the demo's where that one is."""
    if folder.running():
        require_not_moved(folder)
        return folder
    demo = Folder(DEMO_FOLDER)
    other = ""
    if folder.path == FOLDER and demo.running():
        other = f"; the demo's loop is running: --dir {displayed(demo.path)}"
    raise LoopNotRunningError(f"{name(folder)} is not running: start it with `mcqa up{dir_flag(folder)}`{other}")


def require_not_moved(folder: Folder) -> None:
    """CommandError when the folder's loop was started elsewhere: its processes still write to the old place."""
    try:
        started_in = json.loads(folder.status.read_text()).get("folder")
    except (OSError, ValueError):
        return
    if started_in and Path(started_in).resolve() != folder.path.resolve():
        flag = dir_flag(folder)
        raise CommandError(
            f"{name(folder)} was moved here from {started_in} while running: `mcqa down{flag}`, then `mcqa up{flag}`"
        )


def token(path: Path) -> str:
    """What a server of the loop asks for; CommandError where we may not read it."""
    try:
        return read_token(path)
    except TokenError as error:
        raise CommandError(str(error)) from None


def broker(folder: Folder, timeout: float = 10.0) -> httpx2.Client:
    """A client of the loop's broker, with its token."""
    return _client(folder.settings().ports.broker, token(folder.broker_token), timeout)


def pipelines(folder: Folder, timeout: float = 10.0) -> httpx2.Client:
    """A client of the loop's pipelines API, with its token."""
    return _client(folder.settings().ports.pipelines, token(folder.pipelines_token), timeout)


def pipelines_link(folder: Folder) -> str:
    """A link to open in a browser: it carries the token, which the browser then remembers."""
    from local.access_middleware import login_link

    return login_link(f"http://{HOST}:{folder.settings().ports.pipelines}", token(folder.pipelines_token))


def _client(port: int, token: str, timeout: float) -> httpx2.Client:
    import httpx2

    return httpx2.Client(
        base_url=f"http://{HOST}:{port}", headers={"Authorization": f"Bearer {token}"}, timeout=timeout, trust_env=False
    )
