"""`python -m pipelines.upload` against the local pipelines' API.

Without `from __future__ import annotations`, which kfp cannot read.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from kfp import compiler, dsl
from kfp.dsl.base_component import BaseComponent
from kfp_server import ENVIRON, HEADERS, ROOT, KfpServer, kfp_server

from pipelines.upload import UploadError, upload

pytestmark = pytest.mark.usefixtures("processes")


@dsl.component(base_image="python:3.11")
def greet() -> str:
    return "hello"


@dsl.pipeline(name="first")
def first_pipeline() -> None:
    greet()


@dsl.pipeline(name="second")
def second_pipeline() -> None:
    greet()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[KfpServer]:
    with kfp_server(tmp_path_factory.mktemp("upload")) as running:
        yield running


def compiled(pipeline: BaseComponent, path: Path) -> Path:
    compiler.Compiler().compile(pipeline, str(path))
    return path


def test_upload_is_idempotent(server: KfpServer, tmp_path: Path) -> None:
    environ = {"KFP_ENDPOINT": server.url, **ENVIRON}
    first, other = compiled(first_pipeline, tmp_path / "a.yaml"), compiled(second_pipeline, tmp_path / "b.yaml")
    version = upload(environ, "idempotent", first)
    assert upload(environ, "idempotent", first) == version
    newer = upload(environ, "idempotent", other)
    assert newer != version
    assert upload(environ, "idempotent", other) == newer
    second = upload(environ, "idempotent", first)  # back to the first file: the newest version must be this one
    assert second not in (version, newer)

    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(upload(environ, "at-once", first))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 1


def test_upload_as_a_command(server: KfpServer, tmp_path: Path) -> None:
    file = compiled(first_pipeline, tmp_path / "a.yaml")

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, "-m", "pipelines.upload", *arguments]
        return subprocess.run(
            call, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env=os.environ | ENVIRON
        )

    done = command(server.url, "by-command", str(file))
    assert done.returncode == 0, done.stderr
    query = {"sort_by": "created_at desc"}
    pipelines = httpx2.get(f"{server.url}/apis/v2beta1/pipelines", headers=HEADERS, params=query).json()["pipelines"]
    pipeline = next(item["pipeline_id"] for item in pipelines if item["display_name"] == "by-command")
    url = f"{server.url}/apis/v2beta1/pipelines/{pipeline}/versions"
    versions = httpx2.get(url, headers=HEADERS).json()["pipeline_versions"]
    assert [item["pipeline_version_id"] for item in versions] == [done.stdout.strip()]
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: 1")
    refused = command(server.url, "by-command", str(broken))
    assert refused.returncode == 1
    assert "pipeline_spec is not valid" in refused.stderr
    assert refused.stderr.count("\n") == 1
    with pytest.raises(UploadError, match="does not answer"):
        upload({"KFP_ENDPOINT": "http://127.0.0.1:9"}, "x", file)
