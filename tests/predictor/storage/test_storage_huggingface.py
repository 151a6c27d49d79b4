"""Models of the Hub: huggingface_hub itself against a local server that speaks the endpoints it uses.

Every case runs in a process of its own, because that library reads HF_HOME and HF_ENDPOINT when it is imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.usefixtures("processes")

ROOT = Path(__file__).parents[3]
REPO = "owner/tiny"
COMMIT = "a" * 40
URI = f"hf://{REPO}"
WEIGHTS = os.urandom(3_000_000)
FILES = {
    "config.json": b'{"model_type": "qwen2"}',
    "tokenizer.json": b"{}",
    "merges.txt": b"a b",
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"a pickle" * 1000,
    "training_args.pt": b"a pickle",
    "modeling_tiny.py": b"print('run me')",
    "onnx/model.safetensors": b"another format",
    "onnx/config.json": b"{}",
    "README.md": b"# tiny",
}


class FakeHub(ThreadingHTTPServer):
    """One repository. Large files redirect to `cdn`, as the Hub's do; `cut` breaks their connection once after so many
    bytes, `hold` stops them there until `release` is set."""

    daemon_threads = True

    def __init__(self, cdn: FakeHub | None = None) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files = dict(FILES)
        self.cdn = cdn
        self.cut = self.hold = 0
        self.corrupt = False
        self.release = Event()
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def seen(self, ending: str) -> list[dict[str, str]]:
        """The headers of every GET whose path ends so."""
        return [headers for method, path, headers in self.requests if method == "GET" and path.endswith(ending)]


class HubHandler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, path, {k.lower(): v for k, v in self.headers.items()}))
        api = f"/api/models/{REPO}"
        if path == "/api/models/owner/gated":
            return self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        if path.startswith(f"{api}/revision/") and path.rpartition("/")[2] not in ("main", "v1", COMMIT):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        if path == api or path.startswith(f"{api}/revision/"):
            siblings = [{"rfilename": name, **self._facts(name)} for name in self.server.files]
            return self._json({"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": siblings})
        if path == f"{api}/tree/{COMMIT}":
            entries = [{"type": "file", "path": n, **self._facts(n, tree=True)} for n in self.server.files]
            return self._json(entries)
        prefix = f"/{REPO}/resolve/{COMMIT}/"
        name = path.removeprefix(prefix)
        if path.startswith(prefix) and name in self.server.files:
            return self._file(name)
        return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _facts(self, name: str, tree: bool = False) -> dict[str, object]:
        body = self.server.files[name]
        oid = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
        facts: dict[str, object] = {"size": len(body), "oid" if tree else "blobId": oid}
        if len(body) > 1_000_000:
            sha = hashlib.sha256(body).hexdigest()
            facts["lfs"] = {"size": len(body), "pointerSize": 134, "oid" if tree else "sha256": sha}
        return facts

    def _file(self, name: str) -> None:
        body = self.server.files[name]
        large = len(body) > 1_000_000
        digest = hashlib.sha256(body).hexdigest() if large else hashlib.sha1(body).hexdigest()
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if large and self.server.cdn:
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(body))}
            return self._send(302, b"", {**headers, "Location": f"{self.server.cdn.url}{self.path}"})
        if self.server.corrupt and large:
            body = bytes(len(body))
        wanted = self.headers.get("range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return self._send(206 if wanted else 200, body[start:], headers, large)

    def _json(self, data: object) -> None:
        self._send(200, json.dumps(data).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str], large: bool = False) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if large and self.server.cut:
            body, self.server.cut, self.close_connection = body[: self.server.cut], 0, True
        if large and self.server.hold:
            self.wfile.write(body[: self.server.hold])
            self.server.release.wait(60)
            body = body[self.server.hold :]
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cdn(processes: None) -> Iterator[FakeHub]:
    yield from _serving(FakeHub())


@pytest.fixture
def hub(cdn: FakeHub, processes: None) -> Iterator[FakeHub]:
    yield from _serving(FakeHub(cdn))


def _serving(server: FakeHub) -> Iterator[FakeHub]:
    with server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def env(hub: FakeHub, tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    return {**kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_secret"}


CODE = """
import json, sys
from pathlib import Path
from predictor.storage.errors import StorageError
from predictor.storage.resolver import resolve
seen = []
try:
    folder = resolve(sys.argv[1], progress=lambda *a: seen.append(a))
    print(json.dumps({"folder": str(folder), "files": sorted(p.name for p in folder.iterdir()), "seen": seen}))
except StorageError as error:
    print(json.dumps({"error": str(error)}))
