"""Downloads against a real HTTP server that misbehaves on order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx2
import pytest

from predictor.storage.download import download
from predictor.storage.errors import StorageError, TransientError
from predictor.storage.version_folder import Provenance, require_space

pytestmark = pytest.mark.usefixtures("processes")

BODY = os.urandom(3_000_000)


class Server(ThreadingHTTPServer):
    """Serves BODY; `script` holds one word a request, after which all goes well: cut, 503, ignore-range, other-size."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[str] = []
        self.ranges: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("range")
        self.server.ranges.append(wanted)
        act = self.server.script.pop(0) if self.server.script else ""
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and act != "ignore-range" else 0
        if act == "503":
            self.send_response(503)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if start >= len(BODY):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(BODY)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = BODY[start:]
        self.send_response(206 if start else 200)
        if start:
            total = len(BODY) + (act == "other-size")
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{total}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if act == "cut" else body)
        self.close_connection = act == "cut"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(processes: None) -> Iterator[Server]:
    with Server() as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server: Server, part: Path, size: int | None = len(BODY), attempts: int = 3) -> list[int]:
    """Downloads BODY; the byte counts that were reported."""
    seen: list[int] = []

    def stream(headers: dict[str, str]) -> AbstractContextManager[httpx2.Response]:
        return Checked(f"http://127.0.0.1:{server.server_port}/", headers)

    download(stream, part, size, name="x", report=seen.append, errors=httpx2.TransportError, attempts=attempts)
    return seen


class Checked(AbstractContextManager[httpx2.Response]):
    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._stream = httpx2.stream("GET", url, headers=headers, trust_env=False)

    def __enter__(self) -> httpx2.Response:
        response = self._stream.__enter__()
        if response.status_code == 503:
            self._stream.__exit__(None, None, None)
            raise TransientError("503", float(response.headers["retry-after"]))
        return response

    def __exit__(self, *exc: object) -> None:
        self._stream.__exit__(*exc)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [len(BODY), None])
def test_a_whole_file_in_one_go(server: Server, tmp_path: Path, size: int | None) -> None:
    seen = get(server, tmp_path / "p", size)
    assert (tmp_path / "p").read_bytes() == BODY
    assert seen[0] == 0
    assert seen[-1] == len(BODY)
    assert seen == sorted(seen)


@pytest.mark.parametrize("size", [len(BODY), None])
def test_a_cut_connection_goes_on_where_it_stopped(server: Server, tmp_path: Path, size: int | None) -> None:
    server.script = ["503", "cut", "cut"]
    get(server, tmp_path / "p", size)
    assert (tmp_path / "p").read_bytes() == BODY
    assert server.ranges == [None, None, "bytes=1500000-", "bytes=2250000-"]


def test_attempts_that_bring_bytes_do_not_count(server: Server, tmp_path: Path) -> None:
    server.script = ["cut", "cut", "cut"]
    get(server, tmp_path / "p", attempts=2)
    assert (tmp_path / "p").read_bytes() == BODY


def test_a_part_of_an_earlier_process_is_completed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(BODY[:1_000_001])
    assert get(server, tmp_path / "p")[0] == 1_000_001
    assert (tmp_path / "p").read_bytes() == BODY
    assert server.ranges == ["bytes=1000001-"]


def test_a_complete_part_asks_for_nothing(server: Server, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(BODY)
    assert get(server, tmp_path / "p") == [len(BODY)]
    assert server.ranges == []


def test_a_complete_part_of_unknown_size_is_known_by_416(server: Server, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(BODY)
    get(server, tmp_path / "p", None)
    assert (tmp_path / "p").read_bytes() == BODY


@pytest.mark.parametrize("rubbish", [b"r" * 1000, b"r" * (len(BODY) + 5)])
def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path, rubbish: bytes) -> None:
    (tmp_path / "p").write_bytes(rubbish)
    server.script = ["ignore-range"]
    get(server, tmp_path / "p")
    assert (tmp_path / "p").read_bytes() == BODY


def test_a_file_that_changed_meanwhile_starts_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"r" * 1000)
    server.script = ["other-size"]
    get(server, tmp_path / "p")
    assert (tmp_path / "p").read_bytes() == BODY


def test_a_file_longer_than_listed_is_an_error(server: Server, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="longer than the 1,000 bytes"):
        get(server, tmp_path / "p", 1000)


def test_a_file_shorter_than_listed_is_an_error_at_last(server: Server, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="gave up after 2 attempts"):
        get(server, tmp_path / "p", len(BODY) + 10, attempts=2)


def test_a_server_that_stays_unwell_is_an_error(server: Server, tmp_path: Path) -> None:
    server.script = ["503"] * 9
    with pytest.raises(StorageError, match="503; gave up after 3 attempts"):
        get(server, tmp_path / "p")
    assert len(server.ranges) == 3


def test_an_empty_file(tmp_path: Path, server: Server) -> None:
    (tmp_path / "p").touch()
    assert get(server, tmp_path / "p", 0) == [0]


def test_a_record_knows_whether_its_files_are_whole(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    record = Provenance("mlflow://x/1", "1", "there", {"a.json": 2})
    record.write(tmp_path)
    assert Provenance.read(tmp_path) == record
    assert record.matches(tmp_path)
    (tmp_path / "a.json").write_text("{")
    assert not record.matches(tmp_path)
    (tmp_path / "source.json").write_text('{"source": "x", "files": []}')
    assert Provenance.read(tmp_path) is None


def test_a_full_disk_is_seen_before_the_download(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"model: needs 1000000\.0 GB"):
        require_space(tmp_path, 10**15, "model")
