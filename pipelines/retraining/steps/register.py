"""Step 6: the challenger becomes a registered version, then gets its alias."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from common import links
from common.names import CHALLENGER, CHAMPION
from functions.rollout.world import ROLLOUT_TAG
from pipelines import reference
from pipelines.registration import versions
from pipelines.registration.tracking import PIPELINE_STEP, Tracking, id_of, step_run, tags_of
from pipelines.retraining import events
from pipelines.retraining.steps.collect import SUBJECTS_TAG, load_about
from predictor.storage.version_folder import data_files

OFFERED_TAG = "offered"
"""On a version that had its alias: never given it a second time, the rollout may have decided since."""


def register(
    run: Mapping[str, str],
    challenger: Path,
    reference_file: Path,
    holdout: Path,
    numbers: Mapping[str, float],
    environ: Mapping[str, str] = os.environ,
) -> str:
    """The version's number. `numbers` are the evaluation's, for the registry.

    The alias comes last, and only while the champion is the version that the challenger was compared with; otherwise
    the version stays without it and its tag says why.
    """
    uri = environ["MLFLOW_TRACKING_URI"]
    tracking = Tracking(environ, run["model"])
    with step_run(tracking, run, "register") as run_id:
        about = load_about(holdout)
        parent = tracking.find_run(run["run_key"], PIPELINE_STEP)
        named = ("pipeline_run", "drift_event", "champion", "traceparent", "reason")
        every = {
            **{name: run[name] for name in named},
            "data_digest": about["digest"],
            "gate": tags_of(parent).get("gate", ""),
            SUBJECTS_TAG: ",".join(about[SUBJECTS_TAG]),
            **({"commit": commit} if (commit := environ.get("MCQA_COMMIT", "")) else {}),
        }
        with tempfile.TemporaryDirectory(prefix="mcqa-version-") as temporary:
            folder = Path(temporary)
            for name, path in data_files(challenger).items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).symlink_to(path)
            (folder / reference.FILE).unlink(missing_ok=True)
            (folder / reference.FILE).write_bytes(reference_file.read_bytes())
            candidate = versions.Candidate(
                folder,
                run["run_key"],
                run_id,
                tags={name: value for name, value in every.items() if value},
                params={"champion": run["champion"], "data_digest": about["digest"]},
                metrics=numbers,
                description=f"Fine-tuned from version {run['champion']}: {run['reason']}",
            )
            version = versions.register(tracking, uri, candidate).version
        if parent is not None:
            tracking.tag_run(id_of(parent), "version", version)
        event = events.published(
            run["run_key"], run["traceparent"], run["model"], version, champion=run["champion"], gate=every["gate"]
        )
        events.send(event, environ)
        print(f"{run['model']} version {version}: {offer(tracking, version, run['champion'])}", flush=True)
        print(f"MLflow: {links.mlflow_version(environ, run['model'], version)}", flush=True)
        return version


def offer(tracking: Tracking, version: str, champion: str) -> str:
    """Gives the version the alias challenger, once and if the champion is still the one it beat; what was done."""
    found, model = tracking.version(version), tracking.model()
    assert found is not None
    assert model is not None
    now = model.aliases.get(CHAMPION)
    if now == version or ROLLOUT_TAG in found.tags or OFFERED_TAG in found.tags:
        return "was offered before, nothing changed"
    if now != champion:
        tracking.set_tag(version, "not_offered", f"compared with version {champion}, but the champion is {now}")
        return f"not offered: compared with version {champion}, but the champion is {now}"
    tracking.set_alias(CHALLENGER, version)
    tracking.set_tag(version, OFFERED_TAG, f"as challenger of version {champion}")
    return "is challenger"
