"""The MLflow server's image as production has it: PostgreSQL, artifacts in S3, signed webhooks; and its page."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx2
import pytest
from function_server import free_port, postgresql
from images_run import NEEDED, mlflow, register, run

from functions.rollout.webhook import signature

pytestmark = NEEDED
SECRET = "of the test"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def s3() -> Iterator[str]:
    """An S3-compatible store (moto) with the bucket `coding-mcqa`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    nothing = subprocess.DEVNULL
    server = subprocess.Popen(["moto_server", "-H", "127.0.0.1", "-p", str(port)], stdout=nothing, stderr=nothing)
    try:
        for _ in range(300):
            try:
                assert httpx2.put(f"{url}/coding-mcqa", timeout=10).status_code == 200
                break
            except httpx2.TransportError:
                assert server.poll() is None, "moto_server has ended"
                time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait(20)


@contextmanager
def listener() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """What was POSTed to the URL: headers and body."""
    got: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(202)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mlflow", got
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.skipif(not shutil.which("moto_server"), reason="needs moto_server (pip install 'moto[server]')")
def test_postgresql_s3_and_a_signed_webhook(built: None, tmp_path: Path) -> None:
    try:
        database = postgresql()
        with database as address, s3() as store, listener() as (target, got):
            env = {
                "MLFLOW_BACKEND_STORE_URI": address.replace("postgresql://", "postgresql+psycopg://"),
                "MLFLOW_ARTIFACTS_DESTINATION": "s3://coding-mcqa/mlflow",
                "MLFLOW_S3_ENDPOINT_URL": store,
                **KEYS,
            }
            with mlflow(tmp_path, env) as url:
                register(url, webhook=target, secret=SECRET)
                kept = re.findall(r"<Key>(.*?)</Key>", httpx2.get(f"{store}/coding-mcqa", timeout=10).text)
                assert any(key.startswith("mlflow/") and key.endswith("/model.safetensors") for key in kept), kept
                assert not list(tmp_path.iterdir()), "something is on the volume"
                fetch = ("python", "-m", "predictor.storage", "mlflow://coding-mcqa/1", "/tmp/model")
                run("predictor", *fetch, env={"MLFLOW_TRACKING_URI": url})
                for _ in range(150):
                    if any(b"champion" in body for _, body in got):
                        break
                    time.sleep(0.1)
            assert any(b"champion" in body for _, body in got), got
            for headers, body in got:
                sent = signature(SECRET, headers["x-mlflow-delivery-id"], headers["x-mlflow-timestamp"], body)
                assert headers["x-mlflow-signature"] == sent
    except LookupError as missing:
        pytest.skip(str(missing))


def test_the_page_and_what_it_loads(registry: str) -> None:
    page = httpx2.get(f"{registry}/", timeout=30)
    assert page.status_code == 200
    scripts = re.findall(r'(?:src|href)="(static-files/[^"]+\.(?:js|css))"', page.text)
    assert scripts
    for script in scripts:
        assert httpx2.get(f"{registry}/{script}", timeout=30).status_code == 200, script
