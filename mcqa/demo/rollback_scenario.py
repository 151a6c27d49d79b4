"""The second scenario: the alias `challenger` is set by hand on a broken version, past the pipeline's quality gate."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections import Counter
from pathlib import Path

from common.mlflow.registry import ModelRegistry
from common.names import CHALLENGER, CHAMPION
from mcqa import targets
from mcqa.demo.faults import DESCRIPTIONS, Fault, inject_fault
from mcqa.demo.scenario import STALLED_SECONDS, Scenario, accuracy, format_share, running_scenario
from mcqa.demo.traffic import SHIFTED
from mcqa.demo.wait_policy import WaitPolicy
from mcqa.errors import CommandError
from pipelines.registration import versions
from predictor.storage.resolver import resolve

AFTER_SECONDS = 10.0
AFTER_ANSWERS = 50
"""Questions after the rollback that must all be answered by the champion."""
SETTLE_SECONDS = 2.0
"""After the rollback, until every question must meet the champion."""


def roll_back(directory: Path | None, fault: Fault) -> None:
    """The whole scenario, on the demo's loop where it is running. CommandError when the broken version gets through."""
    with running_scenario(directory, fresh=False) as scenario:
        scenario.narrator.chapter("1. A usual day")
        traffic = scenario.traffic
        if _champion(scenario) != "1":
            traffic.mix = SHIFTED  # what the loop has learned since is usual now
        scenario.wait_until(lambda: scenario.answer_count() >= 200, "the usual traffic", WaitPolicy(STALLED_SECONDS))
        scenario.narrator.line(f"right: {format_share(accuracy(traffic.samples))}")
        champion, broken = _register(scenario, fault)
        scenario.narrator.chapter("3. Its canary")
        if scenario.wait_for_canary():
            raise CommandError(f"version {broken} was promoted although it is broken")
        _report(scenario, champion, broken)


def _champion(scenario: Scenario) -> str:
    environ = targets.environ(scenario.folder.path)
    with ModelRegistry(environ, environ["MCQA_REGISTERED_MODEL"]) as registry:
        model = registry.model()
    if model is None or CHAMPION not in model.aliases:
        raise CommandError("the registry has no champion: see `mcqa status`")
    return model.aliases[CHAMPION]


def _register(scenario: Scenario, fault: Fault) -> tuple[str, str]:
    """The champion and the broken version."""
    scenario.narrator.chapter("2. A broken version")
    environ, champion = targets.environ(scenario.folder.path), _champion(scenario)
    with ModelRegistry(environ, environ["MCQA_REGISTERED_MODEL"]) as registry, tempfile.TemporaryDirectory() as work:
        good = resolve(f"mlflow://{registry.model_name}/{champion}")
        inject_fault(good, Path(work) / "version", fault)
        candidate = versions.Candidate(
            Path(work) / "version",
            f"demo-{secrets.token_hex(8)}",
            tags={"source": f"version {champion} with a fault in {fault}, by mcqa demo"},
        )
        registered = versions.register(registry, environ["MLFLOW_TRACKING_URI"], candidate)
        registry.set_alias(CHALLENGER, registered.version)
    scenario.narrator.line(
        f"registered version {registered.version} and set the alias {CHALLENGER} on it by hand: {DESCRIPTIONS[fault]}"
    )
    return champion, registered.version


def _report(scenario: Scenario, champion: str, broken: str) -> None:
    narrator, traffic = scenario.narrator, scenario.traffic
    narrator.chapter("4. What users noticed")
    settled, began = time.time() + SETTLE_SECONDS, time.monotonic()
    scenario.wait_until(
        lambda: time.monotonic() - began > AFTER_SECONDS and len(traffic.since(settled)) >= AFTER_ANSWERS,
        "the answers after the rollback",
        WaitPolicy(STALLED_SECONDS),
    )
    samples, after = traffic.samples, traffic.since(settled)
    answers_of = Counter(sample.version for sample in samples if sample.status == 200)
    failed = [sample for sample in samples if sample.status != 200]
    statuses = dict(Counter(sample.status or "no answer" for sample in failed))
    narrator.line(
        f"of {len(samples)} questions, version {champion} answered {answers_of[champion]}, "
        f"version {broken} {answers_of[broken]}; not answered: {len(failed)} {statuses if failed else ''}".strip()
    )
    for version in (champion, broken) if answers_of[broken] else (champion,):
        answers = [sample for sample in samples if sample.version == version]
        narrator.line(f"right, version {version}: {format_share(accuracy(answers))}")
    wrong = [sample for sample in after if sample.status != 200 or sample.version == broken]
    if wrong:
        raise CommandError(f"{len(wrong)} questions still met version {broken} or got no answer after the rollback")
    narrator.good(
        f"since the rollback, all {len(after)} questions were answered by version {champion}",
        "the reason is in the version's tag `rollout`; the version is not tried again while it has that tag",
    )
    scenario.print_where_to_look()
