"""The pipelines server's small pages in Chromium: axe, a phone's width, addresses of kfp.Client, and what changes."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from kfp_server import HEADERS, TOKEN, KfpServer, kfp_server, make_client

from benchmarks import kubeflow_ui_pipeline
from local.access_middleware import login_link

if TYPE_CHECKING:
    from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).parents[1] / "local" / "pipelines"))

import hostile_pipeline
from hostile_pipeline import ILL

pytestmark = pytest.mark.usefixtures("processes")

WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[KfpServer]:
    with kfp_server(tmp_path_factory.mktemp("small-pages"), {}, "--parallel", "2") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: KfpServer) -> Any:
    return make_client(server.url)


@pytest.fixture(scope="module")
def ill(server: KfpServer, client: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run whose every name and value means ill."""
    package = str(hostile_pipeline.compiled(tmp_path_factory.mktemp("hostile")))
    run = client.create_run_from_pipeline_package(package, arguments={"given": ILL}, run_name=ILL).run_id
    assert client.wait_for_run_completion(run, 60, 0.05).state == "FAILED"
    return str(run)


@pytest.fixture(scope="module")
def printed(server: KfpServer, client: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The addresses that kfp.Client prints, by what they lead to, and the id of the finished run among them."""
    import contextlib
    import io

    said = io.StringIO()
    package = str(kubeflow_ui_pipeline.write(tmp_path_factory.mktemp("package") / "check.yaml"))
    with contextlib.redirect_stdout(said):
        pipeline = client.upload_pipeline(package, "Followed").pipeline_id
        version = client.upload_pipeline_version(package, "second version", pipeline_id=pipeline).pipeline_version_id
        experiment = client.create_experiment("followed experiment").experiment_id
        run = client.run_pipeline(experiment, "followed run", pipeline_id=pipeline, version_id=version).run_id
    pipeline_page, version_page, experiment_page, run_page = re.findall(
        r" details: (\S+)$", said.getvalue(), re.MULTILINE
    )
    found = {"Pipeline": pipeline_page, "Version": version_page, "Experiment": experiment_page, "Run": run_page}
    assert client.wait_for_run_completion(run, 60, 0.05).state == "SUCCEEDED"
    return {**found, "run": run}


@pytest.fixture
def opened(server: KfpServer, page_at: Any) -> Callable[..., Page]:
    """`opened("/runs/…", width=390)`: a page of a browser that has opened the link with the token before."""

    def open_page(path: str, **options: Any) -> Page:
        page: Page = page_at(login_link(server.url, TOKEN, "/experiments"), **options)
        page.goto(server.url + path)
        return page

    return open_page


def test_the_addresses_that_the_client_prints(opened: Any, printed: dict[str, str]) -> None:
    page = opened("/schedules")
    for what, heading, path in (
        ("Run", "followed run", r"/runs/[\w-]+"),
        ("Experiment", "followed experiment", r"/experiments/[\w-]+"),
        ("Pipeline", "Followed", r"/pipelines/[\w-]+"),
        ("Version", "second version", r"/pipelines/[\w-]+/versions/[\w-]+"),
    ):
        page.goto(printed[what])
        page.get_by_role("heading", level=1, name=heading).wait_for()
        assert re.fullmatch(path, urlsplit(page.url).path)
        page.goto("about:blank")
    page.goto(printed["Run"].partition("#")[0] + "#/runs")
    page.get_by_role("heading", level=1, name="Pipeline runs").wait_for()
    assert urlsplit(page.url).path == "/runs"


def test_nothing_serious_or_critical(opened: Any, printed: dict[str, str], ill: str) -> None:
    found: dict[tuple[str, str], str] = {}
    version = urlsplit(printed["Version"]).fragment
    pipeline, _, key = version.removeprefix("/pipelines/details/").partition("/version/")
    page = opened("/runs")
    for path in ("/runs", f"/runs/{printed['run']}", f"/runs/{ill}", f"/pipelines/{pipeline}/versions/{key}",
                 "/schedules"):  # fmt: skip
        page.goto(urlsplit(printed["Run"])._replace(path=path, fragment="").geturl())
        page.evaluate("document.querySelectorAll('details').forEach(entry => entry.open = true)")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, width)
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                for violation in Axe().run(page).response["violations"]:
                    for node in violation["nodes"]:
                        where = f"{path}, {width} px, {scheme}, {violation['impact']}"
                        found[violation["id"], node["html"][:150]] = f"{where}: {node['failureSummary'][:250]}"
    assert not found, "\n".join(f"{rule}: {html}: {where}" for (rule, html), where in found.items())


def test_what_means_ill_is_text_in_a_browser(opened: Any, ill: str) -> None:
    """page_at fails on any error of the console, such as an element that the policy did not allow."""
    page = opened(f"/runs/{ill}")
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    assert page.get_by_role("heading", level=1).inner_text() == ILL
    assert page.locator("img").count() == 0
    box = page.get_by_role("link", name=f"{ILL}, failed")
    assert box.count() == 1
    box.focus()
    page.keyboard.press("Enter")
    assert page.locator("tr:target").inner_text().startswith(ILL)


def test_a_running_run_is_brought_up_to_date(server: KfpServer, client: Any, opened: Any, tmp_path: Path) -> None:
    """What was opened stays open, and the focus where it was; times are in the zone of the browser. When the server
    goes, the page says how old it is.
    """
    package = str(kubeflow_ui_pipeline.write(tmp_path / "check.yaml"))
    run = client.create_run_from_pipeline_package(package, arguments={"seconds": 6.0}).run_id
    page = opened(f"/runs/{run}", timezone_id="Asia/Ho_Chi_Minh")
    page.get_by_role("link", name="data of measure").focus()
    page.keyboard.press("Enter")
    page.locator("details[id^=io-][open]").wait_for()
    created = page.locator("time").first
    stamp = created.get_attribute("datetime") or ""
    assert created.inner_text()[11:13] == f"{(int(stamp[11:13]) + 7) % 24:02}"
    page.get_by_role("link", name="letters, succeeded").wait_for(timeout=30_000)
    page.locator("main:not([data-changing])").wait_for(timeout=30_000)
    assert page.locator("details[id^=io-][open]").count() == 1
    assert page.evaluate("document.activeElement.parentElement.id").startswith("io-")


def test_a_server_that_is_gone_is_said(page_at: Any, tmp_path: Path) -> None:
    from kfp import compiler

    with kfp_server(tmp_path / "gone", {}) as server:
        client = make_client(server.url)
        compiler.Compiler().compile(kubeflow_ui_pipeline.check, str(tmp_path / "check.yaml"))
        run = client.create_run_from_pipeline_package(str(tmp_path / "check.yaml"), arguments={"seconds": 5.0}).run_id
        page = page_at(login_link(server.url, TOKEN, f"/runs/{run}"))
        server.kill()
        page.get_by_text("The server does not answer. This is how it was at").wait_for(timeout=15_000)
        server.start()
        page.locator("#stale:empty").wait_for(state="attached", timeout=15_000)
        page.goto("about:blank")
        deadline = time.monotonic() + 30
        while client.get_run(run).state != "SUCCEEDED" and time.monotonic() < deadline:
            time.sleep(0.1)
    page_at.faults[:] = [fault for fault in page_at.faults if "ERR_CONNECTION_REFUSED" not in fault]


def test_without_scripts_there_are_links(server: KfpServer, chromium: Any, printed: dict[str, str]) -> None:
    context = chromium.new_context(java_script_enabled=False, extra_http_headers=HEADERS)
    try:
        page = context.new_page()
        page.goto(printed["Run"])
        assert "needs JavaScript to lead on" in " ".join(page.locator("noscript").first.inner_text().split())
        page.get_by_role("link", name="followed run").click()
        assert page.get_by_role("heading", level=1).inner_text() == "followed run"
        assert page.get_by_role("link", name="measure, succeeded").count() == 1
    finally:
        context.close()
