"""The first story: people begin to ask about something new, and the loop learns it, all by itself."""

from __future__ import annotations

import time
from pathlib import Path

from functions import events
from mcqa.demo.stage import Stage, share, shown, stage, where
from mcqa.demo.traffic import SHIFTED, USUAL, Sample
from mcqa.errors import CommandError

RATE = 25.0
QUIET_RATE = 6.0
"""While the pipeline trains on the same two cores."""
MEASURED = 300
"""Questions by which accuracy is told, before and after."""


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
    on.narrator.line(f"people ask {on.traffic.rate:g} questions a second and say what was right")
    checks = on.watch.seen.setdefault(events.DRIFT_CHECKED, [])
    on.watch.until(lambda: any(c["verdict"] == "no-drift" for c in checks), 90, "the first drift check")
    on.watch.until(lambda: len(_answered(on, 0.0, USUAL.name)) >= MEASURED, 60, "the usual traffic")
    on.narrator.line(f"right: {shown(share(_answered(on, 0.0, USUAL.name)))}")
    return str(on.traffic.samples[-1].version)


def _shift(on: Stage) -> float:
    on.narrator.chapter("2. People begin to ask about something new")
    on.traffic.mix, at = SHIFTED, time.time()
    on.narrator.line("80 % of the questions are now on regular expressions, SQL and bit operations")
    on.watch.until(lambda: on.watch.seen.get(events.DRIFT_DETECTED), 120, "finding the drift")
    return at


def _retrain(on: Stage) -> str:
    on.narrator.chapter("3. The loop retrains")
    on.traffic.rate = QUIET_RATE
    seen = on.watch.seen
    on.watch.until(
        lambda: seen.get(events.ARTIFACT_PUBLISHED) or seen.get(events.PIPELINERUN_FINISHED), 900, "retraining"
    )
    if not seen.get(events.ARTIFACT_PUBLISHED):
        raise CommandError("the pipeline registered no version: the gate said no, as told above")
    return str(seen[events.ARTIFACT_PUBLISHED][-1]["customData"]["version"])


def _roll_out(on: Stage, version: str) -> float:
    on.narrator.chapter("4. The new version gets a canary")
    on.traffic.rate = RATE
    seen = on.watch.seen
    on.watch.until(lambda: seen.get(events.SERVICE_UPGRADED) or seen.get(events.SERVICE_ROLLEDBACK), 400, "the canary")
    if not seen.get(events.SERVICE_UPGRADED):
        raise CommandError(f"version {version} was rolled back, as told above")
    return time.time()


def _after(on: Stage, before: str, shifted_at: float, promoted_at: float, version: str) -> None:
    on.narrator.chapter("5. Better than before")
    on.watch.until(
        lambda: len(_answered(on, promoted_at, SHIFTED.name)) >= MEASURED, 60, "the traffic after the promotion"
    )
    old = share([one for one in _answered(on, shifted_at, SHIFTED.name) if one.version == before])
    new = share([one for one in _answered(on, promoted_at, SHIFTED.name) if one.version == version])
    on.narrator.line(f"on the new mix, version {before}: {shown(old)}")
    on.narrator.line(f"on the new mix, version {version}: {shown(new)}")
    samples = on.traffic.since(0.0)
    failed = sum(one.status != 200 for one in samples)
    apart = "the intervals do not overlap" if new.low > old.high else "the intervals overlap"
    on.narrator.line(
        f"{len(samples)} questions were asked, {failed} were not answered; {on.traffic.unsaid} feedbacks lost"
    )
    if new.value <= old.value:
        raise CommandError("the new version is not better on the new mix")
    on.narrator.good(
        f"{new.value - old.value:+.1%} in {on.narrator.elapsed / 60:.1f} minutes, with nobody at the keyboard; {apart}",
        f"one trace from the drift check to the promotion: {on.watch.trace}",
    )
    on.narrator.chapter("Where to look")
    for line in where(on.folder):
        on.narrator.console.print(f"  {line}", soft_wrap=True, highlight=False)


def _answered(on: Stage, start: float, mix: str) -> list[Sample]:
    return [one for one in on.traffic.since(start, mix) if one.status == 200]
