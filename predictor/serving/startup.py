"""From process start to the first answer: the model loads on one thread while kserve imports on another."""

from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.question import Question
from predictor.serving.settings import Settings

if TYPE_CHECKING:
    from predictor.engine import Engine
    from predictor.scorer import Scorer
    from predictor.serving.metrics import Metrics

log = logging.getLogger(__name__)

WARM_UP = Question("Which of these is a Python keyword?", ("lambda", "apply"), id="warm-up")


class StartupTimeline:
    """When each stage of the start finished, in seconds since the process began."""

    def __init__(self) -> None:
        self._began = time.perf_counter() - _process_age()
        self._lock = threading.Lock()
        self.stages: dict[str, float] = {}

    def mark(self, stage: str) -> None:
        with self._lock:
            self.stages[stage] = round(time.perf_counter() - self._began, 3)

    def log(self) -> None:
        log.info("start-up", extra={"fields": {"stages": self.stages}})


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that has answered its first question."""

    scorer: Scorer
    engine: Engine
    metrics: Metrics


def load_in_background(settings: Settings, timeline: StartupTimeline) -> Future[LoadedModel]:
    """Starts loading the model; the future returns it warmed up, or raises what went wrong."""
    future: Future[LoadedModel] = Future()

    def work() -> None:
        try:
            future.set_result(_load(settings, timeline))
        except BaseException as error:  # noqa: BLE001 - it is the future's result
            future.set_exception(error)

    threading.Thread(target=work, name="load", daemon=True).start()
    return future


def _load(settings: Settings, timeline: StartupTimeline) -> LoadedModel:
    from predictor.openmp import limit_spinning
    from predictor.storage.download import log_progress
    from predictor.storage.resolver import resolve, version_name
    from predictor.weights import prefetch

    folder = resolve(settings.source, progress=log_progress())
    prefetch(folder)
    timeline.mark("model found")
    limit_spinning()
    from predictor.scorer import DEFAULT_MAX_TOKENS, Scorer

    timeline.mark("torch imported")
    scorer = Scorer.load(
        folder,
        model_version=settings.model_version or version_name(settings.source),
        revision=settings.revision or None,
        device=settings.device,
        dtype=settings.dtype,
        max_tokens=settings.max_tokens or DEFAULT_MAX_TOKENS,
    )
    scorer.batch_tokens = settings.batch_tokens or scorer.batch_tokens
    timeline.mark("model loaded")
    from predictor.engine import Engine, Limits
    from predictor.serving.metrics import Metrics

    metrics = Metrics()
    engine = Engine(scorer, Limits(settings.queue_size, settings.queue_tokens, scorer.batch_tokens), metrics)
    engine.start()
    _warm_up(engine, scorer)
    timeline.mark("first question scored")
    metrics.observe_engine(engine, scorer, settings.model_name, settings.revision)
    return LoadedModel(scorer, engine, metrics)


def _warm_up(engine: Engine, scorer: Scorer) -> None:
    """Scores the first question, on the thread that will score all others; VersionError if it has no answer."""
    from common.question import QuestionError
    from predictor.engine import ScoringError
    from predictor.errors import VersionError

    try:
        engine.submit([scorer.encode(WARM_UP)], None, time.monotonic() + 600).future.result()
    except (ScoringError, QuestionError) as error:
        engine.close()
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise VersionError(
            f"version {scorer.model_version} cannot answer: the start-up question failed: {reason}"
        ) from None


def _process_age() -> float:
    """Seconds since the operating system started this process (Linux); 0 elsewhere."""
    try:
        stat = Path("/proc/self/stat").read_text()
        started = int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0
