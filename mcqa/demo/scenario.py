"""What the demo's scenarios run on: a loop of its own with a fast clock, simulated users, and a watcher."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import event_types
from common.proportions import Proportion, difference, wilson
from local.platform.settings import HOST, Folder, Ports
from mcqa import loop, loop_process, targets
from mcqa.demo.narrator import Narrator
from mcqa.demo.traffic import Sample, Traffic
from mcqa.demo.wait_policy import WaitPolicy
from mcqa.demo.watcher import LoopWatcher
from mcqa.errors import CommandError
from mcqa.loop import DEMO_FOLDER
from mcqa.loop_process import StartOptions
from mcqa.paths import displayed, mcqa_command

CONFIG = {
    # The same rules as in production, on a clock of seconds: users ask 25 questions per second here. Training is
    # limited by steps, so that a slow machine takes longer instead of learning less.
    "MCQA_DRIFT_MIN_SAMPLE": "150",
    "MCQA_DRIFT_ENOUGH": "400",
    "MCQA_DRIFT_SETTLE_SECONDS": "3",
    "MCQA_ROLLOUT_MIN_REQUESTS": "60",
    "MCQA_ROLLOUT_MIN_SECONDS": "5",
    "MCQA_ROLLOUT_DEADLINE_SECONDS": "5",
    "MCQA_RETRAIN_COOLDOWN_SECONDS": "60",
    "MCQA_RETRAIN_PARAMETERS": json.dumps({"fine_tune_seconds": 0, "fine_tune_steps": 80}),
}
SCHEDULES = {"drift": "@every 8s", "rollout": "@every 3s", "retrain": "@every 4s"}

RATE = 25.0
"""Questions per second that users ask."""
STALLED_SECONDS = 180.0
"""Without a single answer for this long, something is wrong on any machine."""
MIN_ANSWERS = 100
"""Answers of each version below which two versions are not compared."""
MAX_UNANSWERED_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Scenario:
    folder: Folder
    narrator: Narrator
    traffic: Traffic
    watcher: LoopWatcher

    def answer_count(self) -> int:
        """How many questions have been answered so far."""
        return len(answered(self.traffic.samples))

    def wait_until(self, condition: Callable[[], Any], what: str, policy: WaitPolicy) -> None:
        """As the watcher's; every answer is progress."""
        self.watcher.wait_until(condition, what, policy, self.answer_count)

    def wait_for_canary(self) -> bool:
        """Whether the challenger was promoted; False where it was rolled back."""
        seen = self.watcher.seen
        self.wait_until(
            lambda: seen.get(event_types.SERVICE_UPGRADED) or seen.get(event_types.SERVICE_ROLLEDBACK),
            "the canary to be decided",
            WaitPolicy(STALLED_SECONDS, 400, 12_000),
        )
        return bool(seen.get(event_types.SERVICE_UPGRADED))

    def print_where_to_look(self) -> None:
        self.narrator.chapter("Where to look")
        for line in _where_to_look(self.folder):
            self.narrator.console.print(f"  {line}", soft_wrap=True, highlight=False)


@contextmanager
def running_scenario(directory: Path | None, *, fresh: bool) -> Iterator[Scenario]:
    """The loop, up, and users who ask until the block is left. `fresh`: an earlier demo is ended and deleted first."""
    folder, narrator = Folder((directory or DEMO_FOLDER).resolve()), Narrator()
    if fresh or not folder.running():
        _start(folder, narrator, fresh)
    else:
        narrator.good(f"the loop in {folder.path.name} is already running")
    ports = folder.settings().ports
    environ = targets.environ(folder.path)
    os.environ |= {name: environ[name] for name in ("MLFLOW_TRACKING_URI", "MCQA_CACHE")}  # where versions come from
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    traffic = Traffic(f"http://{HOST}:{ports.gateway}", environ["K_SINK"], rate=RATE)
    watcher = LoopWatcher(folder, narrator)
    traffic.start()
    try:
        with narrator.live(lambda: _live_line(traffic, watcher)):
            yield Scenario(folder, narrator, traffic, watcher)
    finally:
        traffic.stop()


def answered(samples: list[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.status == 200]


def accuracy(samples: list[Sample]) -> Proportion:
    """The share of correct answers among all answers, with its 95% interval."""
    answers = answered(samples)
    return wilson(sum(sample.correct for sample in answers), len(answers))


def format_share(share: Proportion) -> str:
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}] of {share.total}"


def compare(old: Proportion, new: Proportion, failed: int, asked: int) -> tuple[bool, str]:
    """Whether the new version was shown to be better, and the sentence that says so or why not."""
    if min(old.total, new.total) < MIN_ANSWERS:
        return False, f"too few answers to compare: {old.total} and {new.total}, at least {MIN_ANSWERS} each are needed"
    if failed > MAX_UNANSWERED_SHARE * asked:
        return False, f"{failed} of {asked} questions were not answered: the others may not be representative"
    gain = difference(new, old)
    points = f"{100 * gain.value:+.1f} points ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    if gain.low <= 0:
        return False, f"the new version was not shown to be better on the new mix: {points}"
    return True, points


def _where_to_look(folder: Folder) -> list[str]:
    ports, place = folder.settings().ports, displayed(folder.path)
    return [
        f"the page       http://{HOST}:{ports.ui}    what happened: drift, rollout, versions, events",
        f"MLflow         http://{HOST}:{ports.mlflow}    versions, aliases, runs with their reports",
        f"pipeline runs  {loop.pipelines_link(folder)}",
        f"kubectl        KUBECONFIG={place}/kubeconfig kubectl get isvc,ksvc,triggers,revisions",
        f"the rest       export MCQA_LOCAL_DIR={place}; mcqa status, events, drift status, rollout status",
        f"to end it      {mcqa_command()} down --delete --dir {place}",
    ]


def _start(folder: Folder, narrator: Narrator, fresh: bool) -> None:
    if folder.path.exists() and loop_process.stop(folder):
        narrator.line("stopped the loop of an earlier demo")
    if fresh and folder.path.exists():
        _require_demo_folder(folder)
        shutil.rmtree(folder.path)
    options = StartOptions(
        ports=asdict(Ports()) if folder.path == DEMO_FOLDER else dict.fromkeys(asdict(Ports()), 0),
        free_ports=True,
        config=CONFIG,
        schedules=SCHEDULES,
    )
    loop_process.start(folder, options, lambda step: narrator.good(f"{step['name']}: {step['detail']}"))
    (folder.path / "demo").touch()


def _require_demo_folder(folder: Folder) -> None:
    if any(folder.path.iterdir()) and not (folder.path / "demo").exists() and folder.path != DEMO_FOLDER:
        raise CommandError(f"{folder.path} is not a demo's folder and would be emptied: choose another with --dir")


def _live_line(traffic: Traffic, watcher: LoopWatcher) -> str:
    if watcher.busy:
        return f"     {watcher.busy}"
    last = traffic.samples[-200:]
    if not last:
        return "waiting for the first answer"
    counts = Counter(sample.version or "none" for sample in last)
    versions = ", ".join(f"version {name} {count / len(last):.0%}" for name, count in sorted(counts.items()))
    rate = min(traffic.current_rate, traffic.rate)
    right = f"right {accuracy(last).value:.0%} of the last {len(last)}"
    return f"     {traffic.mix.name} mix, {rate:.3g} questions/s · {right} · {versions}"
