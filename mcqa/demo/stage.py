"""Where the demo plays: a loop of its own, with impatient settings, and people who use it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from local.platform.settings import HOST, ROOT, Folder, Ports
from mcqa import local, loop, up
from mcqa.demo.tell import Narrator
from mcqa.demo.traffic import Sample, Traffic
from mcqa.demo.watch import Watch
from pipelines.evaluation.metrics import Proportion, difference, wilson

FOLDER = ROOT / ".local-demo"

CONFIG = {
    # The same rules as in production, on a clock of seconds: people ask 25 questions a second here. Training is counted
    # in steps, so that a slow machine takes longer instead of learning less.
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


@dataclass(frozen=True, slots=True)
class Stage:
    folder: Folder
    narrator: Narrator
    traffic: Traffic
    watch: Watch

    def answered(self) -> int:
        """How many questions have been answered so far."""
        return len(answered(self.traffic.samples))


@contextmanager
def stage(directory: Path | None, *, fresh: bool, rate: float) -> Iterator[Stage]:
    """The loop, up; people asking until the block is left. `fresh`: an earlier demo is ended and forgotten first."""
    folder, narrator = Folder((directory or FOLDER).resolve()), Narrator()
    if fresh or not folder.running():
        _start(folder, narrator, fresh)
    else:
        narrator.good(f"the loop in {folder.path.name} is up already")
    ports = folder.settings().ports
    environ = loop.environ(folder.path)
    os.environ |= {name: environ[name] for name in ("MLFLOW_TRACKING_URI", "MCQA_CACHE")}  # where versions come from
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    traffic = Traffic(f"http://{HOST}:{ports.gateway}", environ["K_SINK"], rate=rate)
    watch = Watch(folder, narrator)
    traffic.start()
    try:
        with narrator.live(lambda: _state(traffic, watch)):
            yield Stage(folder, narrator, traffic, watch)
    finally:
        traffic.stop()


def answered(samples: list[Sample]) -> list[Sample]:
    return [one for one in samples if one.status == 200]


def share(samples: list[Sample]) -> Proportion:
    """The right ones among those that were answered, with their 95 % interval."""
    found = answered(samples)
    return wilson(sum(one.correct for one in found), len(found))


FEWEST = 100
"""Answers of each version below which a comparison is not worth a tick."""
MOST_UNANSWERED = 0.05


def verdict(old: Proportion, new: Proportion, failed: int, asked: int) -> tuple[bool, str]:
    """Whether the new version was shown to be better, and the sentence that says so or why not."""
    if min(old.total, new.total) < FEWEST:
        return False, f"too few answers to compare: {old.total} and {new.total}, at least {FEWEST} each are needed"
    if failed > MOST_UNANSWERED * asked:
        return (
            False,
            f"{failed} of {asked} questions were not answered: the others may not speak for all",
        )
    found = difference(new, old)
    points = f"{100 * found.value:+.1f} points ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    if found.low <= 0:
        return False, f"the new version was not shown to be better on the new mix: {points}"
    return True, points


def shown(found: Proportion) -> str:
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}] of {found.total}"


def where(folder: Folder) -> list[str]:
    """Where to look, in lines."""
    ports, place = folder.settings().ports, local.shown(folder.path)
    return [
        f"MLflow         http://{HOST}:{ports.mlflow}    versions, aliases, runs with their reports",
        f"pipeline runs  {loop.pipelines_link(folder)}",
        f"kubectl        KUBECONFIG={place}/kubeconfig kubectl get isvc,ksvc,triggers,revisions",
        f"the rest       export MCQA_LOCAL_DIR={place}; mcqa status, events, drift status, rollout status",
        f"the end        {local.invocation()} down --delete --dir {place}",
    ]


def _start(folder: Folder, narrator: Narrator, fresh: bool) -> None:
    if folder.path.exists() and up.stop(folder):
        narrator.line("ended the loop of an earlier demo")
    if fresh and folder.path.exists():
        _require_ours(folder)
        shutil.rmtree(folder.path)
    up.start(
        folder,
        ports=asdict(Ports()) if folder.path == FOLDER else dict.fromkeys(asdict(Ports()), 0),
        free=True,
        config=CONFIG,
        schedules=SCHEDULES,
        say=lambda step: narrator.good(f"{step['name']}: {step['detail']}"),
    )
    (folder.path / "demo").touch()


def _require_ours(folder: Folder) -> None:
    from mcqa.errors import CommandError

    if any(folder.path.iterdir()) and not (folder.path / "demo").exists() and folder.path != FOLDER:
        raise CommandError(f"{folder.path} is no folder of a demo: choose another with --dir, it would be emptied")


def _state(traffic: Traffic, watch: Watch) -> str:
    if watch.busy:
        return f"     {watch.busy}"
    last = traffic.samples[-200:]
    if not last:
        return "waiting for the first answer"
    found = share(last)
    versions: dict[str, int] = {}
    for one in last:
        versions[one.version or "none"] = versions.get(one.version or "none", 0) + 1
    told = ", ".join(f"version {name} {count / len(last):.0%}" for name, count in sorted(versions.items()))
    right = f"right {found.value:.0%} of the last {len(last)}"
    return f"     {traffic.mix.name} mix, {min(traffic.pace, traffic.rate):.3g} questions/s · {right} · {told}"
