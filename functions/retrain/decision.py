"""May a retraining start, and what became of the one that did? Pure.

A drift or a request is answered by at most one run that succeeds, and at no time by two that are active:

waiting    it is known; a run is not allowed yet (cool-down, another run is active)
starting   a run is intended; it may or may not exist: only the pipeline server knows
queued     the server has it
running
succeeded  the run ended well: it registered a version, or the gate refused its challenger
failed     every attempt broke
canceled   somebody ended it or deleted it, which is a decision, so nothing is tried again
void       there is nothing to do any more: the drift was of a version that serves no more, another drift or request
           took its place, or there is too little feedback for a request

A run that broke is tried again (a node went away, a registry restarted, a process was killed), because the alarm was
raised once and nobody raises it again. It is tried again only when the server says that it ended, so the two never
overlap, and registration is idempotent by run key, so what both did counts once.
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

# What Kubeflow lists of a run beside its steps: the workflow, groups, and a step's own driver and executor.
_AROUND = re.compile(
    r"root|executor|(exit-handler|condition|for-loop)-.*|.*-driver|.*\.onExit|.*-retraining-[a-z0-9]{5}"
)

State = Literal["waiting", "starting", "queued", "running", "succeeded", "failed", "canceled", "void"]
ACTIVE = frozenset({"starting", "queued", "running"})
FINISHED = frozenset({"succeeded", "failed", "canceled"})
PERIODS = {"daily": "%G-W%V-%u", "weekly": "%G-W%V", "monthly": "%Y-%m"}
"""Reasons of a schedule: within one such period it asks once, however often and by whomever its tick is sent."""


@dataclass(frozen=True, slots=True)
class DetectedDrift:
    """What a drift event asks for. `since` in Unix seconds: from where on the answers had moved."""

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
    """A retraining that no drift asks for: of the champion there is when it starts, on the feedback since it was made.

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
    """A retraining as the database knows it. `ran`: a run was started for it. A request that waits has no champion."""

    key: str
    state: State
    champion: str
    created: float
    finished: float | None = None
    ran: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    kind: Literal["start", "void", "wait", "nothing"]
    reason: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """A run as the pipeline server shows it; `error` says in a line what broke."""

    state: Literal["queued", "running", "succeeded", "failed", "canceled"]
    error: str = ""


def read_drift(data: Any) -> DetectedDrift:
    """The drift of an event's data; BadEventError names what is missing."""
    if not isinstance(data, dict):
        raise BadEventError("the data must be a JSON object, as the drift function sends it")
    texts = {name: data.get(name) for name in ("model", "version", "data_digest")}
    for name, value in texts.items():
        if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
            raise BadEventError(f"{name}: must be a text of 1 to 200 characters, found {value!a}"[:200])
    start, end = (_moment(data, name) for name in ("window_start", "window_end"))
    since = start if data.get("drift_since") is None else _moment(data, "drift_since")
    if not since <= start <= end:
        raise BadEventError(f"drift_since <= window_start <= window_end is needed, found {since}, {start}, {end}")
    said = _reason(data)
    return DetectedDrift(
        texts["model"] or "", texts["version"] or "", (start, end), since, texts["data_digest"] or "", said
    )


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
    when = f"{reason} {datetime.fromtimestamp(at, UTC).strftime(period)}" if period else event
    return RetrainRequest(model, when, reason)


def is_request(data: Any) -> bool:
    """Whether a tick's data is a request, not merely a reason to look."""
    return isinstance(data, dict) and bool(_reason(data))


def too_little(labels: int, minimum: int, champion: str) -> str:
    """Why a request cannot be met: feedback since the champion was made; "" when it can."""
    if labels >= minimum:
        return ""
    return f"{labels} answers got feedback since version {champion} was made, at least {minimum} needed"


