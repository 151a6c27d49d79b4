"""`python -m ui`: serves the page. Loopback only, unless a login guards it or nothing can be changed from it."""

from __future__ import annotations

import ipaddress
import logging
import os
import sys
from typing import Annotated

import typer

from common.errors import SettingError
from ui.settings import UiSettings, read_settings


def main(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8501,
) -> None:
    """Serve the page until it is ended."""
    try:
        settings = read_settings(os.environ)
        _require_guard(settings, host)
        _log_to_stderr()
        from ui.server import serve

        serve(settings, host, port)
    except SettingError as error:
        print(f"ui: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


def _log_to_stderr() -> None:
    """Who did what on the page, and which part could not be read."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    for talkative in ("httpx2", "httpx", "alembic"):
        logging.getLogger(talkative).setLevel(logging.WARNING)


def _require_guard(settings: UiSettings, host: str) -> None:
    if settings.actions and settings.login == "none" and not _is_loopback(host):
        raise SettingError(
            f"MCQA_UI_ACTIONS with MCQA_UI_LOGIN=none on {host}: anybody who reaches the page could change what is "
            "served; set MCQA_UI_LOGIN=oidc, or listen on 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    typer.run(main)
