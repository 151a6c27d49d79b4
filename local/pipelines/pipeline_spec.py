"""A compiled pipeline (KFP IR YAML): read, normalized, and refused where this platform could not run it.

The server reads IR with KFP's own protocol buffers, without importing the SDK, which would cost half a second.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format

from local.pipelines import condition
from local.pipelines.errors import KfpApiError, invalid_argument
from local.yaml_loader import StringDateLoader

MAX_SPEC = 16 * 1024 * 1024
EXECUTOR = "kfp.dsl.executor_main"
_CONTAINERIZED = ["python3", "-m", EXECUTOR]
_MAX_DEPTH = 50
_MAX_TASKS = 2000

Spec = dict[str, Any]


def parse_package(filename: str, content: bytes) -> Spec:
    """The pipeline in an uploaded file: YAML, or one YAML file in a .zip, .tar.gz or .tgz. KfpApiError 400."""
    try:
        if filename.endswith((".tar.gz", ".tgz")):
            content = _from_tar(content)
        elif filename.endswith(".zip"):
            content = _from_zip(content)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
        raise invalid_argument(f"the package {filename[:80]!r} cannot be read: {error}") from None
    return parse_yaml(content)


def parse_yaml(content: bytes | str) -> Spec:
    """The pipeline in IR YAML, of which a second document may be its platform's spec. KfpApiError 400."""
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, StringDateLoader)):
            # A few lines of them can expand to gigabytes, and the compiler writes none.
            raise invalid_argument("the pipeline is not IR YAML: aliases are not supported")
        documents = [document for document in yaml.load_all(content, StringDateLoader) if document is not None]
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise invalid_argument(f"the pipeline is not YAML: {error}") from None
    if not documents or not all(isinstance(document, dict) for document in documents):
        raise invalid_argument(
            "the pipeline is not IR YAML: expected a mapping; compile it with kfp.compiler.Compiler()"
        )
    spec, *platform = documents
    return normalize({"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec)


def normalize(document: Any) -> Spec:
    """The pipeline_spec of a request or file, in camelCase, checked. A platform spec next to it says how a cluster runs
    it, and is dropped. KfpApiError 400 says in one line why it cannot run here.
    """
    if isinstance(document, dict) and ("pipeline_spec" in document or "pipelineSpec" in document):
        document = document.get("pipeline_spec", document.get("pipelineSpec"))
    if not isinstance(document, dict):
        raise invalid_argument("the pipeline_spec must be a JSON object")
    messages = _messages()
    try:
        # What is not JSON, such as a set of YAML's, cannot be stored.
        json.dumps(document, allow_nan=False).encode()
        message = json_format.ParseDict(document, messages.PipelineSpec(), max_recursion_depth=_MAX_DEPTH * 3)
        spec: Spec = json_format.MessageToDict(message)
        json.dumps(spec, allow_nan=False).encode()
    except (json_format.Error, ValueError, TypeError, RecursionError, AttributeError, OverflowError) as error:
        raise invalid_argument(f"the pipeline_spec is not valid: {error}") from None
    _check(spec)
    return spec


def pipeline_name(spec: Spec) -> str:
    return str(spec["pipelineInfo"]["name"])


def iter_tasks(spec: Spec) -> Iterator[tuple[tuple[str, ...], Spec]]:
    """Every task with its path from the root, parents first. What is inside a loop is known only when it iterates."""
    yield from _tasks(spec, spec["root"], ())


def topological_order(tasks: Spec) -> list[str]:
    """The names of a DAG's tasks, each after those it waits for; without the ones that wait for each other."""
    waiting = {key: set(task.get("dependentTasks", [])) for key, task in sorted(tasks.items())}
    done: list[str] = []
    while ready := [key for key, needs in waiting.items() if not needs & waiting.keys()]:
        done += ready
        waiting = {key: needs for key, needs in waiting.items() if key not in ready}
    return done


def component_of(spec: Spec, task: Spec) -> Spec:
    """The component that a task runs."""
    component: Spec = spec["components"][task["componentRef"]["name"]]
    return component


def _tasks(spec: Spec, component: Spec, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Spec]]:
    for key in topological_order(component["dag"]["tasks"]):
        task = component["dag"]["tasks"][key]
        yield (*path, key), task
        inner = component_of(spec, task)
        if "dag" in inner and "parameterIterator" not in task and "artifactIterator" not in task:
            yield from _tasks(spec, inner, (*path, key))


def _check(spec: Spec) -> None:
    label = spec.get("pipelineInfo", {}).get("name", "")
    if not label or not label.isprintable() or "/" in label or ".." in label or len(label) > 128:
        raise invalid_argument("pipelineInfo.name must be a name of at most 128 characters")
    if "dag" not in spec.get("root", {}):
        raise invalid_argument("the pipeline has no root.dag; compile it with kfp.compiler.Compiler()")
    components = spec.setdefault("components", {})
    executors = spec.setdefault("deploymentSpec", {}).setdefault("executors", {})
    if not isinstance(executors, dict):
        raise invalid_argument("deploymentSpec.executors must be a mapping")
    for key, component in components.items():
        if not key.startswith("comp-") or "/" in key or ".." in key:
            raise invalid_argument(f"component {key!r}: its name must begin with comp- and hold no path")
        if "dag" in component:
            continue
        executor = executors.get(component.get("executorLabel", ""))
        if not isinstance(executor, dict):
            raise invalid_argument(f"component {key!r}: there is no executor {component.get('executorLabel')!r}")
        _check_executor(component["executorLabel"], executor)
    _check_dag(spec, spec["root"], ("root",), 0)


def _check_executor(label: str, executor: Spec) -> None:
    try:
        json_format.ParseDict(executor, _messages().PipelineDeploymentConfig.ExecutorSpec())
    except (json_format.Error, TypeError, AttributeError) as error:
        raise invalid_argument(f"executor {label!r} is not valid: {error}") from None
    if "importer" in executor:
        return
    if "container" not in executor:
        raise invalid_argument(
            f"executor {label!r}: only Python components and importers run here, found {sorted(executor)}"
        )
    command = executor["container"].get("command", [])
    if not any(EXECUTOR in part for part in command) or command[:3] == _CONTAINERIZED:
        image = executor["container"].get("image", "")
        raise invalid_argument(
            f"executor {label!r} is a container component (image {image!r}), which needs a cluster; "
            "on one machine only lightweight Python components (@dsl.component without target_image) run"
        )


def _check_dag(spec: Spec, component: Spec, path: tuple[str, ...], before: int) -> int:
    """The number of tasks so far: components that use components can stand for any number of them."""
    where = "/".join(path)
    if len(path) > _MAX_DEPTH:
        raise invalid_argument(f"the pipeline nests more than {_MAX_DEPTH} levels, or within itself: {where[:80]}")
    tasks = component["dag"].setdefault("tasks", {})
    if not tasks:
        raise invalid_argument(f"{where} has no tasks")
    count = before + len(tasks)
    if count > _MAX_TASKS:
        raise invalid_argument(f"the pipeline has more than {_MAX_TASKS} tasks")
    for key, task in tasks.items():
        if not key or "/" in key or ".." in key:
            raise invalid_argument(f"task {key!r} in {where}: its name must not hold a path")
        reference = task.get("componentRef", {}).get("name", "")
        inner = spec["components"].get(reference)
        if inner is None:
            raise invalid_argument(f"task {key!r} in {where}: there is no component {reference!r}")
        missing = [other for other in task.get("dependentTasks", []) if other not in tasks]
        if missing:
            raise invalid_argument(f"task {key!r} in {where} waits for {missing[0]!r}, which does not exist")
        _check_condition(key, task, where)
        if "dag" in inner:
            count = _check_dag(spec, inner, (*path, key), count)
    if len(ordered := topological_order(tasks)) < len(tasks):
        raise invalid_argument(
            f"the tasks {', '.join(sorted(tasks.keys() - set(ordered)))[:200]} in {where} wait for each other"
        )
    return count


def _check_condition(key: str, task: Spec, where: str) -> None:
    """A condition that could not be evaluated would skip its steps and let the run succeed."""
    text = task.get("triggerPolicy", {}).get("condition", "")
    if not text:
        return
    try:
        names = condition.input_names(text)
    except condition.ConditionError as error:
        raise invalid_argument(f"task {key!r} in {where}: {error}") from None
    inputs = task.get("inputs", {}).get("parameters", {})
    if unknown := sorted(names - inputs.keys()):
        raise invalid_argument(
            f"task {key!r} in {where}: its condition reads {unknown[0]!r}, which is not one of its inputs"
        )


def _from_tar(content: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        members = {member.name: member for member in archive if member.isfile()}
        chosen = members[_choose_member(list(members))]
        stream = archive.extractfile(chosen)
        return _limited(stream.read(MAX_SPEC + 1) if stream else b"")


def _from_zip(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(_choose_member(archive.namelist())) as stream:
        return _limited(stream.read(MAX_SPEC + 1))


def _choose_member(names: list[str]) -> str:
    candidates = [entry for entry in names if entry.endswith((".yaml", ".yml"))]
    if "pipeline.yaml" in candidates:
        return "pipeline.yaml"
    if len(candidates) != 1:
        raise ValueError(f"expected pipeline.yaml or exactly one YAML file in it, found {len(candidates)}")
    return candidates[0]


def _limited(content: bytes) -> bytes:
    if len(content) > MAX_SPEC:
        raise KfpApiError(8, f"the pipeline is larger than {MAX_SPEC} bytes")
    return content


@functools.cache
def _messages() -> Any:
    """KFP's pipeline_spec_pb2, loaded from its file."""
    package = importlib.util.find_spec("kfp")
    if package is None or package.origin is None:
        raise RuntimeError("kfp is not installed")
    path = Path(package.origin).parent / "pipeline_spec" / "pipeline_spec_pb2.py"
    module_spec = importlib.util.spec_from_file_location("_kfp_pipeline_spec_pb2", path)
    if module_spec is None or module_spec.loader is None:
        raise RuntimeError(f"{path} is not there: this kfp is not supported")
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module