def decide(known: Sequence[Retraining], champion: str | None, now: float, cooldown: float) -> Action:
    """The one next step for what waits. `known` holds every retraining of the model that waits, is active or ended."""
    waiting = sorted((k for k in known if k.state == "waiting"), key=lambda k: (k.created, k.key))
    if not waiting:
        return Action("nothing", "no drift and no request waits for a retraining")
    if champion is None:
        return Action("wait", "the model has no champion now")
    for one in waiting:
        if one.champion not in ("", champion):
            reason = f"the champion is version {champion} now, the drift was found in version {one.champion}"
            return Action("void", reason, one.key)
    drifts = [one for one in waiting if one.champion]
    chosen = (drifts or waiting)[-1]
    for one in waiting:
        if one is not chosen:
            other = f"drift of version {champion}" if drifts else "request"
            return Action(
                "void", f"a {'newer ' if bool(one.champion) == bool(drifts) else ''}{other} is known", one.key
            )
    if (active := next((k for k in known if k.state in ACTIVE), None)) is not None:
        return Action("wait", f"retraining {active.key[:16]} is {active.state}")
    # An end that lies ahead was noted before our clock was set back: it must not stop every retraining until then.
    ends = (k.finished for k in known if k.ran and k.finished is not None and k.finished <= now + SKEW)
    ended = max(ends, default=None)
    if ended is not None and now < ended + cooldown:
        return Action("wait", f"the cool-down after the last run lasts {ended + cooldown - now:.0f} s more")
    return Action("start", chosen.key[:16], chosen.key)


def observe(run: Mapping[str, Any] | None) -> Observed:
    """A run of the v2beta1 API as one of our states; None: the server does not know it any more.

    An exit handler that ends well makes the whole run SUCCEEDED though a step in it broke: the steps decide too.
    """
    if run is None:
        return Observed("canceled", "the run is gone from the pipeline server")
    state = run.get("state")
    if state == "SUCCEEDED" and (steps := failed_steps(run)):
        return Observed("failed", f"the run says SUCCEEDED, but {steps}")
    if state in ("SUCCEEDED", "SKIPPED"):
        return Observed("succeeded")
    if state == "FAILED":
        message = (run.get("error") or {}).get("message") or failed_steps(run)
        return Observed("failed", _line(message or "the run failed and does not say why"))
    if state == "CANCELED":
        return Observed("canceled", "the run was canceled")
    return Observed("running" if state in ("RUNNING", "CANCELING", "PAUSED") else "queued")


def next_state(observed: Observed, attempt: int, attempts: int) -> State:
    """The next state of a retraining whose run number `attempt` looks like this; `starting`: try once more."""
    return "starting" if observed.state == "failed" and attempt < attempts else observed.state


def may_post(posted: float | None, now: float, grace: float) -> bool:
    """Whether a run that the server does not list may be asked for: not while an earlier request may still arrive."""
    return posted is None or now >= posted + grace


def failed_steps(run: Mapping[str, Any]) -> str:
    """The steps of a run that failed for good, in a line; "" where the server's answer names none.

    A retried step is `name(0)`, `name(1)`, … and counts by its best attempt. Kubeflow lists what a step is inside of
    beside it, all FAILED with it, and says of none why: the step's log does.
    """
    best: dict[str, tuple[bool, str]] = {}
    for task in (run.get("run_details") or {}).get("task_details") or ():
        name = str(task.get("display_name") or task.get("task_id") or "?").partition("(")[0]
        ended_well = task.get("state") in ("SUCCEEDED", "SKIPPED")
        if task.get("state") == "FAILED" or ended_well:
            message = str((task.get("error") or {}).get("message") or "")
            best[name] = max(best.get(name, (False, "")), (ended_well, message))
    failed = {name: why for name, (well, why) in best.items() if not well}
    steps = {name: why for name, why in failed.items() if not _AROUND.fullmatch(name)} or failed
    return _line("; ".join(f"step {name} failed" + (f": {why}" if why else "") for name, why in steps.items()))


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
