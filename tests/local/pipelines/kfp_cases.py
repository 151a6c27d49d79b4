"""Pipelines of a few small steps. Where a step says that it ran, it appends a line to the file `marks`."""

# kfp reads NamedTuple(…) as an annotation.
# mypy: disable-error-code="arg-type, call-arg, name-match, valid-type"
# ruff: noqa: PTH103, PTH110, PTH118, PTH123 - a component's body is copied out of this file and imports for itself

# kfp reads the annotations themselves: no postponed evaluation here.
from typing import List, NamedTuple, Optional  # noqa: UP035

from kfp import dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def decide(x: float) -> bool:
    return x > 0.5


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def verdict(x: float) -> NamedTuple("Verdict", [("passed", bool), ("why", str), ("count", int)]):
    from collections import namedtuple

    return namedtuple("Verdict", "passed why count")(x > 0.5, "it's more", 3)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def note(text: str, marks: str, seconds: float = 0.0) -> str:
    import fcntl
    import time

    with open(marks, "a") as file:
        file.write(text + "\n")
    print("noted", text, flush=True)
    with open(marks + "." + text, "a") as alone:
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with open(marks, "a") as file:
                file.write("twice at once\n")
        time.sleep(seconds)
    return text


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def fail_until(marks: str, times: int) -> int:
    import os

    with open(marks, "a") as file:
        file.write("try\n")
    with open(marks) as file:
        tries = len(file.readlines())
    print("this is try", tries, "in", os.environ["KFP_TASK_NAME"])
    if tries < times:
        raise ValueError(f"not yet: {tries} of {times}")
    return tries


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def write_reports(
    metrics: dsl.Output[dsl.Metrics],
    page: dsl.Output[dsl.HTML],
    text: dsl.Output[dsl.Markdown],
    data: dsl.Output[dsl.Dataset],
) -> None:
    metrics.log_metric("accuracy", 0.75)
    with open(page.path, "w") as file:
        file.write("<h1>Report</h1>")
    with open(text.path, "w") as file:
        file.write("# Report")
    with open(data.path, "w") as file:
        file.write("1,2,3")
    data.metadata["rows"] = 1


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def read_data(data: dsl.Input[dsl.Dataset], marks: str) -> None:
    with open(data.path) as file, open(marks, "a") as out:
        out.write(f"{file.read()} {data.metadata['rows']}\n")


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def say_goodbye(marks: str, status: dsl.PipelineTaskFinalStatus) -> None:
    with open(marks, "a") as file:
        file.write(f"goodbye {status.state}\n")


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def tell(run: str, optional: Optional[str] = None) -> str:  # noqa: UP045
    import os

    return f"{run} {os.environ['KFP_RUN_ID']} {os.environ.get('GREETING')} {optional}"


@dsl.container_component
def shell() -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image="alpine", command=["sh", "-c", "echo hello"])


@dsl.pipeline(name="gated", description="A gate, and what it lets through.")
def gated(x: float, marks: str) -> None:
    gate = decide(x=x)
    with dsl.If(gate.output == True, name="passed"):  # noqa: E712
        note(text="passed", marks=marks)
    with dsl.Else(name="refused"):
        note(text="refused", marks=marks)


@dsl.pipeline(name="named")
def named(x: float, marks: str) -> None:
    actual = verdict(x=x)
    with dsl.If(actual.outputs["passed"] == True, name="passed"):  # noqa: E712
        note(text="passed", marks=marks)
        with dsl.If(actual.outputs["why"] != "other", name="why"), dsl.If(actual.outputs["count"] >= 3, name="enough"):
            note(text="nested", marks=marks)


@dsl.pipeline(name="handled")
def handled(marks: str, tries: str, times: int = 99) -> None:
    with dsl.ExitHandler(say_goodbye(marks=marks), name="guarded"):
        tried = fail_until(marks=tries, times=times)
        note(text="after", marks=marks).after(tried)
        note(text="beside", marks=marks)


@dsl.pipeline(name="flaky")
def flaky(marks: str, times: int) -> None:
    fail_until(marks=marks, times=times).set_retry(num_retries=2, backoff_duration="0s")


