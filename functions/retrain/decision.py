"""Whether a retraining may start, and the state of the one that did. Pure.

A drift or a request is answered by at most one run that succeeds, and at no time by two that are active:

waiting    it is stored; a run is not allowed yet (cool-down, another run is active)
starting   a run was requested; only the pipeline server knows whether it exists
queued     the server has it
running
succeeded  the run ended well: it registered a version, or the gate refused its challenger
failed     every attempt failed
canceled   somebody ended or deleted it, which is a decision, so it is not tried again
void       nothing is left to do: the drift was of a version that no longer serves, another drift or request took its
           place, or there is too little feedback for a request

A run that failed is tried again (a node went away, a registry restarted, a process was killed), because the alarm was
raised once and nobody raises it again. It is tried again only when the server reports that it ended, so the two never
overlap, and registration is idempotent by run key, so a version that both register counts once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from functions.clocks import SKEW
from functions.events import BadEventError
from functions.reasons import Reason
from functions.retrain.reasons import ReasonCode

# Kubeflow lists more than the steps of a run: the workflow, groups, and a step's own driver and executor.
_AROUND = re.compile(
    r"root|executor|(exit-handler|condition|for-loop)-.*|.*-driver|.*\.onExit|.*-retraining-[a-z0-9]{5}"
)

State = Literal["waiting", "starting", "queued", "running", "succeeded", "failed", "canceled", "void"]
ACTIVE: frozenset[State] = frozenset({"starting", "queued", "running"})
FINISHED: frozenset[State] = frozenset({"succeeded", "failed", "canceled"})
PERIODS = {"daily": "%G-W%V-%u", "weekly": "%G-W%V", "monthly": "%Y-%m"}
"""Reasons that are a schedule's: it requests once per period, however often and by whomever its tick is sent."""


