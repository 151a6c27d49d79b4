"""The first story: people begin to ask about something new, and the loop learns it, all by itself."""

from __future__ import annotations

import time
from pathlib import Path

from common import event_types
from mcqa.demo.pace import Patience
from mcqa.demo.stage import Stage, answered, share, shown, stage, verdict, where
from mcqa.demo.traffic import SHIFTED, USUAL, Sample
from mcqa.errors import CommandError

RATE = 25.0
QUIET_RATE = 6.0
"""While the pipeline trains on the same two cores."""
MEASURED = 300
"""Questions by which accuracy is told, before and after."""
STILL_SECONDS = 180.0
"""Without a single answer for this long, something is wrong on any machine."""
SILENT_SECONDS = 900.0
"""A step of the pipeline may compute this long in silence: evaluating took 390 s on two cores at load 13."""


def learn(directory: Path | None) -> None:
    """The whole story. CommandError when a part of it does not happen."""
    with stage(directory, fresh=True, rate=RATE) as on:
        before = _usual(on)
        shifted_at = _shift(on)
        version = _retrain(on)
        promoted_at = _roll_out(on, version)
        _after(on, before, shifted_at, promoted_at, version)


def _usual(on: Stage) -> str:
    on.narrator.chapter("1. A usual day")
    on.narrator.line(f"people ask up to {on.traffic.rate:g} questions a second and say what was right")
    checks = on.watch.seen.setdefault(event_types.DRIFT_CHECKED, [])
    patience = Patience(STILL_SECONDS, 90, 3000)
    on.watch.until(
        lambda: any(c["verdict"] == "no-drift" for c in checks), "the first drift check", patience, on.answered
    )
    on.watch.until(lambda: len(_answered(on, 0.0, USUAL.name)) >= MEASURED, "the usual traffic", patience, on.answered)
    on.narrator.line(f"right: {shown(share(_answered(on, 0.0, USUAL.name)))}")
    return str(on.traffic.samples[-1].version)


def _shift(on: Stage) -> float:
    on.narrator.chapter("2. People begin to ask about something new")
    on.traffic.mix, at = SHIFTED, time.time()
    on.narrator.line("80 % of the questions are now on regular expressions, SQL and bit operations")
    on.watch.until(
        lambda: on.watch.seen.get(event_types.DRIFT_DETECTED),
        "the drift to be found",
        Patience(STILL_SECONDS, 120, 4000),
        on.answered,
    )
    return at


def _retrain(on: Stage) -> str:
    on.narrator.chapter("3. The loop retrains")
    on.traffic.rate = QUIET_RATE
    seen = on.watch.seen
    on.watch.until(
        lambda: seen.get(event_types.ARTIFACT_PUBLISHED) or seen.get(event_types.PIPELINERUN_FINISHED),
        "the retraining",
        Patience(SILENT_SECONDS),
        lambda: on.watch.pipeline_moves,
    )
    if not seen.get(event_types.ARTIFACT_PUBLISHED):
        raise CommandError("the pipeline registered no version: the gate said no, as told above")
    return str(seen[event_types.ARTIFACT_PUBLISHED][-1]["customData"]["version"])


def _roll_out(on: Stage, version: str) -> float:
    on.narrator.chapter("4. The new version gets a canary")
    on.traffic.rate = RATE
    seen = on.watch.seen
    on.watch.until(
        lambda: seen.get(event_types.SERVICE_UPGRADED) or seen.get(event_types.SERVICE_ROLLEDBACK),
        "the canary to be decided",
        Patience(STILL_SECONDS, 400, 12_000),
        on.answered,
    )
    if not seen.get(event_types.SERVICE_UPGRADED):
        raise CommandError(f"version {version} was rolled back, as told above")
    return time.time()


def _after(on: Stage, before: str, shifted_at: float, promoted_at: float, version: str) -> None:
    on.narrator.chapter("5. Better than before")
    on.watch.until(
        lambda: len(_answered(on, promoted_at, SHIFTED.name)) >= MEASURED,
        "the traffic after the promotion",
        Patience(STILL_SECONDS),
        on.answered,
    )
    old = share([one for one in _answered(on, shifted_at, SHIFTED.name) if one.version == before])
    new = share([one for one in _answered(on, promoted_at, SHIFTED.name) if one.version == version])
    on.narrator.line(f"on the new mix, version {before}: {shown(old)}")
    on.narrator.line(f"on the new mix, version {version}: {shown(new)}")
    samples = on.traffic.since(0.0)
    failed = sum(one.status != 200 for one in samples)
    on.narrator.line(
        f"{len(samples)} questions were asked, {failed} were not answered; {on.traffic.unsaid} feedbacks lost"
    )
    better, told = verdict(old, new, failed, len(samples))
    if not better:
        raise CommandError(told)
    on.narrator.good(
        f"{told}, after {on.narrator.elapsed / 60:.1f} minutes with nobody at the keyboard",
        f"one trace from the drift check to the promotion: {on.watch.trace}",
    )
    on.narrator.chapter("Where to look")
    for line in where(on.folder):
        on.narrator.console.print(f"  {line}", soft_wrap=True, highlight=False)


def _answered(on: Stage, start: float, mix: str) -> list[Sample]:
    return answered(on.traffic.since(start, mix))