@dsl.pipeline(name="chain")
def chain(marks: str, seconds: float = 0.0) -> None:
    first = note(text="first", marks=marks)
    nap = note(text="nap", marks=marks, seconds=seconds).after(first)
    note(text="last", marks=marks).after(nap)


@dsl.pipeline(name="reports")
def reports(marks: str) -> None:
    made = write_reports()
    read_data(data=made.outputs["data"], marks=marks)


@dsl.pipeline(name="loop")
def loop(marks: str, items: List[str] = ["a", "b", "c"]) -> None:  # noqa: UP006, B006
    with dsl.ParallelFor(items) as item:
        note(text=item, marks=marks)


@dsl.pipeline(name="facts")
def facts(optional: Optional[str] = None) -> str:  # noqa: UP045
    return tell(run=dsl.PIPELINE_JOB_ID_PLACEHOLDER, optional=optional).output


@dsl.pipeline(name="typed")
def typed(text: str, whole: int, number: float, flag: bool, many: List[int], thing: dict = {}) -> None:  # noqa: UP006, B006
    note(text=text, marks="/dev/null")


@dsl.pipeline(name="contained")
def contained() -> None:
    shell()


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def leave_behind(marks: str) -> None:
    import subprocess

    subprocess.Popen(["sleep", "300"], start_new_session=True)


@dsl.component(base_image="python:3.11", packages_to_install=["there-is-no-such-package==1.0"])
def ask_for_package() -> None:
    print("not reached")


@dsl.pipeline(name="leaving")
def leaving(marks: str) -> None:
    leave_behind(marks=marks)


@dsl.pipeline(name="asking")
def asking() -> None:
    ask_for_package()


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def join(texts: List[str], marks: str) -> str:  # noqa: UP006
    with open(marks, "a") as file:
        file.write("+".join(sorted(texts)) + "\n")
    return "+".join(texts)


@dsl.pipeline
def inner(x: float, marks: str) -> str:
    gate = decide(x=x)
    with dsl.If(gate.output == True):  # noqa: E712
        high = note(text="high", marks=marks)
    with dsl.Else():
        low = note(text="low", marks=marks)
    return dsl.OneOf(high.output, low.output)


