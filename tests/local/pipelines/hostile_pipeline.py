"""A pipeline whose every name, value and file means ill, for whoever shows it."""

# kfp reads the annotations themselves: no postponed evaluation here. A component's body is copied out of this file.
# mypy: disable-error-code="untyped-decorator"
# ruff: noqa: PTH103, PTH118, PTH123, PTH211

import json
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler, dsl

ILL = "</script></style></title></textarea></svg><img src=x onerror=alert(1)><script>alert(2)</script>'\"&amp;{{7*7}}"
"""Breaks out of whatever holds it, if it is not escaped."""
FILE = "<img src=x onerror=alert(3)>'\"&#x3c;?a=1#b %2e%2e"
"""The same as the name of a file."""


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def write(ill: str, file: str, folder: dsl.Output[dsl.Model], scores: dsl.Output[dsl.Metrics],
          classes: dsl.Output[dsl.ClassificationMetrics], page: dsl.Output[dsl.HTML],
          elsewhere: dsl.Output[dsl.Dataset]) -> str:  # fmt: skip
    import os

    os.makedirs(os.path.join(folder.path, file))
    for place in (os.path.join(folder.path, file, file), os.path.join(folder.path, "weights")):
        with open(place, "w") as opened:
            opened.write(ill)
    os.symlink("/etc/hostname", os.path.join(folder.path, "outside"))
    os.symlink("nowhere", os.path.join(folder.path, "broken"))
    with open(os.path.join(os.fsencode(folder.path), b"not-utf8-\xff"), "w") as opened:
        opened.write("x")
    with open(page.path, "w") as opened:
        opened.write(ill)
    folder.metadata[ill] = {ill: [ill]}
    scores.metadata[ill] = ill
    classes.log_confusion_matrix([ill, "b"], [[1, 2], [3, 4]])
    elsewhere.uri = "s3://bucket/" + ill
    print(ill)
    return ill


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def fail(ill: str) -> None:
    raise ValueError(ill)


@dsl.pipeline(name="hostile")
def hostile(given: str, defaulted: str = ILL) -> None:
    written = write(ill=given, file=FILE)
    fail(ill=defaulted).after(written)


def compiled(folder: Path) -> Path:
    """The package, with ill names where the compiler allows none."""
    path = folder / "hostile.yaml"
    compiler.Compiler().compile(hostile, str(path))
    spec: dict[str, Any] = yaml.safe_load(path.read_text())
    for task in spec["root"]["dag"]["tasks"].values():
        task["taskInfo"]["name"] = ILL
    spec["root"]["inputDefinitions"]["parameters"]["defaulted"]["description"] = ILL
    path.write_text(json.dumps(spec))
    return path
