"""From process start to the first answer: the model loads on one thread while kserve imports on another."""

from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from predictor.question import Question
from predictor.serving.settings import Settings

if TYPE_CHECKING:
    from predictor.engine import Engine
    from predictor.scorer import Scorer
    from predictor.serving.metrics import Metrics

log = logging.getLogger(__name__)

WARM_UP = Question("Which of these is a Python keyword?", ("lambda", "apply"), id="warm-up")


class Timeline:
    """When each stage of the start was over, in seconds since the process began."""

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
class Loaded:
    """A model that has answered its first question."""

    scorer: Scorer
    engine: Engine
    metrics: Metrics


def load_in_background(settings: Settings, timeline: Timeline) -> Future[Loaded]:
    """Starts loading the model; the future gives it warmed up, or raises what went wrong."""
    future: Future[Loaded] = Future()

    def work() -> None:
        try:
            future.set_result(_load(settings, timeline))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="load", daemon=True).start()
    return future


def _load(settings: Settings, timeline: Timeline) -> Loaded:
    from predictor.openmp import spin_briefly
    from predictor.source import log_progress, resolve, version_name
    from predictor.weights import prefetch

    folder = resolve(settings.source, progress=log_progress())
    prefetch(folder)
    timeline.mark("model found")
    spin_briefly()
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
    _ask_first(engine, scorer)
    timeline.mark("first question scored")
    metrics.watch(engine, scorer, settings.model_name, settings.revision)
    return Loaded(scorer, engine, metrics)


def _ask_first(engine: Engine, scorer: Scorer) -> None:
    """Scores the first question, on the thread that will score all others; VersionError when it has no answer."""
    from predictor.engine import ScoringFailed
    from predictor.question import QuestionError
    from predictor.version_files import VersionError

    try:
        engine.submit([scorer.encode(WARM_UP)], None, time.monotonic() + 600).future.result()
    except (ScoringFailed, QuestionError) as error:
        engine.close()
        why = " ".join(str(error.__cause__ or error).split())[:300]
        raise VersionError(
            f"version {scorer.model_version} cannot answer: the start-up question failed: {why}"
        ) from None


def _process_age() -> float:
    """Seconds since the operating system started this process (Linux); 0 elsewhere."""
    try:
        with open("/proc/self/stat") as stat:
            started = int(stat.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0
