"""Every page of Kubeflow Pipelines' own UI in a real browser, on a running pipelines API:

    python -m benchmarks.kubeflow_ui --url http://127.0.0.1:8888 --token-file .local/pipelines/token --run RUN

It uploads a small pipeline, runs it in each way that the UI offers, opens every page of the result, and removes what it
made. With `--run`, also every step and artifact of that run, such as a retraining's. Printed is a row a page: what was
seen there, and every refused request and error of the console.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import kubeflow_ui_pipeline as pipeline
from benchmarks.kubeflow_ui_browser import Ui, opened

CHROMIUM = Path("/usr/bin/chromium")
RUN_SECONDS = 90.0
ONE, TWO = "first of the tour", "second of the tour"
DONE, FAILED = "CheckCircleIcon", "ErrorIcon"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was done on a page, and what went wrong, "" for nothing."""

    page: str
    done: str
    trouble: str


class Tour:
    """The pages in an order in which each finds what those before it made. A method is a page; its docstring is what
    is done there.
    """

    def __init__(self, ui: Ui, package: Path) -> None:
        self.ui = ui
        self.package = package
        self.pipeline = ""
        self.runs: list[str] = []

    def upload(self) -> None:
        """a pipeline uploaded as a file"""
        ui = self.ui
        ui.open("/pipeline_versions/new")
        ui.page.locator("#localPackageBtn").click()
        ui.page.locator("input[type=file]").set_input_files(str(self.package))
        ui.page.locator("#newPipelineName").fill(pipeline.NAME)
        ui.click("#createNewPipelineOrVersionBtn")
        ui.page.wait_for_url("**/#/pipelines/details/**")
        self.pipeline = ui.page.url.partition("/pipelines/details/")[2].partition("/")[0].partition("?")[0]

    def pipeline_list(self) -> None:
        """listed, with its versions; filtered without regard to case"""
        self.ui.open("/pipelines")
        self.ui.sees(pipeline.NAME)
        self.ui.page.locator("#tableFilterBox").fill("KUBEFLOW-ui")
        self.ui.sees(pipeline.NAME)

    def pipeline_details(self) -> None:
        """the static graph, a step's declaration, the specification"""
        self.ui.open(f"/pipelines/details/{self.pipeline}")
        self.ui.node("measure").click()
        self.ui.sees("NUMBER_DOUBLE")
        self.ui.sees("system.Markdown (version: 0.0.1)")
        self.ui.shoot("pipeline details")
        self.ui.open(f"/pipelines/details/{self.pipeline}")
        self.ui.sees("Pipeline Spec")
        self.ui.tab("Pipeline Spec")
        self.ui.page.locator(".ace_editor").first.wait_for()

    def create(self) -> None:
        """pipeline, version, experiment and parameters chosen, and started"""
        route = f"/runs/new?pipelineId={self.pipeline}&pipelineVersionId={self._version()}"
        self._wait(self._start(route, ONE), "SUCCEEDED")

    def choose(self) -> None:
        """the pipeline chosen in its dialog"""
        ui = self.ui
        ui.open("/runs/new")
        ui.click("#choosePipelineBtn")
        ui.page.get_by_role("dialog").get_by_text(pipeline.NAME).first.click()
        ui.click("#usePipelineBtn")
        ui.page.locator("#choosePipelineVersionBtn:not([disabled])").wait_for()

    def run_list(self) -> None:
        """listed with state, duration and pipeline"""
        self.ui.open("/runs")
        self.ui.page.get_by_role("link", name=ONE, exact=True).wait_for()
        self.ui.page.get_by_role("link", name=pipeline.NAME).first.wait_for()
        self.ui.shoot("runs")

    def graph(self) -> None:
        """every node with its state; the run's parameters"""
        self._open_run()
        for name in ("measure", "read", "letters", "enough"):
            assert self.ui.state_of(name) == DONE, f"{name} is drawn as {self.ui.state_of(name)!r}"
        self.ui.shoot("graph")
        self.ui.tab("Detail")
        self.ui.sees("Run parameters")
        self.ui.sees("share")

    def loop(self) -> None:
        """a loop's iterations, and the steps in one"""
        self._open_run()
        self.ui.node("letters").get_by_test_id("expand-button").click()
        self.ui.node(r"for-loop-\d+\.1", pattern=True).get_by_test_id("expand-button").click()
        assert self.ui.state_of("each") == DONE, self.ui.state_of("each")
        self.ui.node("each").click()
        self.ui.sees('"b"')
        self.ui.shoot("loop")

    def condition(self) -> None:
        """what a condition let through"""
        self._open_run()
        self.ui.node("enough").get_by_test_id("expand-button").click()
        assert self.ui.state_of("each-2") == DONE, self.ui.state_of("each-2")

    def inputs_and_outputs(self) -> None:
        """parameters and artifacts of a step, with previews"""
        self._open_run()
        self.ui.node("read").click()
        for text in ("Input Parameters", "Input Artifacts", "question,answer", "Output Parameters", "3 lines, 8 right"):
            self.ui.sees(text)
        self.ui.page.wait_for_timeout(600)
        self.ui.shoot("inputs and outputs")

    def logs(self) -> None:
        """what a step wrote"""
        self._open_run()
        self.ui.node("measure").click()
        self.ui.tab("Logs")
        self.ui.sees(pipeline.LOG_LINE)

    def metrics(self) -> None:
        """a table of scalar metrics"""
        self._visualize("scores", "Scalar Metrics: scores", "accuracy", "0.8")

    def confusion_matrix(self) -> None:
        """drawn"""
        self._visualize("classes", "Confusion Matrix: classes", "True label")

    def roc(self) -> None:
        """drawn"""
        self._visualize("curve", "ROC Curve: curve")
        path = self.ui.page.locator("path.recharts-line-curve").first.get_attribute("d", timeout=15_000)
        assert len((path or "").split(",")) > 3, f"the curve is {path!r}"

    def html(self) -> None:
        """shown in a frame in which its scripts do not run"""
        self._visualize("page", "Static HTML")
        self.ui.page.frame_locator("iframe").first.get_by_text("A report of HTML").wait_for()
        refusal = "Executing inline script violates"
        self.ui.problems[:] = [
            line for line in self.ui.problems if refusal not in line and "Blocked script" not in line
        ]

    def markdown(self) -> None:
        """rendered; HTML in it does nothing"""
        self._visualize("notes", "Notes of Markdown")
        assert "ran" not in self.ui.page.title(), self.ui.page.title()
        self.ui.problems[:] = [line for line in self.ui.problems if "404 GET /x" not in line and "inline" not in line]

    def clone(self) -> None:
        """started again from its own page"""
        self._open_run()
        self.ui.click("#cloneBtn")
        self._wait(self._start("", TWO), "SUCCEEDED")

    def compare(self) -> None:
        """two runs side by side: parameters, metrics, confusion matrices, ROC curves, HTML, Markdown"""
        ui = self.ui
        ui.open(f"/compare?runlist={','.join(self.runs[:2])}")
        ui.sees("measure > scores")
        ui.shoot("compare")
        for name, text in (("Confusion Matrix", "Confusion Matrix"), ("ROC Curve", "ROC Curve"), ("HTML", "HTML"),
                           ("Markdown", "Markdown")):  # fmt: skip
            ui.tab(name)
            ui.sees(text)
            ui.page.wait_for_timeout(300)

    def terminate(self) -> None:
        """a running run ended; its state follows"""
        ui = self.ui
        key = self._submit("three", {"seconds": 60})
        self._wait(key, "RUNNING")
        ui.open(f"/runs/details/{key}")
        ui.click("#terminateRunBtn:not([disabled])")
        ui.button("Terminate")
        self._wait(key, "CANCELED")

    def retry(self) -> None:
        """a failed step is shown as failed, and the run tried again"""
        ui = self.ui
        key = self._submit("four", {"fails": True})
        self._wait(key, "FAILED")
        ui.open(f"/runs/details/{key}")
        ui.page.wait_for_function("document.querySelector('[data-testid=ErrorIcon]') !== null")
        assert ui.state_of("read") == FAILED, ui.state_of("read")
        ui.shoot("failed")
        before = len(ui.call("GET", f"/apis/v2beta1/runs/{key}")["state_history"])
        ui.click("#retryBtn:not([disabled])")
        ui.button("Retry")
        self._until(lambda: len(ui.call("GET", f"/apis/v2beta1/runs/{key}")["state_history"]) > before)
        self._wait(key, "FAILED")

    def archive(self) -> None:
        """archived from its page, found in the archive, restored"""
        ui, key = self.ui, self.runs[0]
        ui.open(f"/runs/details/{key}")
        ui.click("#archiveBtn")
        ui.button("Archive")
        self._until(lambda: ui.call("GET", f"/apis/v2beta1/runs/{key}")["storage_state"] == "ARCHIVED")
        ui.open("/archive/runs")
        ui.page.get_by_role("link", name=ONE, exact=True).wait_for()
        ui.open(f"/runs/details/{key}")
        ui.click("#restoreBtn")
        ui.button("Restore")
        self._until(lambda: ui.call("GET", f"/apis/v2beta1/runs/{key}")["storage_state"] == "AVAILABLE")

    def experiments(self) -> None:
        """listed with their last runs; one's own page"""
        ui = self.ui
        ui.open("/experiments")
        ui.sees("Default")
        ui.page.get_by_role("link", name="Default", exact=True).click()
        ui.sees("Recurring run configs")

    def recurring(self) -> None:
        """listed, opened, disabled, enabled, deleted"""
        ui = self.ui
        body = {
            "display_name": "every hour", "mode": "ENABLE", "max_concurrency": "1",
            "trigger": {"periodic_schedule": {"interval_second": "3600"}},
            "pipeline_version_reference": {"pipeline_id": self.pipeline, "pipeline_version_id": self._version()},
        }  # fmt: skip
        key = ui.call("POST", "/apis/v2beta1/recurringruns", body)["recurring_run_id"]
        ui.open("/recurringruns")
        ui.sees("every hour")
        ui.open(f"/recurringrun/details/{key}")
        ui.sees("Run trigger")
        for action, state in (("#disableBtn", "DISABLED"), ("#enableBtn", "ENABLED")):
            ui.click(f"{action}:not([disabled])")
            self._until(lambda: ui.call("GET", f"/apis/v2beta1/recurringruns/{key}")["status"] == state)  # noqa: B023
        ui.click("#deleteBtn")
        ui.button("Delete")
        self._until(lambda: "recurringRuns" not in ui.call("GET", "/apis/v2beta1/recurringruns"))

    def executions(self) -> None:
        """listed and grouped; one with its inputs and outputs"""
        ui = self.ui
        ui.open("/executions")
        ui.sees("system.ContainerExecution")
        ui.page.get_by_role("link", name="read").first.click()
        ui.sees("Custom Properties")
        ui.sees("Inputs")
        ui.shoot("execution")

    def artifacts(self) -> None:
        """listed; one with its metadata and address"""
        ui = self.ui
        ui.open("/artifacts")
        ui.sees("system.ClassificationMetrics")
        ui.page.get_by_role("link", name="table").first.click()
        ui.sees("system.Dataset")

    def lineage(self) -> None:
        """which step made an artifact, and which read it"""
        ui = self.ui
        ui.tab("Lineage Explorer")
        for text in ("measure", "read", "table"):
            ui.sees(text)
        ui.page.wait_for_timeout(500)
        ui.shoot("lineage")

    def delete(self) -> None:
        """archived runs deleted from their list"""
        ui = self.ui
        for key in self.runs:
            ui.call("POST", f"/apis/v2beta1/runs/{key}:archive")
            ui.open("/archive/runs")
            ui.page.locator(".tableRow").first.click()
            ui.click("#deleteBtn:not([disabled])")
            ui.button("Delete")
            self._until(lambda: all(run["run_id"] != key for run in self._all_runs()))  # noqa: B023
        self.runs = []

    def delete_pipeline(self) -> None:
        """deleted with its versions from the list"""
        ui = self.ui
        ui.open("/pipelines")
        ui.page.locator(".tableRow", has_text=pipeline.NAME).get_by_role("checkbox").first.check()
        ui.click("#deletePipelinesAndPipelineVersionsBtn")
        ui.button("Delete All")
        self._until(lambda: all(entry["pipeline_id"] != self.pipeline for entry in self._pipelines()))
        self.pipeline = ""

    def clean(self) -> None:
        """What a tour that broke off left behind."""
        for key in self.runs:
            self.ui.call("DELETE", f"/apis/v2beta1/runs/{key}")
        for entry in self._pipelines():
            if entry["display_name"] == pipeline.NAME:
                self.ui.call("DELETE", f"/apis/v2beta1/pipelines/{entry['pipeline_id']}?cascade=true")

    def _open_run(self) -> None:
        self.ui.open(f"/runs/details/{self.runs[0]}")
        self.ui.node("measure").wait_for()
        self.ui.page.wait_for_function("document.querySelector('[data-testid=CheckCircleIcon]') !== null")
        self.ui.page.wait_for_timeout(500)

    def _visualize(self, artifact: str, *texts: str) -> None:
        self._open_run()
        self.ui.node(artifact).click()
        self.ui.tab("Visualization")
        for text in texts:
            self.ui.sees(text)
        self.ui.page.wait_for_timeout(1800)  # until the drawing is there
        self.ui.shoot(artifact)

    def _start(self, route: str, name: str) -> str:
        """Fills in the form of a new run, and starts it; its id."""
        ui, known = self.ui, {run["run_id"] for run in self._all_runs()}
        if route:
            ui.open(route)
        field = ui.page.get_by_label("Run name")
        field.wait_for()
        ui.page.wait_for_load_state("networkidle")
        ui.page.wait_for_timeout(500)
        if ui.page.get_by_role("textbox", name="Experiment").input_value() == "":
            ui.click("#chooseExperimentBtn")
            ui.page.get_by_role("dialog").get_by_text("Default", exact=True).first.click()
            ui.click("#useExperimentBtn")
            ui.page.wait_for_timeout(500)
        for _ in range(3):  # the form proposes a name each time it learns something
            field.fill(name)
            ui.page.wait_for_timeout(500)
            if field.input_value() == name:
                break
        ui.shoot(f"new run {name}")
        ui.click("#startNewRunBtn:not([disabled])")
        self._until(lambda: len(self._all_runs()) > len(known))
        made = next(run for run in self._all_runs() if run["run_id"] not in known)
        self.runs.append(made["run_id"])
        assert made["display_name"] == name, f"the run is called {made['display_name']!r}"
        return str(made["run_id"])

    def _submit(self, name: str, parameters: dict[str, Any]) -> str:
        body = {
            "display_name": name, "runtime_config": {"parameters": parameters},
            "pipeline_version_reference": {"pipeline_id": self.pipeline, "pipeline_version_id": self._version()},
        }  # fmt: skip
        key = str(self.ui.call("POST", "/apis/v2beta1/runs", body)["run_id"])
        self.runs.append(key)
        return key

    def _version(self) -> str:
        versions = self.ui.call("GET", f"/apis/v2beta1/pipelines/{self.pipeline}/versions")["pipeline_versions"]
        return str(versions[-1]["pipeline_version_id"])

    def _pipelines(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ui.call("GET", "/apis/v2beta1/pipelines?page_size=200").get("pipelines", [])
        return found

    def _all_runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ui.call("GET", "/apis/v2beta1/runs?page_size=200").get("runs", [])
        return found

    def _wait(self, key: str, state: str) -> None:
        self._until(lambda: self.ui.call("GET", f"/apis/v2beta1/runs/{key}")["state"] == state, RUN_SECONDS)

    @staticmethod
    def _until(holds: Callable[[], bool], seconds: float = 15.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"not after {seconds:.0f} s"
            time.sleep(0.1)


PAGES: tuple[tuple[str, Callable[[Tour], None]], ...] = (
    ("Upload", Tour.upload), ("Pipelines", Tour.pipeline_list), ("Pipeline details", Tour.pipeline_details),
    ("New run", Tour.create), ("New run, dialog", Tour.choose), ("Runs", Tour.run_list),
    ("Run details: graph", Tour.graph), ("Run details: loop", Tour.loop), ("Run details: condition", Tour.condition),
    ("Run details: inputs, outputs", Tour.inputs_and_outputs), ("Run details: logs", Tour.logs),
    ("Metrics", Tour.metrics), ("Confusion matrix", Tour.confusion_matrix), ("ROC curve", Tour.roc),
    ("HTML", Tour.html), ("Markdown", Tour.markdown), ("Clone", Tour.clone), ("Compare", Tour.compare),
    ("Terminate", Tour.terminate), ("Retry", Tour.retry), ("Archive, restore", Tour.archive),
    ("Experiments", Tour.experiments), ("Recurring runs", Tour.recurring), ("Executions", Tour.executions),
    ("Artifacts", Tour.artifacts), ("Lineage", Tour.lineage), ("Delete runs", Tour.delete),
    ("Delete a pipeline", Tour.delete_pipeline),
)  # fmt: skip


def visit(ui: Ui, package: Path, names: tuple[str, ...] = ()) -> Iterator[Finding]:
    """A finding for each page, or for those of these names."""
    tour = Tour(ui, package)
    try:
        for name, act in PAGES:
            if not names or name in names:
                yield _visited(ui, name, act.__doc__ or "", lambda: act(tour))  # noqa: B023 - called at once
    finally:
        tour.clean()


def _visited(ui: Ui, name: str, done: str, act: Callable[[], None]) -> Finding:
    ui.problems.clear()
    trouble = []
    try:
        act()
        ui.page.wait_for_load_state("networkidle", timeout=10_000)
    except Exception as error:  # noqa: BLE001 - the browser's own, too: each page is tried
        ui.shoot(f"trouble {name}")
        trouble.append(" ".join(str(error).split())[:300] or type(error).__name__)
    return Finding(name, done, "; ".join([*trouble, *dict.fromkeys(ui.problems)]))


def run_findings(ui: Ui, run: str) -> Iterator[Finding]:
    """Every task and artifact of a run in its graph, group by group, with its panel's tabs."""
    from benchmarks.kubeflow_ui_run import visit_run

    for name, done, act in visit_run(ui, run):
        yield _visited(ui, name, done, act)


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    token = arguments.token_file.read_text().strip()
    failed = 0
    with tempfile.TemporaryDirectory() as folder, opened(arguments.url, token, arguments.chromium,
                                                         arguments.screenshots) as ui:  # fmt: skip
        package = pipeline.write(Path(folder, "check.yaml"))
        findings = [] if arguments.only_run else [visit(ui, package, tuple(arguments.page))]
        findings += [run_findings(ui, run) for run in arguments.run]
        for rows in findings:
            for finding in rows:
                print(f"| {finding.page} | {finding.done} | {finding.trouble or 'works'} |", flush=True)
                failed += bool(finding.trouble)
    return int(failed > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kubeflow_ui", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--url", required=True, help="the pipelines API that serves the UI")
    add("--token-file", type=Path, required=True, help="its token")
    add("--run", action="append", default=[], help="a run whose steps and artifacts are opened too; repeatable")
    add("--only-run", action="store_true", help="nothing but those runs")
    add("--page", action="append", default=[], help="only these pages; repeatable")
    add("--screenshots", type=Path, help="a folder for pictures of the pages")
    add("--chromium", type=Path, default=CHROMIUM, help="the browser [default: %(default)s]")
    return parser


if __name__ == "__main__":
    sys.exit(main())
