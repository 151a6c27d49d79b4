"""The last step, whatever happened: closes the run's record and sends the event that says how it ended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from common.gate_tag import GATE_TAG, GateTag
from common.mlflow.runs import PIPELINE_STEP
from common.names import PIPELINE
from pipelines.registration import versions
from pipelines.registration.tracking import ATTEMPT_TAG, Tracking, id_of, tags_of
from pipelines.retraining import events
from pipelines.retraining.steps import run_identity
from pipelines.run_context import RunContext

STEPS = ("collect-data", "fine-tune", "evaluate", "gate", "reference", "register")


def outcome(gate: GateTag | None, version: str, failed: Mapping[str, str], state: str) -> tuple[str, str]:
    """(outcome, errors) of a run. `gate`: its verdict; `failed`: errors by step; `state`: Kubeflow's, or "".

    success: a version was registered. failure: the gate did not pass it. error: the run broke.
    """
    errors = "; ".join(f"{step}: {error}" for step, error in failed.items())
    if state == "FAILED" or failed:
        return "error", errors or "a step ended without saying why; see its log"
    if version:
        return "success", ""
    if gate is None:
        return "error", "the run ended before the gate had decided"
    if gate.verdict == "pass":
        return "error", "the gate passed, but no version was registered"
    return "failure", f"gate {gate.encode()}"


def report(run: RunContext, state: str, page: Path, environ: Mapping[str, str] = os.environ) -> str:
    """Writes the Markdown `page`; returns the outcome. `state` is what Kubeflow says of the steps before."""
    run = run_identity.with_model(run, environ)
    tracking = Tracking(environ, run.model)
    if not run.run_key:
        run = run_identity.with_recorded(run, run_identity.recorded_tags(tracking, run))
        run = run_identity.with_key(run, run.run_key or run_identity.key_of_run(run.pipeline_run))
    # A step that never started before the record began leaves no parent either.
    title = f"{PIPELINE} {run.run_key[:16]}"
    parent = tracking.find_run(run.run_key, PIPELINE_STEP)
    run_id = id_of(parent) if parent else tracking.start_run(run.run_key, PIPELINE_STEP, title, {})
    gate = tags_of(parent).get(GATE_TAG, "")
    version = versions.find(tracking, run.run_key)
    failed = _failed_steps(tracking, run)
    ended, errors = outcome(GateTag.decode(gate), version.version if version else "", failed, state)
    custom = {
        "reason": run.reason,
        "gate": gate,
        "drift_event": run.drift_event,
        "champion": run.champion,
    }
    if version:
        custom["version"] = version.version
    events.send(events.finished(run.run_key, run.traceparent, ended, errors, **custom), environ)
    for key, value in (("outcome", ended), ("error", errors)):
        tracking.tag_run(run_id, key, value)
    tracking.end_run(run_id, "FAILED" if ended == "error" else "FINISHED")
    text = f"# {title}: {ended}\n\n{errors or gate}\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    print(text, flush=True)
    return ended


def _failed_steps(tracking: Tracking, run: RunContext) -> dict[str, str]:
    """The errors of the steps that this run of the pipeline left failed or unfinished, by step."""
    failed = {}
    for step in STEPS:
        record = tracking.find_run(run.run_key, step)
        tags = tags_of(record)
        if record is None or tags.get(ATTEMPT_TAG) != run.pipeline_run:
            continue
        if record["info"]["status"] == "FAILED":
            failed[step] = tags.get("error", "")
        elif record["info"]["status"] == "RUNNING":
            failed[step] = "was killed"
    return failed
