"""The first scenario: users begin to ask about something new, and the loop learns it by itself."""

from __future__ import annotations

import time
from pathlib import Path

from common import event_types
from mcqa.demo.scenario import (
    RATE,
    STALLED_SECONDS,
    Scenario,
    accuracy,
    answered,
    compare,
    format_share,
    running_scenario,
)
from mcqa.demo.traffic import SHIFTED, USUAL, Sample
from mcqa.demo.wait_policy import WaitPolicy
from mcqa.errors import CommandError

QUIET_RATE = 6.0
"""While the pipeline trains on the same two cores."""
MEASURED = 300
"""Questions that accuracy is measured on, before and after."""
SILENT_SECONDS = 900.0
"""A pipeline step may compute this long in silence: evaluating took 390 s on two cores at load 13."""


def learn(directory: Path | None) -> None:
    """The whole scenario. CommandError when a part of it does not happen."""
    with running_scenario(directory, fresh=True) as scenario:
        before = _usual_traffic(scenario)
        shifted_at = _shift(scenario)
        version = _retrain(scenario)
        promoted_at = _roll_out(scenario, version)
        _compare(scenario, before, shifted_at, promoted_at, version)


def _usual_traffic(scenario: Scenario) -> str:
    """The version that answers."""
    narrator = scenario.narrator
    narrator.chapter("1. A usual day")
    narrator.line(f"users ask up to {scenario.traffic.rate:g} questions per second and report what was right")
    checks = scenario.watcher.seen.setdefault(event_types.DRIFT_CHECKED, [])
    policy = WaitPolicy(STALLED_SECONDS, 90, 3000)
    scenario.wait_until(
        lambda: any(check["verdict"] == "no-drift" for check in checks), "the first drift check", policy
    )
    scenario.wait_until(lambda: len(_answers(scenario, 0.0, USUAL.name)) >= MEASURED, "the usual traffic", policy)
    narrator.line(f"right: {format_share(accuracy(_answers(scenario, 0.0, USUAL.name)))}")
    return str(scenario.traffic.samples[-1].version)


def _shift(scenario: Scenario) -> float:
    """When the shift began, in Unix seconds."""
    scenario.narrator.chapter("2. Users begin to ask about something new")
    scenario.traffic.mix, at = SHIFTED, time.time()
    scenario.narrator.line("80% of the questions are now on regular expressions, SQL and bit operations")
    scenario.wait_until(
        lambda: scenario.watcher.seen.get(event_types.DRIFT_DETECTED),
        "drift to be detected",
        WaitPolicy(STALLED_SECONDS, 120, 4000),
    )
    return at


def _retrain(scenario: Scenario) -> str:
    """The version that was registered."""
    scenario.narrator.chapter("3. The loop retrains")
    scenario.traffic.rate = QUIET_RATE
    seen = scenario.watcher.seen
    scenario.watcher.wait_until(
        lambda: seen.get(event_types.ARTIFACT_PUBLISHED) or seen.get(event_types.PIPELINERUN_FINISHED),
        "the retraining",
        WaitPolicy(SILENT_SECONDS),
        lambda: scenario.watcher.pipeline_progress,
    )
    if not seen.get(event_types.ARTIFACT_PUBLISHED):
        raise CommandError("the pipeline registered no version: the quality gate did not pass, as shown above")
    return str(seen[event_types.ARTIFACT_PUBLISHED][-1]["customData"]["version"])


def _roll_out(scenario: Scenario, version: str) -> float:
    """When the version was promoted, in Unix seconds."""
    scenario.narrator.chapter("4. The new version gets a canary")
    scenario.traffic.rate = RATE
    if not scenario.wait_for_canary():
        raise CommandError(f"version {version} was rolled back, as shown above")
    return time.time()


def _compare(scenario: Scenario, before: str, shifted_at: float, promoted_at: float, version: str) -> None:
    narrator, traffic = scenario.narrator, scenario.traffic
    narrator.chapter("5. Better than before")
    scenario.wait_until(
        lambda: len(_answers(scenario, promoted_at, SHIFTED.name)) >= MEASURED,
        "the traffic after the promotion",
        WaitPolicy(STALLED_SECONDS),
    )
    shifted, promoted = (_answers(scenario, start, SHIFTED.name) for start in (shifted_at, promoted_at))
    old = accuracy([sample for sample in shifted if sample.version == before])
    new = accuracy([sample for sample in promoted if sample.version == version])
    narrator.line(f"on the new mix, version {before}: {format_share(old)}")
    narrator.line(f"on the new mix, version {version}: {format_share(new)}")
    samples = traffic.since(0.0)
    failed = sum(sample.status != 200 for sample in samples)
    narrator.line(
        f"{len(samples)} questions were asked, {failed} were not answered; feedback lost: {traffic.lost_feedback}"
    )
    better, sentence = compare(old, new, failed, len(samples))
    if not better:
        raise CommandError(sentence)
    narrator.good(
        f"{sentence}, after {narrator.elapsed / 60:.1f} minutes with nobody at the keyboard",
        f"one trace from the drift check to the promotion: {scenario.watcher.trace}",
    )
    scenario.print_where_to_look()


def _answers(scenario: Scenario, start: float, mix: str) -> list[Sample]:
    return answered(scenario.traffic.since(start, mix))
