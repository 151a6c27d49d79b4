"""kfp.local as this platform runs it: its task dispatcher and orchestrator, patched to record what happens in them.

kfp.local has no extension points for this, so functions of its modules are replaced by ones that call them. `install`
says which; a kfp without one of them is refused. Corrected on the way: conditions on named outputs and loops
over items that cannot be found (both would be skipped, and the run would succeed), other tasks' outputs inside a loop
(which the loop's item would replace), optional parameters without a value, and what a failed attempt left behind.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp.compiler import pipeline_spec_builder
from kfp.local import (
    executor_input_utils,
    io,
    placeholder_utils,
    status,
    subprocess_task_handler,
    task_dispatcher,
)
from kfp.local.executor_output_utils import pb2_value_to_python
from kfp.local.orchestrator import enhanced_dag_orchestrator, task_executor, task_spec_utils

from local.pipelines import condition, outputs
from local.pipelines.logs import excerpt, trim, wait_and_trim
from local.pipelines.run_recorder import RunRecorder
from local.pipelines.runs import task_id
from local.storage import TRANSIENT_CODES, StorageMonitor, failure_code

log = logging.getLogger(__name__)

TaskPath = tuple[str, ...]
MAX_DISTURBED = 20
"""Executions of one step that a full disk may cost."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """A running DAG: its path and its component. Kept by its IOStore, because loops run their DAGs in other threads."""

    path: TaskPath
    component: Any


@dataclass
class _ThreadState(threading.local):
    """What this thread is in: the DAG whose IOStore is about to be made, and the task that is executed."""

    scope: _Scope | None = None
    task: TaskPath = ()


@dataclass
class KfpLocalPatches:
    """The patches for one run. `files` is its folder, `lock` a descriptor that its steps keep open; `watch` knows when
    the folder could not be written.
    """

    record: RunRecorder
    root: Any
    files: Path
    lock: int
    watch: StorageMonitor
    errors: dict[TaskPath, str] = field(default_factory=dict)
    _state: _ThreadState = field(default_factory=_ThreadState)

    def install(self) -> None:
        run = self.record.run
        self._state.scope = _Scope((), self.root)
        _replace(io.IOStore, "__init__", _scoped(io.IOStore.__init__, self._state))
        _replace(placeholder_utils, "make_random_id", lambda: run)
        # The same folders in every attempt, so that the outputs of finished tasks are where they were.
        _replace(executor_input_utils, "get_local_pipeline_resource_name", lambda name: name)
        _wrap(task_executor, "execute_single_task", self._execute_leaf)
        _wrap(task_dispatcher, "run_single_task_implementation", self._execute_once)
        _wrap(enhanced_dag_orchestrator, "execute_task", self._execute_task)
        _wrap(enhanced_dag_orchestrator, "_run_parallel_for_task", self._run_parallel_for)
        _replace(task_spec_utils, "create_parameter_loop_iteration_task_spec", _iteration_task)
        _replace(subprocess_task_handler, "run_local_subprocess", self._subprocess)
        evaluator = enhanced_dag_orchestrator.ConditionEvaluator
        _replace(evaluator, "evaluate_condition", staticmethod(self._evaluate_condition))

    def _execute_task(self, original: Callable[..., Any], **task: Any) -> Any:
        """A task of a DAG with control flow: a leaf, a nested DAG, or one iteration of a loop."""
        component = task["components"][task["task_spec"].component_ref.name]
        if component.WhichOneof("implementation") != "dag":
            return original(**task)
        path = self._path(task)
        outer_scope = self._state.scope
        self._state.scope = _Scope(path, component)
        self.record.task_started(path)
        try:
            result = original(**task)
        except Exception as error:
            log.exception("task %r cannot be executed", path[-1])
            return self._fail_task(path, error)
        finally:
            self._state.scope = outer_scope
        succeeded = result[1] == status.Status.SUCCESS
        self.record.task_finished(
            path, "SUCCEEDED" if succeeded else "FAILED", "" if succeeded else "a task in it failed"
        )
        return result

    def _execute_leaf(self, original: Callable[..., Any], **task: Any) -> Any:
        """A leaf with all its retries, unless an earlier attempt at the run has finished it."""
        path = self._path(task)
        if (kept := self._kept_outputs(path)) is not None:
            return kept, status.Status.SUCCESS
        self._state.task = path
        self.errors.pop(path, None)
        self.record.task_started(path)
        # A folder for each task: the steps of a DAG that is called twice are the same components.
        root = str(task["pipeline_resource_name"]).partition("/")[0]
        task["pipeline_resource_name"] = "/".join((root, *path[:-1]))
        try:
            produced, result = original(**task)
        except Exception as error:
            log.exception("task %r cannot be executed", path[-1])
            return self._fail_task(path, error)
        finally:
            self._state.task = ()
        if result == status.Status.SUCCESS:
            self.record.task_finished(path, "SUCCEEDED", outputs=outputs.serialize(produced))
        else:
            self.record.step_failed(path, self.errors.get(path, "the step failed"))
        return produced, result

    def _kept_outputs(self, path: TaskPath) -> dict[str, Any] | None:
        stored = self.record.succeeded(path)
        try:
            return None if stored is None else outputs.deserialize(stored)
        except outputs.MissingOutputError as error:
            print(f"task {path[-1]!r} runs again: its output {error} is gone", flush=True)
            return None

    def _execute_once(self, original: Callable[..., Any], **task: Any) -> Any:
        """One execution of a leaf. kfp's set_retry makes several."""
        path = self._state.task
        if path in self.errors:
            self.record.task_retried(path, self.errors.pop(path))
        name = executor_input_utils.get_local_task_resource_name(task["component_name"])
        task_folder = Path(task["pipeline_root"], task["pipeline_resource_name"], name)
        shutil.rmtree(task_folder, ignore_errors=True)
        for absent in [key for key, value in task["arguments"].items() if value is None]:
            # kfp.local accepts None as a default, but not as an argument.
            if (inputs := task["component_spec"].input_definitions.parameters).get(absent):
                inputs[absent].default_value.null_value = 0
            del task["arguments"][absent]
        produced, result = self._retry_on_storage_trouble(lambda: original(**task), path, task_folder)
        if result != status.Status.SUCCESS:
            last_lines = excerpt(self._log(path))
            self.errors[path] = f"the step failed: {last_lines}" if last_lines else "the step failed and wrote nothing"
        return produced, result

    def _retry_on_storage_trouble(self, execute: Callable[[], Any], path: TaskPath, task_folder: Path) -> Any:
        """An execution that fails while the disk cannot be written is not the step's failure: it is repeated later.

        Not for ever, because the step itself may fill the disk.
        """
        for retries_left in range(MAX_DISTURBED, -1, -1):
            started = time.monotonic()
            try:
                result = execute()
            except OSError as error:
                if not retries_left or failure_code(error) not in TRANSIENT_CODES:
                    raise
            else:
                if not retries_left or result[1] == status.Status.SUCCESS or not self.watch.failed_since(started):
                    return result
            print(f"task {path[-1]!r} is executed again once the disk can be written", flush=True)
            self.watch.wait_until_writable()
            shutil.rmtree(task_folder, ignore_errors=True)
        raise AssertionError("the last execution counts, whatever its result")

    def _subprocess(self, full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        """A step's process; its output goes to a file that outlives us, not through a pipe that would end it."""
        path = self._state.task
        env = {
            **os.environ, **(env_vars or {}), "KFP_RUN_ID": self.record.run, "KFP_TASK_NAME": path[-1],
            "KFP_POD_NAME": "-".join(path), "TMPDIR": str(_ensure_folder(self.files / "tmp")), "PYTHONUNBUFFERED": "1",
            # Steps share one environment: what they ask pip for must be there already, never change it.
            "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }  # fmt: skip
        with self._log(path).open("ab") as log:
            process = subprocess.Popen(
                full_command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, pass_fds=(self.lock,)
            )
        code = wait_and_trim(process, self._log(path))
        with suppress(OSError):
            trim(self._log(path))
        return code

    def _evaluate_condition(self, text: str, store: Any) -> bool:
        """dsl.If: what cannot be evaluated fails the run instead of skipping the guarded steps."""
        scope: _Scope = store.scope
        tasks = scope.component.dag.tasks
        guarded_tasks = [name for name in tasks if tasks[name].trigger_policy.condition == text]
        inputs = tasks[guarded_tasks[0]].inputs.parameters

        def value(name: str) -> Any:
            source = inputs[name]
            try:
                if source.HasField("task_output_parameter"):
                    produced = source.task_output_parameter
                    return store.get_task_output(produced.producer_task, produced.output_parameter_key)
                if source.HasField("component_input_parameter"):
                    return store.get_parent_input(source.component_input_parameter)
                return pb2_value_to_python(source.runtime_value.constant)
            except ValueError as error:
                raise condition.ConditionError(f"condition {text!r}: {error}") from None

        holds = condition.evaluate(text, value)
        if not holds:
            for name in guarded_tasks:
                self.record.task_skipped((*scope.path, name))
        return holds

    def _run_parallel_for(self, original: Callable[..., Any], **loop: Any) -> Any:
        """dsl.ParallelFor; every iteration is a task of its own."""
        path, store = self._path(loop), loop["io_store"]
        self.record.task_started(path)
        try:
            failed = original(**loop)
            if loop["task_spec"].WhichOneof("iterator") == "artifact_iterator" and not failed:
                # kfp.local only warns when it finds none.
                task_spec_utils.get_artifact_iterator_items(loop["task_spec"], store, loop["task_name"])
        except Exception as error:
            log.exception("task %r cannot be executed", path[-1])
            self._fail_task(path, error)
            return True
        self.record.task_finished(path, "FAILED" if failed else "SUCCEEDED", "an iteration failed" if failed else "")
        return failed

    def _fail_task(self, path: TaskPath, error: Exception) -> tuple[dict[str, Any], status.Status]:
        """A task that cannot be executed has failed; an exception would bypass the exit handlers."""
        self.record.task_finished(path, "FAILED", " ".join(f"{type(error).__name__}: {error}".split())[:500])
        return {}, status.Status.FAILURE

    def _path(self, task: dict[str, Any]) -> TaskPath:
        name, scope = task["task_name"], task["io_store"].scope.path
        loop, iteration, _ = name.partition("-iteration-")
        return (*scope, loop, name) if iteration else (*scope, name)

    def _log(self, path: TaskPath) -> Path:
        return _ensure_folder(self.files / "logs") / f"{task_id(self.record.run, '/'.join(path))}.log"


def _scoped(original: Callable[..., None], state: _ThreadState) -> Callable[..., None]:
    """IOStore's constructor, which also keeps the scope that the store is made in."""

    def init(store: Any, parent: Any = None) -> None:
        original(store, parent)
        store.scope = state.scope

    return init


def _iteration_task(task: Any, item: Any, _: str) -> Any:
    """The task of one iteration of a loop: the item for its input, and every other input as it is."""
    iteration = type(task)()
    iteration.CopyFrom(task)
    parameter = iteration.inputs.parameters[task.parameter_iterator.item_input]
    parameter.Clear()
    parameter.runtime_value.constant.CopyFrom(pipeline_spec_builder.to_protobuf_value(item))
    iteration.ClearField("parameter_iterator")
    return iteration


def _wrap(module: Any, name: str, hook: Callable[..., Any]) -> None:
    original = getattr(module, name)
    _replace(module, name, lambda **arguments: hook(original, **arguments))


def _replace(module: Any, name: str, value: Any) -> None:
    if not hasattr(module, name):
        raise RuntimeError(f"this kfp has no {module.__name__}.{name}; the platform knows kfp 2.17")
    setattr(module, name, value)


def _ensure_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
