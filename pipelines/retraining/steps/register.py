"""Step 6: the challenger becomes a registered version, then gets its alias."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import links
from common.gate_tag import GATE_TAG
from common.mlflow.runs import PIPELINE_STEP
from common.names import CHALLENGER, CHAMPION
from functions.rollout.version_tag import ROLLOUT_TAG
from pipelines import drift_reference
from pipelines.registration import versions
from pipelines.registration.tracking import Tracking, id_of, step_run, tags_of
from pipelines.retraining import events
from pipelines.retraining.steps.collect_data import SUBJECTS_TAG, load_about
from pipelines.run_context import RunContext

OFFERED_TAG = "offered"
"""On a version that was given the alias: it is never given a second time, the rollout may have decided since."""


def register(
    run: RunContext,
    challenger: Path,
    reference_file: Path,
    holdout: Path,
    numbers: Mapping[str, float],
    environ: Mapping[str, str] = os.environ,
) -> str:
    """Returns the version's number. `numbers` are the evaluation's, for the registry.

    The alias comes last, and only while the champion is the version that the challenger was compared with. Otherwise
    the version stays without the alias, and its tag says why.
    """
    tracking = Tracking(environ, run.model)
    with step_run(tracking, run, "register") as run_id:
        about = load_about(holdout)
        parent = tracking.find_run(run.run_key, PIPELINE_STEP)
        gate = tags_of(parent).get(GATE_TAG, "")
        with tempfile.TemporaryDirectory(prefix="mcqa-version-") as temporary:
            folder = Path(temporary)
            versions.link_files(challenger, folder)
            (folder / drift_reference.FILE).unlink(missing_ok=True)
            (folder / drift_reference.FILE).write_bytes(reference_file.read_bytes())
            candidate = versions.Candidate(
                folder,
                run.run_key,
                run_id,
                tags=_version_tags(run, about, gate, environ),
                params={"champion": run.champion, "data_digest": about["digest"]},
                metrics=numbers,
                description=f"Fine-tuned from version {run.champion}: {run.reason}",
            )
            version = versions.register(tracking, environ["MLFLOW_TRACKING_URI"], candidate).version
        if parent is not None:
            tracking.tag_run(id_of(parent), "version", version)
        event = events.published(run.run_key, run.traceparent, run.model, version, champion=run.champion, gate=gate)
        events.send(event, environ)
        print(f"{run.model} version {version}: {offer(tracking, version, run.champion)}", flush=True)
        print(f"MLflow: {links.mlflow_version(environ, run.model, version)}", flush=True)
        return version


def offer(tracking: Tracking, version: str, champion: str) -> str:
    """Gives the version the alias challenger, once and if the champion is still the one it beat. Returns a line."""
    registered, model = tracking.version(version), tracking.model()
    assert registered is not None
    assert model is not None
    current = model.aliases.get(CHAMPION)
    if current == version or ROLLOUT_TAG in registered.tags or OFFERED_TAG in registered.tags:
        return "was offered before, nothing changed"
    if current != champion:
        reason = f"compared with version {champion}, but the champion is {current}"
        tracking.set_tag(version, "not_offered", reason)
        return f"not offered: {reason}"
    tracking.set_alias(CHALLENGER, version)
    tracking.set_tag(version, OFFERED_TAG, f"as challenger of version {champion}")
    return "is challenger"


def _version_tags(run: RunContext, about: Mapping[str, Any], gate: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Where the version comes from; without what is empty."""
    tags = {
        "pipeline_run": run.pipeline_run,
        "drift_event": run.drift_event,
        "champion": run.champion,
        "traceparent": run.traceparent,
        "reason": run.reason,
        "data_digest": about["digest"],
        GATE_TAG: gate,
        SUBJECTS_TAG: ",".join(about[SUBJECTS_TAG]),
        "commit": environ.get("MCQA_COMMIT", ""),
    }
    return {name: value for name, value in tags.items() if value}
