"""The small pages over real HTTP, of real runs: what they show, that it is escaped, and what they refuse."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import hostile_pipeline
import httpx2
import kfp_cases as cases
import pytest
from hostile_pipeline import FILE, ILL
from kfp_server import HEADERS, KfpServer

from benchmarks import kubeflow_ui_pipeline

pytestmark = pytest.mark.usefixtures("processes")

SANDBOXED = "sandbox; default-src 'none'"


class Parsed(HTMLParser):
    """A page as a parser reads it: its elements with their attributes, and its text without style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self._texts: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag if tag in ("style", "script") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self._texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._texts).split())

    def links(self) -> Iterator[str]:
        for tag, attributes in self.elements:
            if tag == "a":
                yield attributes["href"]


def get(server: KfpServer, path: str) -> httpx2.Response:
    return httpx2.get(f"{server.url}{path}", headers=HEADERS, timeout=30)


def shown(server: KfpServer, path: str) -> Parsed:
    response = get(server, path)
    assert response.status_code == 200, (path, response.text[-2000:])
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    return Parsed(response.text)


@pytest.fixture(scope="module")
def checked(server: KfpServer, kfp_client: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Ids of a pipeline, its version and a finished run of it, with every kind of artifact."""
    package = kubeflow_ui_pipeline.write(tmp_path_factory.mktemp("package") / "check.yaml")
    pipeline = kfp_client.upload_pipeline(str(package), "Shown on the small pages")
    version = kfp_client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions[0].pipeline_version_id
    experiment = kfp_client.create_experiment("small pages").experiment_id
    run = kfp_client.run_pipeline(
        experiment, "Shown", pipeline_id=pipeline.pipeline_id, version_id=version, params={"share": 0.75}
    )
    assert kfp_client.wait_for_run_completion(run.run_id, 60, 0.05).state == "SUCCEEDED"
    return {"pipeline": pipeline.pipeline_id, "version": version, "run": run.run_id, "experiment": experiment}


@pytest.fixture(scope="module")
def ill(server: KfpServer, kfp_client: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The same of a run that failed, and a schedule, whose every name and value means ill."""
    package = str(hostile_pipeline.compiled(tmp_path_factory.mktemp("hostile")))
    pipeline = kfp_client.upload_pipeline(package, ILL, ILL).pipeline_id
    version = kfp_client.upload_pipeline_version(package, ILL + "2", pipeline_id=pipeline, description=ILL)
    experiment = kfp_client.create_experiment(ILL, ILL).experiment_id
    started = httpx2.post(
        f"{server.url}/apis/v2beta1/runs", headers=HEADERS,
        json={
            "display_name": ILL, "description": ILL, "experiment_id": experiment,
            "pipeline_version_reference": {
                "pipeline_id": pipeline, "pipeline_version_id": version.pipeline_version_id
            },
            "runtime_config": {"parameters": {"given": ILL}},
        },
    )  # fmt: skip
    assert started.status_code == 200, started.text
    run = started.json()["run_id"]
    assert kfp_client.wait_for_run_completion(run, 60, 0.05).state == "FAILED"
    recurring = kfp_client.create_recurring_run(
        experiment, ILL, description=ILL, cron_expression="0 0 0 1 1 *", pipeline_id=pipeline,
        version_id=version.pipeline_version_id, params={"given": ILL},
    )  # fmt: skip
    yield {
        "pipeline": pipeline, "version": version.pipeline_version_id, "run": run, "experiment": experiment,
        "folder": folder_of(server, run),
    }  # fmt: skip
    kfp_client.delete_recurring_run(recurring.recurring_run_id)


def folder_of(server: KfpServer, run: str) -> str:
    artifacts = get(server, f"/apis/v2beta1/runs/{run}/artifacts").json()["artifacts"]
    return str(next(entry["url"] for entry in artifacts if entry["name"] == "folder"))


def test_a_run(server: KfpServer, checked: dict[str, str]) -> None:
    page = shown(server, f"/runs/{checked['run']}")
    text = page.text
    assert "✓ succeeded" in text
    assert "letters for each item" in text
    assert "fails false default seconds 0.0 default share 0.75 given" in text
    assert "measure: classes: confusion matrix, a row for each true class true ↓ predicted → A B A 4 1 B 1 4" in text
    assert "measure: curve: ROC curve threshold false positive rate true positive rate 1 0 0 0.5 0.2 0.8 0 1 1" in text
    assert "measure: scores name value accuracy 0.75 questions 10" in text
    assert "read: inputs name value fails false right 8 seconds 0.0 table table 24 B Dataset of measure" in text
    assert "read: outputs name value Output 3 lines, 8 right" in text
    assert "Steps: 5 (5 succeeded)." in text
    order = re.findall(r'id="step-[^>]*><th[^>]*>([\w-]+)', get(server, f"/runs/{checked['run']}").text)
    assert order[:2] == ["measure", "read"]


def test_every_link_leads_somewhere(server: KfpServer, checked: dict[str, str], ill: dict[str, str]) -> None:
    """From the runs on, through everything that was made here; links within a page have their target on it."""
    waiting = [f"/runs/{checked['run']}", f"/runs/{ill['run']}", "/pipelines", "/experiments", "/schedules"]
    ours = [value for made in (checked, ill) for key, value in made.items() if key != "folder"]
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        response = get(server, path)
        assert response.status_code == 200, (path, response.text[-500:])
        if response.headers["content-type"].startswith("text/html") and "connect-src" in policy(response):
            page = Parsed(response.text)
            ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
            for link in page.links():
                assert link.startswith(("/", "#"))
                assert not link.startswith("#") or link[1:] in ids, (path, link)
                if link.startswith("/") and "page_token" not in link and any(key in link for key in ours):
                    waiting.append(link)
    assert len(seen) > 20


def policy(response: httpx2.Response) -> str:
    return response.headers.get("content-security-policy", "")


def test_lists(server: KfpServer, checked: dict[str, str]) -> None:
    for path in ("/", "/runs", f"/experiments/{checked['experiment']}"):
        assert f"/runs/{checked['run']}" in shown(server, path).links()
    assert f"/experiments/{checked['experiment']}" in shown(server, "/experiments").links()
    assert f"/pipelines/{checked['pipeline']}" in shown(server, "/pipelines").links()
    version = f"/pipelines/{checked['pipeline']}/versions/{checked['version']}"
    assert version in shown(server, f"/pipelines/{checked['pipeline']}").links()
    page = shown(server, version)
    assert f"/runs/{checked['run']}" in page.links()
    assert "fails boolean false seconds number double 0.0 share number double 0.8" in page.text
    assert "Steps: 4." in page.text
    assert "enough if each-2" in page.text


def test_archived_runs_are_marked(server: KfpServer, kfp_client: Any, checked: dict[str, str]) -> None:
    kfp_client.archive_run(checked["run"])
    try:
        for path in (f"/runs/{checked['run']}", f"/experiments/{checked['experiment']}"):
            assert "archived" in shown(server, path).text
    finally:
        kfp_client.unarchive_run(checked["run"])
    assert "archived" not in shown(server, f"/runs/{checked['run']}").text


@pytest.mark.parametrize(
    "path",
    ["/runs", "/runs/{run}", "{folder}", "/experiments", "/experiments/{experiment}", "/pipelines",
     "/pipelines/{pipeline}", "/pipelines/{pipeline}/versions/{version}", "/schedules"],
)  # fmt: skip
def test_what_means_ill_is_text(server: KfpServer, ill: dict[str, str], path: str) -> None:
    page = shown(server, path.format(**ill))
    assert not {tag for tag, _ in page.elements} & {"img", "iframe", "object", "embed", "form", "base", "textarea"}
    assert [tag for tag, _ in page.elements].count("script") == 1
    names = {name for _, attributes in page.elements for name in attributes}
    assert not {name for name in names if name.startswith("on")} | names & {"style", "srcdoc", "formaction"}
    assert not [link for link in page.links() if not link.startswith(("/", "#"))]
    assert (FILE if path == "{folder}" else ILL) in page.text


def test_everything_of_the_ill_run_is_shown(server: KfpServer, ill: dict[str, str]) -> None:
    text = shown(server, f"/runs/{ill['run']}").text
    for said in (
        f"the step failed: ValueError: {ILL}",
        f"s3://bucket/{ILL}",
        f"{ILL}: classes: confusion matrix",
        f"{ILL}: scores name value {ILL}",
        f"defaulted {ILL} default given {ILL} given",
    ):
        assert said in text, said


def test_the_pages_allow_their_own_style_and_script_alone(server: KfpServer, ill: dict[str, str]) -> None:
    for path in ("/", f"/runs/{ill['run']}", "/runs/none"):
        response = get(server, path)
        assert "default-src 'none'" in policy(response)
        assert "unsafe" not in policy(response)
        assert policy(response).count("'sha256-") == 2
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"


def test_entries_of_a_folder_are_links(server: KfpServer, ill: dict[str, str]) -> None:
    """Names that a URL must quote, too; but nothing outside of the folder."""
    page = shown(server, ill["folder"])
    inner = f"{ill['folder']}/{quote(FILE)}"
    assert inner in page.links()
    assert f"{ill['folder']}/weights" in page.links()
    assert "outside 0 B" in page.text
    assert "broken 0 B" in page.text
    assert "not-utf8-? 1 B" in page.text
    assert not [link for link in page.links() if "outside" in link or "broken" in link or "not-utf8" in link]
    assert f"{inner}/{quote(FILE)}" in shown(server, inner).links()
    file = get(server, f"{inner}/{quote(FILE)}")
    assert file.text == ILL
    assert policy(file).startswith(SANDBOXED)
    assert get(server, f"{ill['folder']}/outside").status_code == 404


def test_a_steps_html_cannot_do_anything(server: KfpServer, ill: dict[str, str]) -> None:
    (report,) = [link for link in shown(server, f"/runs/{ill['run']}").links() if link.endswith("/page")][:1]
    response = get(server, report)
    assert response.text == ILL
    assert policy(response).startswith(SANDBOXED)


@pytest.mark.parametrize(
    "path",
    ["/runs/none", "/experiments/none", "/pipelines/none", "/pipelines/none/versions/none", "/runs/none/files/x",
     "/runs/{run}/files/none", "/runs/{run}/files/", "/runs/{run}/files/..%2f..%2fpipelines.db",
     "/runs/{run}/files/logs", "/runs/%3Cimg%20src=x%3E"],
)  # fmt: skip
def test_what_is_not_there_is_a_page_that_says_so(server: KfpServer, ill: dict[str, str], path: str) -> None:
    response = get(server, path.format(**ill))
    assert response.status_code == 404
    page = Parsed(response.text)
    assert "Not shown There is no " in page.text
    assert "img" not in {tag for tag, _ in page.elements}


def test_a_page_token_of_something_else_is_refused(server: KfpServer, ill: dict[str, str]) -> None:
    response = get(server, "/runs?page_token=%3Cimg%20src=x%3E")
    assert response.status_code == 400
    assert "img" not in {tag for tag, _ in Parsed(response.text).elements}


def test_older_runs_are_a_page_further(server: KfpServer, kfp_client: Any, marks: Path) -> None:
    experiment = kfp_client.create_experiment("many runs").experiment_id
    for number in range(52):
        run = kfp_client.create_run_from_pipeline_func(
            cases.chain, arguments={"marks": str(marks)}, run_name=f"many {number}", experiment_id=experiment
        )
        kfp_client.terminate_run(run.run_id)
    page = shown(server, f"/experiments/{experiment}")
    (older,) = [link for link in page.links() if "page_token" in link]
    assert "many 51" in page.text
    text = shown(server, older).text
    assert "many 0" in text
    assert "many 51" not in text


def test_a_changing_run_says_so(server: KfpServer, kfp_client: Any, marks: Path) -> None:
    run = kfp_client.create_run_from_pipeline_func(cases.chain, arguments={"marks": str(marks), "seconds": 30.0})
    assert "<main data-changing>" in get(server, f"/runs/{run.run_id}").text
    assert "<main data-changing>" in get(server, "/runs").text
    kfp_client.terminate_run(run.run_id)
    deadline = time.monotonic() + 30
    while kfp_client.get_run(run.run_id).state != "CANCELED":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ended = get(server, f"/runs/{run.run_id}").text
    assert "<main>" in ended
    assert "http-equiv" not in ended


def test_a_deleted_version_is_not_linked(server: KfpServer, kfp_client: Any, tmp_path: Path) -> None:
    package = kubeflow_ui_pipeline.write(tmp_path / "check.yaml")
    pipeline = kfp_client.upload_pipeline(str(package), "Deleted later").pipeline_id
    version = kfp_client.list_pipeline_versions(pipeline).pipeline_versions[0].pipeline_version_id
    experiment = kfp_client.create_experiment("small pages").experiment_id
    run = kfp_client.run_pipeline(experiment, "Its version goes", pipeline_id=pipeline, version_id=version).run_id
    kfp_client.terminate_run(run)
    link = f"/pipelines/{pipeline}/versions/{version}"
    assert link in shown(server, f"/runs/{run}").links()
    kfp_client.delete_pipeline_version(pipeline, version)
    assert link not in shown(server, f"/runs/{run}").links()
