"""The last step, whatever happened: closes the run's record and tells the loop how it ended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pipelines.registration import versions
from pipelines.registration.tracking import ATTEMPT_TAG, PIPELINE_STEP, Tracking, id_of, tags_of
from pipelines.retraining import PIPELINE, events
from pipelines.retraining.steps import identity

STEPS = ("collect-data", "fine-tune", "evaluate", "gate", "reference", "register")


def outcome(gate: str, version: str, failed: Mapping[str, str], state: str) -> tuple[str, str]:
    """(outcome, errors) of a run. `gate`: its line or ""; `failed`: errors by step; `state`: Kubeflow's, or "".

    success: a version was registered. failure: the gate did not pass it. error: the run broke.
    """
    errors = "; ".join(f"{step}: {error}" for step, error in failed.items())
    if state == "FAILED" or failed:
        return "error", errors or "a step ended without saying why; its log may"
    if version:
        return "success", ""
    if gate and not gate.startswith("pass"):
        return "failure", f"gate {gate}"
    return "error", "the run ended before the gate had decided" if not gate else "passed, but no version was registered"


def report(run: Mapping[str, str], state: str, page: Path, environ: Mapping[str, str] = os.environ) -> str:
    """Writes the Markdown `page`; the outcome. `state` is what Kubeflow says of the steps before."""
    run = {**run, "model": identity.model_of(run, environ)}
    tracking = Tracking(environ, run["model"])
    if not run["run_key"]:
        run = identity.complete(run, identity.recorded(tracking, run))
        run = identity.named(run, run["run_key"] or identity.key_of_run(run["pipeline_run"]))
    failed = {}
    for step in STEPS:
        found = tracking.find_run(run["run_key"], step)
        tags = tags_of(found)
        if found is None or tags.get(ATTEMPT_TAG) != run["pipeline_run"]:
            continue
        if found["info"]["status"] == "FAILED":
            failed[step] = tags.get("error", "")
        elif found["info"]["status"] == "RUNNING":
            failed[step] = "was killed"
    # A step that never started before the record began leaves no parent either.
    title = f"{PIPELINE} {run['run_key'][:16]}"
    parent = tracking.find_run(run["run_key"], PIPELINE_STEP)
    run_id = id_of(parent) if parent else tracking.start_run(run["run_key"], PIPELINE_STEP, title, {})
    gate = tags_of(parent).get("gate", "")
    version = versions.find(tracking, run["run_key"])
    ended, errors = outcome(gate, version.version if version else "", failed, state)
    custom = {"reason": run["reason"], "gate": gate, "drift_event": run["drift_event"], "champion": run["champion"]}
    if version:
        custom["version"] = version.version
    events.send(events.finished(run["run_key"], run["traceparent"], ended, errors, **custom), environ)
    for key, value in (("outcome", ended), ("error", errors)):
        tracking.tag_run(run_id, key, value)
    tracking.end_run(run_id, "FAILED" if ended == "error" else "FINISHED")
    text = f"# {title}: {ended}\n\n{errors or gate}\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    print(text, flush=True)
    return ended
