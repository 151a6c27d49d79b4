"""Step 5: the challenger's drift reference, its own answers on today's mix."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pipelines import reference
from pipelines.registration.tracking import Tracking, step_run
from pipelines.retraining.steps.collect import load_recent
from predictor.openmp import limit_spinning


def measure(
    run: Mapping[str, str], challenger: Path, holdout: Path, out: Path, environ: Mapping[str, str] = os.environ
) -> dict[str, float]:
    """Writes reference.json to the file `out`; how many answers it holds.

    Of the questions as they came in, repeats included, save those that the challenger was trained on. What an earlier
    attempt registered has a reference, which stands.
    """
    limit_spinning()
    tracking = Tracking(environ, run["model"])
    with step_run(tracking, run, "reference") as run_id:
        out.parent.mkdir(parents=True, exist_ok=True)
        if (challenger / reference.FILE).is_file():
            out.write_bytes((challenger / reference.FILE).read_bytes())
            return {}
        from predictor.scorer import Scorer

        found = reference.measure(Scorer.load(challenger), load_recent(holdout))
        out.write_text(found.to_json() + "\n", encoding="utf-8")
        numbers = {"reference_answers": float(found.n)}
        numbers |= {f"reference_mean_{name}": feature.mean for name, feature in found.features.items()}
        tracking.log(run_id, numbers)
        print(f"the reference holds {found.n} answers", flush=True)
        return numbers
