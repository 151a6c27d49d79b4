"""Step 5: the challenger's drift reference, its own answers on the current mix."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pipelines import drift_reference
from pipelines.registration.tracking import Tracking, step_run
from pipelines.retraining.steps.collect_data import load_recent
from pipelines.run_context import RunContext
from predictor.openmp import limit_spinning


def measure_reference(
    run: RunContext, challenger: Path, holdout: Path, out: Path, environ: Mapping[str, str] = os.environ
) -> dict[str, float]:
    """Writes reference.json to the file `out`; returns its number of answers and the features' means.

    Measured on the questions as they came in, including repeats, except those that the challenger was trained on. A
    version that an earlier attempt registered has a reference, which stays.
    """
    limit_spinning()
    tracking = Tracking(environ, run.model)
    with step_run(tracking, run, "reference") as run_id:
        out.parent.mkdir(parents=True, exist_ok=True)
        if (challenger / drift_reference.FILE).is_file():
            out.write_bytes((challenger / drift_reference.FILE).read_bytes())
            return {}
        from predictor.scorer import Scorer

        reference = drift_reference.measure(Scorer.load(challenger), load_recent(holdout))
        out.write_text(reference.to_json() + "\n", encoding="utf-8")
        numbers = {"reference_answers": float(reference.n)}
        numbers |= {f"reference_mean_{name}": feature.mean for name, feature in reference.features.items()}
        tracking.log(run_id, numbers)
        print(f"the reference holds {reference.n} answers", flush=True)
        return numbers
