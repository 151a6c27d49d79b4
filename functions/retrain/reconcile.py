"""One reconciliation of retraining: follow the active run, start the one that is due, announce what happened.

Kubeflow Pipelines has no idempotent start, so the order of writes makes it one:

1. `waiting` → `starting` in the database, with the run's parameters. The database refuses a second active row.
2. Ask the server for runs named `retrain-<key16>`. As many as this attempt's number: that is our run, go to 5.
3. Note in the database that a run is being requested now (`posted_at`, compare-and-swap: of two reconciliations one
   continues).
4. POST.
5. `starting` → `queued` with the run's id.

Killed before 3, nothing was sent. Killed after 3, or when the POST's response was lost, the next reconciliation asks
the server again, and POSTs again only when GRACE has passed and the server still lists no run: longer than a request in
flight can take, because one older than FRESH is not sent at all. So no crash makes two runs of one attempt, and a
second attempt begins only when the server reports that the first ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Engine, Row

from common.errors import RefusedError
from common.kubeflow import KubeflowClient
from common.mlflow.registry import ModelRegistry
from common.names import CHAMPION
from functions.collect.queries import label_count
from functions.database import transaction
from functions.events import Event
from functions.reasons import Code, Reason
from functions.retrain import store
from functions.retrain.announce import events_of
from functions.retrain.decision import (
    FINISHED,
    champion_changed,
    decide,
    may_post,
    next_state,
    observe,
    too_little_feedback,
)
from functions.retrain.reasons import ReasonCode
from functions.retrain.settings import Settings

GRACE = 60.0
FRESH = 10.0
QUICKER = "another reconciliation was quicker"


class RetrainReconciler:
    """The adapters of one function process."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        registry: ModelRegistry,
        pipelines: KubeflowClient,
        send: Callable[[Event], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._engine, self._clock = settings, engine, clock
        self._registry, self._pipelines, self._send = registry, pipelines, send

    def reconcile(self) -> str:
        """At most one step of each kind; the outcome in a line. UnavailableError when a part is unavailable."""
        model = self._settings.model
        with transaction(self._engine) as connection:
            row = store.active(connection, model)
        try:
            outcome = self._follow(row) if row is not None else self._begin()
        finally:
            self._announce()
        return outcome

    def _begin(self) -> str:
        champion, dropped = self._champion(), ""
        while True:
            with transaction(self._engine) as connection:
                known = store.known(connection, self._settings.model)
            now = self._clock()
            action = decide(known, champion, now, self._settings.cooldown)
            if action.key is None:
                return f"{dropped}{action.kind}: {action.reason}"
            with transaction(self._engine) as connection:
                row = store.find(connection, action.key)
            if row is None or row.state != "waiting":
                continue
            void = action.reason if action.kind == "void" else None
            scope = {"champion": row.champion, "since": row.since}
            if void is None and not row.champion:
                assert champion is not None
                scope = {"champion": champion, "since": self._created(champion)}
                with transaction(self._engine) as connection:
                    labels = label_count(connection, scope["since"], now)
                void = too_little_feedback(labels, self._settings.minimum, champion)
            if void is not None:
                self._change(row, void.code, state="void", error=str(void))
                dropped += f"{_name(row)} dropped: {void}; "
                continue
            parameters = {
                **self._settings.parameters,
                **scope,
                "run_key": row.key,
                "model_name": row.model,
                # Many of the drift's answers get their feedback only after the alarm.
                "until": now,
                "reason": row.reason,
                "traceparent": row.traceparent,
                "drift_event": f"{row.drift_source} {row.drift_id}",
            }
            code = action.reason.code
            claimed = self._change(row, code, state="starting", attempt=1, parameters=parameters, **scope)
            return QUICKER if claimed is None else self._start(claimed, champion)

    def _follow(self, row: Row[Any]) -> str:
        if row.state == "starting":
            return self._start(row, self._champion())
        run = self._pipelines.run(row.run_id)
        observed, now = observe(run), self._clock()
        state = next_state(observed, row.attempt, self._settings.attempts)
        name = _name(row)
        if state == row.state:
            return f"{name} is {state}"
        code = observed.reason.code
        values: dict[str, Any] = {"state": state, "error": observed.error}
        if observed.state == "succeeded":
            values["version"] = version = self._version(row.key)
            code = ReasonCode.VERSION_REGISTERED if version else ReasonCode.GATE_NOT_PASSED
            values["error"] = "" if version else str(Reason(code))
        if state == "starting":
            code = ReasonCode.RETRYING
            values |= {"attempt": row.attempt + 1, "posted_at": None}
        if row.started_at is None and (state == "running" or (state in FINISHED and _ran(run))):
            values["started_at"] = now
        if state in FINISHED:
            values["finished_at"] = now
        if self._change(row, code, **values) is None:
            return QUICKER
        retry = ""
        if state == "starting":
            retry = f", {Reason(code, {'attempt': row.attempt + 1, 'attempts': self._settings.attempts})}"
        return f"{name} {observed.state}{': ' if values['error'] else ''}{values['error']}{retry}"

    def _start(self, row: Row[Any], champion: str | None) -> str:
        """Steps 2 to 5 for a row that is `starting`."""
        name = _name(row)
        runs = self._pipelines.runs_named(name)
        if len(runs) >= row.attempt:
            run = str(runs[-1]["run_id"])
            posted_at = row.posted_at or self._clock()
            self._change(row, ReasonCode.RUN_QUEUED, state="queued", run_id=run, posted_at=posted_at)
            return f"{name} was started before: run {run}"
        if row.posted_at is None and champion is not None and champion != row.champion:
            return self._give_up(row, champion_changed(champion, row.champion))
        now = self._clock()
        if not may_post(row.posted_at, now, GRACE):
            return f"{name} was requested {now - row.posted_at:.0f} s ago and is not listed yet"
        version = self._pipelines.newest_version()
        now = self._clock()
        claimed = self._change(row, ReasonCode(row.reason_code), posted_at=now)
        if claimed is None or self._clock() - now > FRESH:
            return QUICKER
        try:
            run = self._pipelines.start_run(name, f"run key {row.key}", version, row.parameters)
        except RefusedError as error:
            reason = Reason(ReasonCode.RUN_REFUSED, details=(str(error),))
            self._change(claimed, reason.code, state="failed", error=str(reason), finished_at=self._clock())
            return str(reason)
        self._change(claimed, ReasonCode.RUN_QUEUED, state="queued", run_id=run)
        return f"{name} started: run {run}, attempt {row.attempt}"

    def _give_up(self, row: Row[Any], reason: Reason) -> str:
        """The drift is of a version that no longer serves: a run that failed stays so, one that never ran is void."""
        if row.attempt == 1:
            self._change(row, reason.code, state="void", error=str(reason))
        else:
            values = {"error": f"{row.error}; not tried again: {reason}", "finished_at": self._clock()}
            self._change(row, reason.code, state="failed", attempt=row.attempt - 1, **values)
        return f"{_name(row)} ends: {reason}"

    def _announce(self) -> None:
        """Sends what is not sent yet. After a crash before that is stored, it is sent again with the same id."""
        with transaction(self._engine) as connection:
            rows = store.unannounced(connection, self._settings.model)
        for row in rows:
            events = events_of(row, self._pipelines.run_page(row.run_id or ""))
            if row.announced >= len(events):
                continue
            for event in events[row.announced :]:
                if event is not None:
                    self._send(event)
            with transaction(self._engine) as connection:
                store.mark_announced(connection, row.key, len(events))

    def _champion(self) -> str | None:
        model = self._registry.model()
        return None if model is None else model.aliases.get(CHAMPION)

    def _created(self, version: str) -> float:
        registered = self._registry.version(version)
        return registered.created if registered else 0.0

    def _version(self, key: str) -> str | None:
        """The version that the run of this key registered."""
        return next((v.version for v in self._registry.versions() if v.tags.get("run_key") == key), None)

    def _change(self, row: Row[Any], code: Code, **values: Any) -> Row[Any] | None:
        """The row after the change; None when it is no longer as `row` has it."""
        with transaction(self._engine) as connection:
            changed = store.update_unchanged(connection, row, self._clock(), reason_code=str(code), **values)
            return store.find(connection, row.key) if changed else None


def _name(row: Row[Any]) -> str:
    return store.run_name(row.key)


def _ran(run: Mapping[str, Any] | None) -> bool:
    return run is not None and run.get("state") in ("SUCCEEDED", "FAILED")
