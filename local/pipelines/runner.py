"""The process of one attempt at a run: `python -m local.pipelines.runner FOLDER RUN ATTEMPT`, started by the scheduler.

It holds the run's lock while it lives, runs the pipeline with kfp.local, and writes the result itself before it ends: a
server that was killed in between finds either the result, or neither process nor result, and starts the run again.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from local.pipelines import processes
from local.pipelines.database import FILE, PipelineDatabase, Row
from local.pipelines.run_recorder import RunRecorder
from local.storage import StorageMonitor, retry_while_unwritable, tolerate_output_errors

LOCK_SECONDS = 15.0
log = logging.getLogger(__name__)


def main(folder: Path, run: str, attempt: int) -> int:
    """0 when a result was written, whichever it is."""
    tolerate_output_errors()
    files = folder / "runs" / run
    # Before any import of kfp, so that nothing runs twice however long that takes.
    lock = retry_while_unwritable(lambda: processes.acquire_lock(files / "lock", LOCK_SECONDS), "the run's lock")
    if lock is None:
        print("another process executes this run", file=sys.stderr)
        return processes.SUPERSEDED
    record = RunRecorder(retry_while_unwritable(lambda: PipelineDatabase(folder / FILE), "the database"), run, attempt)
    row = record.begin()
    error = ""
    try:
        error = _execute(record, row, files, lock)
    except Exception as problem:
        log.exception("the run failed")
        error = " ".join(f"{type(problem).__name__}: {problem}".split())[:600]
    if cause := record.cause_of_failure():  # whatever an exit handler made of it
        error = f"task {cause['name']!r}: {cause['error']}"
    shutil.rmtree(files / "tmp", ignore_errors=True)
    record.finish("FAILED" if error else "SUCCEEDED", error)
    return 0


def _execute(record: RunRecorder, row: Row, files: Path, lock: int) -> str:
    """Runs the pipeline; why it failed, or ""."""
    from google.protobuf import json_format
    from kfp import local
    from kfp.local import pipeline_orchestrator
    from kfp.pipeline_spec import pipeline_spec_pb2

    from local.pipelines.kfp_local_patches import KfpLocalPatches

    spec = _with_placeholders(json.loads(row["spec"]), row)
    message = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    workspace = files / "workspace"
    retry_while_unwritable(lambda: workspace.mkdir(parents=True, exist_ok=True), "the run's folder")
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(files / "root"),
        workspace_root=str(workspace),
        raise_on_error=True,
        enable_caching=False,
    )
    watch = StorageMonitor([("run", files)])
    watch.start()
    KfpLocalPatches(record, message.root, files, lock, watch).install()
    try:
        pipeline_orchestrator.run_local_pipeline(message, _arguments(message, json.loads(row["parameters"])))
    except RuntimeError as error:
        return " ".join(str(error).split())[:600]
    return ""


def _arguments(message: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The parameters, with None for optional ones without a default, whose absence kfp.local takes for an error."""
    known = message.root.input_definitions.parameters
    absent = [name for name in known if name not in given and not known[name].default_value.WhichOneof("kind")]
    return {**given, **dict.fromkeys(absent)}


def _with_placeholders(value: Any, row: Row) -> Any:
    """The placeholders for facts of the run that kfp.local does not know."""
    facts = {
        "{{$.pipeline_job_resource_name}}": row["display_name"],
        "{{$.pipeline_job_create_time_utc}}": row["created_at"],
        "{{$.pipeline_job_schedule_time_utc}}": row["scheduled_at"],
    }
    if isinstance(value, str):
        for placeholder, fact in facts.items():
            value = value.replace(placeholder, fact)
        return value
    if isinstance(value, dict):
        return {key: _with_placeholders(item, row) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_placeholders(item, row) for item in value]
    return value


if __name__ == "__main__":
    status = main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    sys.stdout.flush()
    os._exit(status)  # a thread of a step's loop must not hold a finished run's process
