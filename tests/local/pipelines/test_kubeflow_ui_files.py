"""A static build of Kubeflow's UI, served on the API's own origin; and the real one, where a build is given."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from kfp_server import HEADERS, TOKEN, KfpServer, kfp_server

from benchmarks import kubeflow_ui, kubeflow_ui_pipeline
from local.pipelines.kubeflow_ui_files import UiFolderError, check_folder, policy

BUILD = os.environ.get("MCQA_KUBEFLOW_UI", "")
CHROMIUM = kubeflow_ui.CHROMIUM
PAGE = '<!doctype html><script>one()</script><script type="module" src="/static/x.js"></script><div id="root"></div>'


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files in the shape of a build, a secret beside them, and a link to it."""
    folder = tmp_path_factory.mktemp("ui")
    (folder / "secret").write_text("secret")
    (folder / "build" / "static").mkdir(parents=True)
    (folder / "build" / "index.html").write_text(PAGE)
    (folder / "build" / "static" / "x.js").write_text("1")
    (folder / "build" / "static" / "link").symlink_to(folder / "secret")
    return folder / "build"


@pytest.fixture(scope="module")
def ui_server(tmp_path_factory: pytest.TempPathFactory, build: Path, processes: None) -> Iterator[KfpServer]:
    with kfp_server(tmp_path_factory.mktemp("pipelines"), None, "--ui", str(build)) as running:
        yield running


def get(server: KfpServer, path: str) -> httpx2.Response:
    return httpx2.get(f"{server.url}{path}", headers=HEADERS, timeout=30)


def test_the_page_and_its_files_are_served_as_they_are(ui_server: KfpServer) -> None:
    for path in ("/", "/index.html"):
        page = get(ui_server, path)
        assert page.text == PAGE
        assert page.headers["content-security-policy"] == policy(PAGE)
        assert page.headers["cache-control"] == "no-cache"
    script = get(ui_server, "/static/x.js")
    assert (script.text, script.headers["x-content-type-options"]) == ("1", "nosniff")
    assert get(ui_server, "/worker-yaml.js").text == ""


def test_the_small_pages_remain(ui_server: KfpServer) -> None:
    assert "Pipeline runs" in get(ui_server, "/runs").text


def test_nothing_else_of_the_machine_is_served(ui_server: KfpServer) -> None:
    for path in ("/static/../index.html", "/static/../../secret", "/static/%2e%2e/%2e%2e/secret", "/static/link",
                 "/static//etc/passwd", "/static/", "/static", "/secret"):  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", ui_server.port, timeout=30)
        connection.request("GET", path, headers=HEADERS)
        assert connection.getresponse().status in (307, 404), path
        connection.close()


def test_the_page_needs_the_link_with_the_token_once(ui_server: KfpServer) -> None:
    with httpx2.Client(base_url=ui_server.url) as client:
        assert client.get("/").status_code == 401
        assert client.get("/static/x.js").status_code == 401
        assert client.get(f"/?token={TOKEN}").status_code == 303
        assert client.get("/").text == PAGE


@pytest.mark.usefixtures("processes")
def test_without_a_build_the_small_pages_are_at_the_root(server: KfpServer) -> None:
    assert "Pipeline runs" in get(server, "/").text
    assert get(server, "/static/x.js").status_code == 404


@pytest.mark.usefixtures("processes")
def test_runs_go_on_when_the_build_is_gone(tmp_path: Path) -> None:
    with kfp_server(tmp_path / "pipelines", None, "--ui", str(tmp_path / "nowhere")) as running:
        assert "Pipeline runs" in get(running, "/").text
        assert "nowhere has no build of Kubeflow Pipelines' UI" in running.log.read_text()


def test_a_folder_without_a_build_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UiFolderError, match=r"^[^\n]*has no build of Kubeflow Pipelines' UI[^\n]*$"):
        check_folder(tmp_path)


def test_only_the_scripts_of_the_page_may_run() -> None:
    rules = policy(PAGE)

    # printf 'one()' | openssl dgst -sha256 -binary | base64
    assert "script-src 'self' 'unsafe-eval' 'sha256-" in rules
    assert rules.count("'sha256-") == 1
    assert policy(PAGE.replace("one()", "two()")) != rules
    assert "default-src 'self'" in rules
    assert "frame-ancestors 'none'" in rules


@pytest.mark.skipif(not BUILD, reason="needs MCQA_KUBEFLOW_UI, a folder with a build of Kubeflow Pipelines' UI")
@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium (apt: chromium)")
def test_every_page_of_the_real_ui(tmp_path: Path, processes: None) -> None:
    from benchmarks.kubeflow_ui_browser import opened

    package = kubeflow_ui_pipeline.write(tmp_path / "check.yaml")
    with (
        kfp_server(tmp_path / "pipelines", None, "--ui", BUILD) as running,
        opened(running.url, TOKEN, CHROMIUM) as ui,
    ):
        findings = list(kubeflow_ui.visit(ui, package))

    assert [f"{finding.page}: {finding.trouble}" for finding in findings if finding.trouble] == []
    assert len(findings) == len(kubeflow_ui.PAGES)