@dataclass(frozen=True, slots=True)
class DetectedDrift:
    """What a drift event requests. `since` in Unix seconds: when the answers began to differ."""

    model: str
    version: str
    window: tuple[float, float]
    since: float
    data_digest: str
    reason: str

    @property
    def key(self) -> str:
        """The run key, 64 hex digits: the same for the same drift, whatever carried it here."""
        parts = [self.model, self.version, list(self.window), self.data_digest]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RetrainRequest:
    """A retraining without a drift: of the champion that serves when it starts, on the feedback since it was made.

    `occasion` tells requests apart.
    """

    model: str
    occasion: str
    reason: str
    version: str = ""
    since: float = 0.0

    @property
    def key(self) -> str:
        """The run key, 64 hex digits."""
        return hashlib.sha256(json.dumps(["requested", self.model, self.occasion]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Retraining:
    """A retraining as stored. `ran`: a run was started for it. A waiting request has no champion."""

    key: str
    state: State
    champion: str
    created: float
    finished: float | None = None
    ran: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    kind: Literal["start", "void", "wait", "nothing"]
    reason: Reason
    key: str | None = None


@dataclass(frozen=True, slots=True)
class ObservedRun:
    """A run as the pipeline server shows it; `reason` says what failed."""

    state: Literal["queued", "running", "succeeded", "failed", "canceled"]
    reason: Reason

    @property
    def error(self) -> str:
        """What failed or ended it; "" while nothing did."""
        return str(self.reason) if self.state in ("failed", "canceled") else ""


def read_drift(data: Any) -> DetectedDrift:
    """The drift of an event's data; BadEventError names what is missing."""
    if not isinstance(data, dict):
        raise BadEventError("the data must be a JSON object, as the drift function sends it")
    texts = {name: data.get(name) for name in ("model", "version", "data_digest")}
    for name, value in texts.items():
        if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
            raise BadEventError(f"{name}: must be a string of 1 to 200 characters, found {value!a}"[:200])
    start, end = (_moment(data, name) for name in ("window_start", "window_end"))
    since = start if data.get("drift_since") is None else _moment(data, "drift_since")
    if not since <= start <= end:
        raise BadEventError(f"drift_since <= window_start <= window_end is needed, found {since}, {start}, {end}")
    model, version, data_digest = (str(value) for value in texts.values())
    return DetectedDrift(model, version, (start, end), since, data_digest, _reason(data))


def read_request(data: Any, model: str, at: float, event: str) -> RetrainRequest:
    """The request of an event's data, {"reason": "weekly"}; BadEventError without a reason.

    `at`: the event's time in Unix seconds; `event`: its source and id.
    """
    reason = _reason(data) if isinstance(data, dict) else ""
    if not reason:
        raise BadEventError('the data must be a JSON object with a reason, like {"reason": "weekly"}')
    if (named := data.get("model", model)) != model:
        raise BadEventError(f"model: this function retrains {model}, found {named!a}"[:200])
    period = PERIODS.get(reason)
    occasion = f"{reason} {datetime.fromtimestamp(at, UTC).strftime(period)}" if period else event
    return RetrainRequest(model, occasion, reason)


def is_request(data: Any) -> bool:
    """Whether a tick's data is a request, not merely the time to reconcile."""
    return isinstance(data, dict) and bool(_reason(data))


def too_little_feedback(labels: int, needed: int, champion: str) -> Reason | None:
    """Why a request cannot be met: feedback since the champion was made; None when it can."""
    if labels >= needed:
        return None
    return Reason(ReasonCode.TOO_LITTLE_FEEDBACK, {"labels": labels, "version": champion, "needed": needed})


def decide(known: Sequence[Retraining], champion: str | None, now: float, cooldown: float) -> Action:
    """The one next step for what waits. `known` holds every retraining of the model that waits, is active or ended."""
    waiting = sorted((k for k in known if k.state == "waiting"), key=lambda k: (k.created, k.key))
    if not waiting:
        return Action("nothing", Reason(ReasonCode.NOTHING_WAITING))
    if champion is None:
        return Action("wait", Reason(ReasonCode.NO_CHAMPION))
    for retraining in waiting:
        if retraining.champion not in ("", champion):
            return Action("void", champion_changed(champion, retraining.champion), retraining.key)
    drifts = [retraining for retraining in waiting if retraining.champion]
    chosen = (drifts or waiting)[-1]
    for retraining in waiting:
        if retraining is not chosen:
            superseded = Reason(ReasonCode.SUPERSEDED_BY_REQUEST)
            if drifts:
                superseded = Reason(ReasonCode.SUPERSEDED_BY_DRIFT, {"version": champion})
            return Action("void", superseded, retraining.key)
    if (active := next((k for k in known if k.state in ACTIVE), None)) is not None:
        return Action("wait", Reason(ReasonCode.RUN_ACTIVE, {"key": active.key[:16], "state": active.state}))
    # An end in the future was stored before our clock was set back: it must not stop every retraining until then.
    ends = (k.finished for k in known if k.ran and k.finished is not None and k.finished <= now + SKEW)
    ended = max(ends, default=None)
    if ended is not None and now < ended + cooldown:
        return Action("wait", Reason(ReasonCode.COOLING_DOWN, {"seconds": ended + cooldown - now}))
    return Action("start", Reason(ReasonCode.DUE, {"key": chosen.key[:16]}), chosen.key)


def champion_changed(champion: str, version: str) -> Reason:
    return Reason(ReasonCode.CHAMPION_CHANGED, {"champion": champion, "version": version})


def observe(run: Mapping[str, Any] | None) -> ObservedRun:
    """A run of the v2beta1 API as one of our states; None: the server no longer knows it.

    An exit handler that ends well makes the whole run SUCCEEDED though a step in it failed: the steps decide too.
    """
    if run is None:
        return ObservedRun("canceled", Reason(ReasonCode.RUN_GONE))
    state = run.get("state")
    if state == "SUCCEEDED" and (steps := failed_steps(run)):
        return ObservedRun("failed", Reason(ReasonCode.STEPS_FAILED, details=tuple(steps)))
    if state in ("SUCCEEDED", "SKIPPED"):
        return ObservedRun("succeeded", Reason(ReasonCode.RUN_SUCCEEDED))
    if state == "FAILED":
        message = (run.get("error") or {}).get("message")
        details = [_line(message)] if message else failed_steps(run) or ["the run failed and does not say why"]
        return ObservedRun("failed", Reason(ReasonCode.RUN_FAILED, details=tuple(details)))
    if state == "CANCELED":
        return ObservedRun("canceled", Reason(ReasonCode.RUN_CANCELED))
    if state in ("RUNNING", "CANCELING", "PAUSED"):
        return ObservedRun("running", Reason(ReasonCode.RUN_RUNNING))
    return ObservedRun("queued", Reason(ReasonCode.RUN_QUEUED))


def next_state(observed: ObservedRun, attempt: int, attempts: int) -> State:
    """The next state of a retraining with this as run number `attempt`; `starting`: try again."""
    return "starting" if observed.state == "failed" and attempt < attempts else observed.state


def may_post(posted: float | None, now: float, grace: float) -> bool:
    """Whether a run that the server does not list may be requested: not while an earlier request may still arrive."""
    return posted is None or now >= posted + grace


def failed_steps(run: Mapping[str, Any]) -> list[str]:
    """The steps of a run that failed for good, a line each; none where the server's answer names none.

    A retried step is `name(0)`, `name(1)`, … and counts by its best attempt. Kubeflow also lists the groups around a
    step, all FAILED with it, and gives no error of any: the step's log has it.
    """
    best: dict[str, tuple[bool, str]] = {}
    for task in (run.get("run_details") or {}).get("task_details") or ():
        name = str(task.get("display_name") or task.get("task_id") or "?").partition("(")[0]
        succeeded = task.get("state") in ("SUCCEEDED", "SKIPPED")
        if task.get("state") == "FAILED" or succeeded:
            message = str((task.get("error") or {}).get("message") or "")
            best[name] = max(best.get(name, (False, "")), (succeeded, message))
    failed = {name: message for name, (succeeded, message) in best.items() if not succeeded}
    steps = {name: message for name, message in failed.items() if not _AROUND.fullmatch(name)} or failed
    return [_line(f"step {name} failed" + (f": {message}" if message else "")) for name, message in steps.items()]


def _line(text: str) -> str:
    return " ".join(str(text).replace("\x00", "").split())[:500]


def _reason(data: Mapping[str, Any]) -> str:
    reason = data.get("reason")
    return " ".join(reason.replace("\x00", "").split())[:1000] if isinstance(reason, str) else ""


def _moment(data: Mapping[str, Any], name: str) -> float:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise BadEventError(f"{name}: must be Unix seconds, found {value!a}"[:200])
    return float(value)
