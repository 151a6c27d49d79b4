"""The second story: somebody sets the alias `challenger` on a broken version by hand, past the pipeline's gate."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections import Counter
from pathlib import Path

from common import event_types
from common.mlflow.registry import ModelRegistry
from common.names import CHALLENGER, CHAMPION
from mcqa import loop
from mcqa.demo.broken import WHAT, Fault, break_version
from mcqa.demo.learn import RATE, STILL_SECONDS
from mcqa.demo.pace import Patience
from mcqa.demo.stage import Stage, share, shown, stage, where
from mcqa.demo.traffic import SHIFTED
from mcqa.errors import CommandError
from pipelines.registration import versions
from predictor.storage.resolver import resolve

AFTER_SECONDS = 10.0
AFTER_ANSWERS = 50
"""Questions after the rollback by which it is said that all is well again."""


def rollback(directory: Path | None, fault: Fault) -> None:
    """The whole story, on the demo's loop where it is up. CommandError when the broken version gets through."""
    with stage(directory, fresh=False, rate=RATE) as on:
        on.narrator.chapter("1. A usual day")
        if _champion(on) != "1":
            on.traffic.mix = SHIFTED  # what the loop has learned since is what is usual now
        on.watch.until(lambda: on.answered() >= 200, "the usual traffic", Patience(STILL_SECONDS), on.answered)
        on.narrator.line(f"right: {shown(share(on.traffic.samples))}")
        champion, broken = _register(on, fault)
        _caught(on, broken)
        _account(on, champion, broken)


def _champion(on: Stage) -> str:
    environ = loop.environ(on.folder.path)
    with ModelRegistry(environ, environ["MCQA_REGISTERED_MODEL"]) as registry:
        model = registry.model()
    if model is None or CHAMPION not in model.aliases:
        raise CommandError("the registry has no champion: see `mcqa status`")
    return model.aliases[CHAMPION]


def _register(on: Stage, fault: Fault) -> tuple[str, str]:
    on.narrator.chapter("2. A broken version")
    environ, champion = loop.environ(on.folder.path), _champion(on)
    with ModelRegistry(environ, environ["MCQA_REGISTERED_MODEL"]) as registry, tempfile.TemporaryDirectory() as work:
        good = resolve(f"mlflow://{registry.model_name}/{champion}")
        break_version(good, Path(work) / "version", fault)
        candidate = versions.Candidate(
            Path(work) / "version",
            f"demo-{secrets.token_hex(8)}",
            tags={"source": f"version {champion} with a fault in {fault}, by mcqa demo"},
        )
        made = versions.register(registry, environ["MLFLOW_TRACKING_URI"], candidate)
        registry.set_alias(CHALLENGER, made.version)
    on.narrator.line(f"registered version {made.version} and set the alias {CHALLENGER} on it by hand: {WHAT[fault]}")
    return champion, made.version


def _caught(on: Stage, broken: str) -> None:
    on.narrator.chapter("3. Its canary")
    seen = on.watch.seen
    on.watch.until(
        lambda: seen.get(event_types.SERVICE_UPGRADED) or seen.get(event_types.SERVICE_ROLLEDBACK),
        "the canary to be decided",
        Patience(STILL_SECONDS, 400, 12_000),
        on.answered,
    )
    if seen.get(event_types.SERVICE_UPGRADED):
        raise CommandError(f"version {broken} was promoted although it is broken")


def _account(on: Stage, champion: str, broken: str) -> None:
    on.narrator.chapter("4. What people noticed")
    rolled_back, began = time.time(), time.monotonic()
    on.watch.until(
        lambda: time.monotonic() - began > AFTER_SECONDS and len(on.traffic.since(rolled_back + 2.0)) >= AFTER_ANSWERS,
        "a last look",
        Patience(STILL_SECONDS),
        on.answered,
    )
    samples = on.traffic.samples
    versions_of = Counter(one.version for one in samples if one.status == 200)
    failed = [one for one in samples if one.status != 200]
    after = on.traffic.since(rolled_back + 2.0)
    told = Counter(one.status or "no answer" for one in failed)
    on.narrator.line(
        f"of {len(samples)} questions, version {champion} answered {versions_of[champion]}, "
        f"version {broken} {versions_of[broken]}; not answered: {len(failed)} {dict(told) if failed else ''}".strip()
    )
    on.narrator.line(f"right, version {champion}: {shown(share([s for s in samples if s.version == champion]))}")
    if versions_of[broken]:
        on.narrator.line(f"right, version {broken}: {shown(share([s for s in samples if s.version == broken]))}")
    wrong = [one for one in after if one.status != 200 or one.version == broken]
    if wrong:
        raise CommandError(f"{len(wrong)} questions still met version {broken} or no answer after the rollback")
    on.narrator.good(
        f"since the rollback, all {len(after)} questions were answered by version {champion}",
        "the reason is in the version's tag `rollout`; it is not tried again while that is there",
    )
    on.narrator.chapter("Where to look")
    for line in where(on.folder):
        on.narrator.console.print(f"  {line}", soft_wrap=True, highlight=False)
