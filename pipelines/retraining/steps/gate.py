"""Step 4: the quality gate. May the challenger go before live traffic?"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from common.gate_tag import GATE_TAG, GateTag, Verdict
from common.mlflow.runs import GATE_FILE, PIPELINE_STEP
from pipelines.quality_gate import GateConfig, GateResult, PairedAnswers, evaluate_gate
from pipelines.registration.tracking import Tracking, id_of, step_run
from pipelines.retraining import events
from pipelines.retraining.steps.evaluate import read_results
from pipelines.run_context import RunContext

OFF = "off"
SIGNS: dict[Verdict, str] = {"pass": "✅", "fail": "❌", "inconclusive": "❔"}


def gate(
    run: RunContext,
    results: Path,
    page: Path,
    options: Mapping[str, Any],
    environ: Mapping[str, str] = os.environ,
) -> bool:
    """Writes the Markdown `page`; returns whether the challenger passed. `options` override GateConfig.

    A version that was registered under this run key has passed before, and is not judged twice.
    """
    tracking = Tracking(environ, run.model)
    with step_run(tracking, run, "gate") as run_id:
        records, seconds = read_results(results)
        current = PairedAnswers.join(records["champion-current"], records["challenger-current"])
        old = None
        if "champion-old" in records:
            old = PairedAnswers.join(records["champion-old"], records["challenger-old"])
        result = evaluate_gate(current, old, seconds, parse_config(options))
        tag = gate_tag(result, run.registered)
        text = markdown(result, run.champion, run.registered)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")
        parent = tracking.find_run(run.run_key, PIPELINE_STEP)
        for tagged in (run_id, *([id_of(parent)] if parent else [])):
            tracking.tag_run(tagged, GATE_TAG, tag.encode())
        tracking.upload(run_id, "verdict.md", text)
        tracking.upload(run_id, GATE_FILE, json.dumps(result.to_dict()))
        event = events.gate_decided(run.run_key, run.traceparent, tag, result.checks, champion=run.champion)
        events.send(event, environ)
        print(text, flush=True)
        return tag.verdict == "pass"


def parse_config(options: Mapping[str, Any]) -> GateConfig:
    """The gate's configuration; ValueError names an unknown option.

    The string "off" switches a guard off: a parameter of Kubeflow's cannot hold a null.
    """
    known = {field.name for field in fields(GateConfig)}
    if unknown := options.keys() - known:
        raise ValueError(f"there is no gate option {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    values: dict[str, Any] = {name: None if value == OFF else value for name, value in options.items()}
    if "min_questions" in values:
        values["min_questions"] = int(values["min_questions"])
    return GateConfig(**values)


def gate_tag(result: GateResult, registered: str = "") -> GateTag:
    """The verdict that counts, and what it rests on."""
    if registered:
        return GateTag("pass", f"registered as version {registered} by an earlier attempt")
    return GateTag(result.verdict, "; ".join(result.reasons))


def markdown(result: GateResult, champion: str, registered: str = "") -> str:
    rows = "\n".join(f"| {SIGNS[c.verdict]} {c.verdict} | {c.name} | {c.reason} |" for c in result.checks)
    earlier = f"\nAn earlier attempt passed and registered version {registered}; that stands.\n" if registered else ""
    return (
        f"# Gate: {result.verdict}\n\nChallenger against version {champion}, on the same questions.\n{earlier}\n"
        f"| verdict | check | numbers |\n|---|---|---|\n{rows}\n"
    )
