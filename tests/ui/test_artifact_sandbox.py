"""A step's HTML in Chromium: it is shown, and no script in it runs or could read the API of the server it is on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from kfp_server import ENVIRON, HEADERS, TOKEN, KfpServer, kfp_server, make_client

from benchmarks import kubeflow_ui_pipeline
from local.access_middleware import login_link

pytestmark = pytest.mark.usefixtures("processes")

REPORT = """<!doctype html><title>as written</title><h1>A report</h1>
<img src="/apis/v2beta1/runs?by=picture" onerror="document.title = 'its handler ran'">
<script>document.title = 'its script ran'; fetch('/apis/v2beta1/runs?by=script')</script>
<script src="SCRIPT"></script>
REFRESH
<iframe src="/runs"></iframe>
"""
REFRESH = '<meta http-equiv="refresh" content="0;url=/apis/v2beta1/runs?by=refresh">'
SCRIPT = "document.title = 'its file ran'; fetch('/apis/v2beta1/runs?by=file')"
# As Kubeflow's UI shows a report: its text in a frame of the page.
VIEWER = """<!doctype html><title>viewer</title><h1>Viewer</h1>
<script>
  fetch("/artifacts/get?" + location.search.slice(1)).then(answer => answer.text()).then(text => {
    const frame = document.createElement("iframe")
    frame.sandbox = "allow-scripts"
    frame.srcdoc = text
    document.body.append(frame)
  })
</script>
"""
MAY_READ = "fetch('/apis/v2beta1/runs', {credentials: 'include'}).then(a => a.text()).catch(e => 'refused: ' + e)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[KfpServer]:
    build = tmp_path_factory.mktemp("ui")
    (build / "static").mkdir()
    (build / "index.html").write_text(VIEWER)
    with kfp_server(tmp_path_factory.mktemp("sandbox"), {}, "--ui", str(build)) as running:
        yield running


@pytest.fixture(scope="module")
def files(server: KfpServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The addresses of a report that means ill and of the script that it asks for, by artifact."""
    package = str(kubeflow_ui_pipeline.write(tmp_path_factory.mktemp("package") / "check.yaml"))
    client = make_client(server.url)
    run = client.create_run_from_pipeline_package(package).run_id
    assert client.wait_for_run_completion(run, 60, 0.05).state == "SUCCEEDED"
    answer = httpx2.get(f"{server.url}/apis/v2beta1/runs/{run}/artifacts", headers=HEADERS).json()
    made = {entry["name"]: entry for entry in answer["artifacts"]}
    report, script, framed = made["page"], made["table"], made["notes"]
    written = REPORT.replace("SCRIPT", script["url"])
    file(server, run, script["path"]).write_text(SCRIPT)
    file(server, run, report["path"]).write_text(written.replace("REFRESH", REFRESH))
    file(server, run, framed["path"]).write_text(written)  # a frame may move on; the server refuses what it asks then
    return {"run": run, "report": report["url"], "script": script["url"], "framed": f"{run}/{framed['path']}"}


def file(server: KfpServer, run: str, path: str) -> Path:
    return Path(server.folder, "runs", run, path)


def watched(page: Any) -> list[str]:
    """Addresses of the API that the page asked for."""
    asked: list[str] = []
    page.on("response", lambda answer: asked.append(answer.url) if "by=" in answer.url else None)
    return asked


def test_a_report_on_its_own_is_in_a_sandbox(server: KfpServer, files: dict[str, str], page_at: Any) -> None:
    page = page_at(login_link(server.url, TOKEN, "/runs"))
    assert '"runs"' in page.evaluate(MAY_READ), "what the small pages may read"
    asked = watched(page)
    page.goto(server.url + files["report"])
    page.get_by_role("heading", name="A report").wait_for()
    page.wait_for_timeout(500)
    assert page.title() == "as written"
    assert asked == []
    assert page.url.endswith(files["report"])
    # Even if a script ran: it has an origin of its own, and may connect to nothing.
    assert page.evaluate("self.origin") == "null"
    assert page.evaluate(MAY_READ).startswith("refused")
    assert page_at.faults, "the browser reports what it blocked"
    page_at.faults.clear()


def test_a_report_in_kubeflows_ui_runs_no_script(server: KfpServer, files: dict[str, str], page_at: Any) -> None:
    page = page_at(login_link(server.url, TOKEN, "/runs"))
    asked = watched(page)
    page.goto(f"{server.url}/?{urlencode({'source': 'minio', 'bucket': 'runs', 'key': files['framed']})}")
    report = page.frame_locator("iframe").first
    report.get_by_role("heading", name="A report").wait_for()
    page.wait_for_timeout(500)
    frame = next(frame for frame in page.frames if frame.parent_frame == page.main_frame)
    assert frame.title() == "as written"
    assert frame.evaluate("self.origin") == "null"
    assert frame.evaluate(MAY_READ).startswith("refused")
    assert [url for url in asked if "by=picture" not in url] == []
    page_at.faults.clear()


def test_a_script_that_a_step_wrote_is_no_script_to_a_browser(
    server: KfpServer, files: dict[str, str], page_at: Any
) -> None:
    page = page_at(login_link(server.url, TOKEN, "/runs"))
    page.goto(f"{server.url}/")
    loaded = page.evaluate(
        """address => new Promise(done => {
            const script = document.createElement("script")
            script.src = address
            script.onload = () => done("loaded")
            script.onerror = () => done("refused")
            document.head.append(script)
        })""",
        files["script"],
    )
    assert loaded == "refused"
    assert page.title() == "viewer"
    page_at.faults.clear()


def test_the_page_lists_them_and_leads_to_them(
    server: KfpServer, files: dict[str, str], show_page: Any, tmp_path: Path
) -> None:
    environ = {"KFP_ENDPOINT": server.url, "MCQA_DATABASE_URL": f"sqlite:///{tmp_path / 'none.db'}", **ENVIRON}
    page = show_page("pipelines", environ, run=files["run"])
    rows = {row[0]: row[1:] for row in page.tables["Artifacts of the steps"]}
    assert rows["page"][:2] == ["measure", "system.HTML"]
    assert rows["page"][2].endswith(" B")
    assert rows["scores"] == ["measure", "system.Metrics", "—"]
    assert server.url + files["report"] in page.everything