@dsl.pipeline(name="nested")
def nested(marks: str) -> None:
    first = inner(x=0.9, marks=marks)
    second = inner(x=0.1, marks=marks)
    with dsl.ParallelFor(["1", "2", "3"]) as item:
        reported = note(text=f"{first.output}-{second.output}-{item}", marks=marks)
    join(texts=dsl.Collected(reported.output), marks=marks)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def make_all(
    marks: str,
    name: str,
    data: dsl.Output[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    classified: dsl.Output[dsl.ClassificationMetrics],
    sliced: dsl.Output[dsl.SlicedClassificationMetrics],
    page: dsl.Output[dsl.HTML],
    text: dsl.Output[dsl.Markdown],
    anything: dsl.Output[dsl.Artifact],
    described: dsl.Output[dsl.Artifact],
    elsewhere: dsl.Output[dsl.Model],
) -> None:
    import os

    with open(marks, "a") as file:
        file.write(f"made {name}\n")
    with open(data.path, "w") as file:
        file.write(name)
    os.makedirs(model.path)
    with open(os.path.join(model.path, "weights"), "w") as file:
        file.write(name)
    metrics.log_metric("accuracy", 0.75)
    classified.log_confusion_matrix(["a", "b"], [[1, 2], [3, 4]])
    sliced.metadata["evaluationSlices"] = [{"slice": "one"}]  # its own methods raise AttributeError in kfp 2.17
    for artifact in (page, text, anything):
        with open(artifact.path, "w") as file:
            file.write(name)
    described.metadata["only"] = name
    elsewhere.uri = "s3://bucket/" + name


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def make_values(
    marks: str,
) -> NamedTuple(
    "Values", [("text", str), ("whole", int), ("number", float), ("flag", bool), ("many", list), ("thing", dict)]
):
    from collections import namedtuple

    with open(marks, "a") as file:
        file.write("made values\n")
    values = namedtuple("Values", "text whole number flag many thing")
    return values("", 0, 3.0, False, [], {"a": {"b": [1, 1.5, "ä"]}})


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def make_data(marks: str, name: str, data: dsl.Output[dsl.Dataset]) -> None:
    with open(marks, "a") as file:
        file.write(f"made data {name}\n")
    with open(data.path, "w") as file:
        file.write(name)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def use_all(
    marks: str,
    wait_for: str,
    data: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    metrics: dsl.Input[dsl.Metrics],
    classified: dsl.Input[dsl.ClassificationMetrics],
    sliced: dsl.Input[dsl.SlicedClassificationMetrics],
    page: dsl.Input[dsl.HTML],
    text: dsl.Input[dsl.Markdown],
    anything: dsl.Input[dsl.Artifact],
    described: dsl.Input[dsl.Artifact],
    elsewhere: dsl.Input[dsl.Model],
    imported: dsl.Input[dsl.Dataset],
    word: str,
    whole: int,
    number: float,
    flag: bool,
    many: list,
    thing: dict,
) -> None:
    import json
    import os
    import time

    with open(marks, "a") as file:
        file.write("use\n")
    if wait_for == "kill":
        while open(marks).read().count("use\n") < 2:  # noqa: SIM115
            time.sleep(0.05)
    elif not os.path.exists(wait_for):
        raise RuntimeError("not yet")
    files = [open(artifact.path).read() for artifact in (data, page, text, anything)]  # noqa: SIM115
    files.append(open(os.path.join(model.path, "weights")).read())  # noqa: SIM115
    reported = [
        *files, metrics.metadata, sorted(classified.metadata), sorted(sliced.metadata), described.metadata,
        elsewhere.uri, imported.uri, imported.metadata, word, whole, number, flag, many, thing,
    ]  # fmt: skip
    with open(marks, "a") as file:
        file.write(json.dumps(reported) + "\n")


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def use_list(marks: str, data: dsl.Input[List[dsl.Dataset]]) -> None:  # noqa: UP006
    with open(marks, "a") as file:
        file.write("+".join(sorted(open(artifact.path).read() for artifact in data)) + "\n")  # noqa: SIM115


@dsl.pipeline
def inside(marks: str, name: str) -> dsl.Dataset:
    return make_data(marks=marks, name=name).outputs["data"]


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def use_two(marks: str, one: dsl.Input[dsl.Dataset], two: dsl.Input[dsl.Dataset]) -> None:
    with open(marks, "a") as file, open(one.path) as first, open(two.path) as second:
        file.write(f"{first.read()} {second.read()}\n")


@dsl.pipeline(name="everything")
def everything(marks: str, wait_for: str) -> None:
    with dsl.ExitHandler(say_goodbye(marks=marks), name="guarded"):
        made = make_all(marks=marks, name="x")
        values = make_values(marks=marks)
        imported = dsl.importer(
            artifact_uri="/nowhere/at/all", artifact_class=dsl.Dataset, metadata={"rows": 3}, reimport=False
        )
        with dsl.ParallelFor(["a", "b", "c"], name="loop") as item:
            part = make_data(marks=marks, name=item)
        collected = dsl.Collected(part.outputs["data"])
        first, second = inside(marks=marks, name="1"), inside(marks=marks, name="2")
        with dsl.If(values.outputs["number"] > 2.5, name="if"):
            make_data(marks=marks, name="guarded")
        got = values.outputs
        used = use_all(
            marks=marks, wait_for=wait_for, imported=imported.output, word=got["text"], whole=got["whole"],
            number=got["number"], flag=got["flag"], many=got["many"], thing=got["thing"],
            **{name: made.outputs[name] for name in (
                "data", "model", "metrics", "classified", "sliced", "page", "text", "anything", "described",
                "elsewhere")},
        )  # fmt: skip
        use_list(marks=marks, data=collected).after(used)
        use_two(marks=marks, one=first.output, two=second.output).after(used)
