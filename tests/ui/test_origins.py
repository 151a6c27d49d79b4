"""Whose browser pages may open the page's websocket, and that nothing outside is asked for it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

pytestmark = pytest.mark.usefixtures("processes")


def answer(address: str, *, host: str = "", origin: str | None = None) -> int:
    """The status of the attempt: 101 where the websocket opens."""
    place = address.removeprefix("http://")
    headers = {"Origin": origin} if origin is not None else {}
    with socket.create_connection(("127.0.0.1", int(place.rpartition(":")[2])), 10) as connection:
        try:
            with connect(f"ws://{host or place}/_stcore/stream", sock=connection, additional_headers=headers):
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code


def test_only_its_own_pages_open_it(page_server: Callable[[Mapping[str, str]], str], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "def look(event, arguments):\n"
        "    if event == 'socket.connect' and arguments[1][0] not in ('127.0.0.1', '::1'):\n"
        "        print('OUTSIDE', arguments[1], file=sys.stderr, flush=True)\n"
        "sys.addaudithook(look)\n"
    )
    environ = {"MCQA_UI_URL": "https://ui.example.com", "MCQA_ALLOWED_HOSTS": "box.lan", "PYTHONPATH": str(tmp_path)}
    address = page_server(environ)
    for host in ("", "ui.example.com", "box.lan:8501", "localhost"):
        own = f"https://{host or address.removeprefix('http://')}"
        assert answer(address, host=host, origin=own) == 101, host
        for origin in ("https://evil.example", "http://127.0.0.1:1", "null", "https://ui.example.com.evil.example"):
            assert answer(address, host=host, origin=origin) == 403, (host, origin)
    assert answer(address) == 101  # no browser
    assert answer(address, host="evil.example", origin="https://evil.example") == 403  # its name leads to 127.0.0.1
    (log,) = tmp_path.glob("ui-*.log")
    assert "OUTSIDE" not in log.read_text()