"""


def start(env: dict[str, str], uri: str = URI) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CODE, uri]
    return subprocess.Popen(command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(env: dict[str, str], uri: str = URI) -> dict:
    out, err = start(env, uri).communicate(timeout=120)
    assert out, err
    return json.loads(out)


def test_a_model_comes_without_pickles_code_and_other_formats(env: dict[str, str], hub: FakeHub, cdn: FakeHub) -> None:
    result = run(env)
    assert result["files"] == [
        "chat_template.jinja",
        "config.json",
        "merges.txt",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert (Path(result["folder"]) / "model.safetensors").read_bytes() == WEIGHTS
    for name in ("pytorch_model.bin", "training_args.pt", "modeling_tiny.py", "onnx/config.json"):
        assert not hub.seen(name)
    assert ["model.safetensors", len(WEIGHTS), len(WEIGHTS)] in result["seen"]
    small = sum(len(FILES[n]) for n in result["files"] if n != "model.safetensors")
    assert ["other files", small, small] in result["seen"]
    assert hub.seen("config.json")[-1]["authorization"] == "Bearer hf_secret"
    assert [h.get("authorization") for h in cdn.seen("model.safetensors")] == [None]


@pytest.mark.parametrize("uri", [URI, f"{URI}@v1", f"{URI}@{COMMIT}"])
def test_a_complete_cache_asks_nothing_of_the_network(env: dict[str, str], hub: FakeHub, uri: str) -> None:
    first = run(env, uri)
    before = len(hub.requests)
    assert run(env, uri)["folder"] == first["folder"]
    assert len(hub.requests) == before
    offline = {**env, "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:1"}
    assert run(offline, uri)["folder"] == first["folder"]


def test_a_broken_connection_resumes(env: dict[str, str], cdn: FakeHub) -> None:
    cdn.cut = 1_234_567
    result = run(env)
    assert (Path(result["folder"]) / "model.safetensors").read_bytes() == WEIGHTS
    assert [h.get("range") for h in cdn.seen("model.safetensors")] == [None, "bytes=1234567-"]


def test_a_process_killed_half_way_is_resumed(env: dict[str, str], cdn: FakeHub, tmp_path: Path) -> None:
    cdn.hold = 2_000_000
    process = start(env)
    deadline = time.monotonic() + 60
    while not any(p.stat().st_size > 1_900_000 for p in (tmp_path / "hf").rglob("*.resume.incomplete")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    stopped = next((tmp_path / "hf").rglob("*.resume.incomplete")).stat().st_size
    assert "not complete in" in run({**env, "HF_HUB_OFFLINE": "1"})["error"]
    cdn.hold = 0
    cdn.release.set()
    assert (Path(run(env)["folder"]) / "model.safetensors").read_bytes() == WEIGHTS
    assert cdn.seen("model.safetensors")[-1]["range"] == f"bytes={stopped}-"
    assert not list((tmp_path / "hf").rglob("*.incomplete"))


def test_a_half_finished_cache_is_completed(env: dict[str, str], hub: FakeHub) -> None:
    folder = Path(run(env)["folder"])
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json" in run(env)["files"]
    (folder / "model.safetensors").resolve().unlink()
    assert (Path(run(env)["folder"]) / "model.safetensors").read_bytes() == WEIGHTS


def test_two_processes_fetch_the_weights_once(env: dict[str, str], hub: FakeHub, cdn: FakeHub) -> None:
    cdn.hold = 1_000_000
    both = [start(env), start(env)]
    deadline = time.monotonic() + 60
    while len(hub.seen(f"/api/models/{REPO}")) < 2 or not cdn.seen("model.safetensors"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    cdn.release.set()
    results = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert results[0]["folder"] == results[1]["folder"]
    assert len(cdn.seen("model.safetensors")) == 1


def test_weights_that_are_not_the_repository_s_are_refused(env: dict[str, str], cdn: FakeHub, tmp_path: Path) -> None:
    cdn.corrupt = True
    assert "model.safetensors: its SHA-256 differs from the repository's" in run(env)["error"]
    assert not list((tmp_path / "hf").rglob("model.safetensors"))


def test_a_repository_of_pickles_only_is_refused_before_any_download(env: dict[str, str], hub: FakeHub) -> None:
    del hub.files["model.safetensors"], hub.files["onnx/model.safetensors"]
    error = run(env)["error"]
    assert error.startswith(f"{URI}: no safetensors in this repository")
    assert "pytorch_model.bin" in error
    assert not hub.seen("config.json")


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("hf://owner/nope", "no such model at http://127.0.0.1"),
        ("hf://owner/gated", "gated: accept its terms at"),
        (f"{URI}@nope", "no revision nope in this repository"),
        ("hf://owner/a--b", "Cannot have -- or .."),
    ],
)
def test_what_the_hub_refuses_is_explained_on_one_line(env: dict[str, str], uri: str, says: str) -> None:
    error = run(env, uri)["error"]
    assert error.startswith(f"{uri}: ")
    assert says in error
    assert "\n" not in error


def test_no_network_says_what_to_do(env: dict[str, str]) -> None:
    error = run({**env, "HF_ENDPOINT": "http://127.0.0.1:1"})["error"]
    assert "cannot reach http://127.0.0.1:1 (ConnectError" in error
    assert error.endswith("check the network, set HF_ENDPOINT to a mirror, or name a local folder")
    offline = run({**env, "HF_HUB_OFFLINE": "1"})["error"]
    assert offline.endswith("HF_HUB_OFFLINE is set: unset it, or name a local folder")


def test_fetch_puts_real_files_into_a_folder(env: dict[str, str], tmp_path: Path, cdn: FakeHub) -> None:
    dest = tmp_path / "models"
    command = [sys.executable, "-m", "predictor.storage", URI, str(dest)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stderr.splitlines()[-1])
    assert (line["message"], line["version"], line["files"]) == ("fetched", "tiny", 5)
    assert (dest / "model.safetensors").read_bytes() == WEIGHTS
    assert not any(p.is_symlink() for p in dest.iterdir())
    assert not (dest / ".fetch").exists()
    assert not (tmp_path / "hf" / "hub").exists()
