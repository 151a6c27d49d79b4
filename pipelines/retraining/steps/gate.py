"""Step 4: the gate. May the challenger stand against live traffic?"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pipelines.quality_gate import GateConfig, GateResult, PairedAnswers, gate
from pipelines.registration.tracking import PIPELINE_STEP, Tracking, id_of, step_run
from pipelines.retraining import events
from pipelines.retraining.steps.evaluate import read_results

OFF = "off"
SIGNS = {"pass": "✅", "fail": "❌", "inconclusive": "❔"}


def decide(
    run: Mapping[str, str],
    results: Path,
    verdict: Path,
    options: Mapping[str, Any],
    environ: Mapping[str, str] = os.environ,
) -> bool:
    """Writes the Markdown `verdict`; whether the challenger passed. `options` override the gate's GateConfig.

    A version that was registered under this run key has passed before, and is not judged twice.
    """
    tracking = Tracking(environ, run["model"])
    with step_run(tracking, run, "gate") as run_id:
        records, seconds = read_results(results)
        current = PairedAnswers.join(records["champion-current"], records["challenger-current"])
        old = PairedAnswers.join(records["champion-old"], records["challenger-old"]) if "champion-old" in records else None
        found = gate(current, old, seconds, config(options))
        registered = run.get("registered", "")
        passed = bool(registered) or found.verdict == "pass"
        text = markdown(found, run["champion"], registered)
        verdict.parent.mkdir(parents=True, exist_ok=True)
        verdict.write_text(text, encoding="utf-8")
        line = one_line(found, registered)
        parent = tracking.find_run(run["run_key"], PIPELINE_STEP)
        for each in (run_id, *([id_of(parent)] if parent else [])):
            tracking.tag_run(each, "gate", line)
        tracking.upload(run_id, "verdict.md", text)
        tracking.upload(run_id, "gate.json", json.dumps(found.to_dict()))
        said = "pass" if passed else found.verdict
        event = events.gated(run["run_key"], run["traceparent"], said, line, champion=run["champion"])
        events.send(event, environ)
        print(text, flush=True)
        return passed


def config(options: Mapping[str, Any]) -> GateConfig:
    """The gate's configuration; ValueError names an unknown option.

    A guard is switched off by the text "off": a parameter of Kubeflow's cannot hold a null.
    """
    known = {f.name for f in fields(GateConfig)}
    if unknown := options.keys() - known:
        raise ValueError(f"no gate option {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    whole = {"min_questions": int(options["min_questions"])} if "min_questions" in options else {}
    values: dict[str, Any] = {name: None if value == OFF else value for name, value in {**options, **whole}.items()}
    return GateConfig(**values)


def one_line(found: GateResult, registered: str = "") -> str:
    """The verdict and what it rests on."""
    if registered:
        return f"pass: registered as version {registered} by an earlier attempt"
    return f"{found.verdict}: {'; '.join(found.reasons)}"


def markdown(found: GateResult, champion: str, registered: str = "") -> str:
    rows = "\n".join(f"| {SIGNS[c.verdict]} {c.verdict} | {c.name} | {c.reason} |" for c in found.checks)
    earlier = f"\nAn earlier attempt passed and registered version {registered}; that stands.\n" if registered else ""
    return (
        f"# Gate: {found.verdict}\n\nChallenger against version {champion}, on the same questions.\n{earlier}\n"
        f"| verdict | check | numbers |\n|---|---|---|\n{rows}\n"
    )
