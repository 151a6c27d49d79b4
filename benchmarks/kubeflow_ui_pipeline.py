"""A pipeline of a few seconds with everything that Kubeflow's UI draws, for `benchmarks.kubeflow_ui`."""

# kfp reads the annotations themselves: no postponed evaluation here. A component's body is copied out of this file.
# mypy: disable-error-code="untyped-decorator"
# ruff: noqa: PTH123

from pathlib import Path

from kfp import compiler, dsl

NAME = "kubeflow-ui-check"
LOG_LINE = "measured 8 of 10"


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def measure(
    share: float,
    table: dsl.Output[dsl.Dataset],
    scores: dsl.Output[dsl.Metrics],
    classes: dsl.Output[dsl.ClassificationMetrics],
    curve: dsl.Output[dsl.ClassificationMetrics],
    page: dsl.Output[dsl.HTML],
    notes: dsl.Output[dsl.Markdown],
) -> int:
    with open(table.path, "w") as file:
        file.write("question,answer\n1,A\n2,B\n")
    table.metadata["rows"] = 2
    scores.log_metric("accuracy", share)
    scores.log_metric("questions", 10)
    classes.log_confusion_matrix(["A", "B"], [[4, 1], [1, 4]])
    curve.log_roc_curve([0.0, 0.2, 1.0], [0.0, 0.8, 1.0], [1.0, 0.5, 0.0])
    with open(page.path, "w") as file:
        file.write("<h1>A report of HTML</h1><script>document.title = 'its script ran'</script>")
    with open(notes.path, "w") as file:
        file.write("# Notes of Markdown\n\n<img src=x onerror=\"document.title='its handler ran'\">")
    print("measured 8 of 10")
    return 8


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def read(table: dsl.Input[dsl.Dataset], right: int, seconds: float, fails: bool) -> str:
    import time

    time.sleep(seconds)
    if fails:
        raise ValueError("asked to fail")
    with open(table.path) as file:
        return f"{len(file.readlines())} lines, {right} right"


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def each(item: str) -> str:
    return item.upper()


@dsl.pipeline(name=NAME, description="Every kind of artifact, a loop and a condition.")
def check(share: float = 0.8, seconds: float = 0.0, fails: bool = False) -> None:
    measured = measure(share=share)
    told = read(table=measured.outputs["table"], right=measured.outputs["Output"], seconds=seconds, fails=fails)
    with dsl.ParallelFor(["a", "b"], name="letters") as item:
        each(item=item).after(told)
    with dsl.If(measured.outputs["Output"] > 5, name="enough"):
        each(item=told.output)


def write(path: Path) -> Path:
    """The compiled pipeline."""
    compiler.Compiler().compile(check, str(path))
    return path
