"""One look at retraining: follow the run there is, start the one that is due, tell what happened.

Kubeflow Pipelines has no idempotent start, so the order of writes makes it one:

1. `waiting` → `starting` in the database, with the run's parameters. The database refuses a second active row.
2. Ask the server for runs named `retrain-<key16>`. As many as this attempt's number: that is our run, go to 5.
3. Note in the database that a run is being asked for now (`posted_at`, compare-and-swap: of two looks one goes on).
4. POST.
5. `starting` → `queued` with the run's id.

Killed before 3, nothing was sent. Killed behind 3, or when the POST's answer was lost, the next look asks the server
again, and POSTs again only when GRACE has passed and the server still lists no run: longer than a request that is under
way can take, because it is not sent at all when it is older than FRESH. So no crash makes two runs of one attempt, and
a second attempt begins only when the server says that the first ended.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, Row

from common.environment import number, text, whole
from common.errors import SettingError
from common.names import CHAMPION, MODEL
from functions.collect.queries import label_count
from functions.database import transaction
from functions.events import Event
from functions.registry import ModelRegistry
from functions.retrain import store
from functions.retrain.announce import events_of
from functions.retrain.decision import FINISHED, decide, follow, may_post, observe, too_little
from functions.retrain.pipelines import Pipelines, RefusedError

MINIMUM = 200
"""The pipeline's own (pipelines/retraining/dataset.py), which this image does not hold."""
GRACE = 60.0
FRESH = 10.0
OURS = ("run_key", "model_name", "champion", "since", "until", "reason", "traceparent", "drift_event")


@dataclass(frozen=True, slots=True)
class Settings:
    """`cooldown` in seconds between the end of a run and the next one; `parameters` go to the pipeline as well."""

    model: str
    cooldown: float
    attempts: int
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def minimum(self) -> int:
        """The labelled questions that the pipeline needs at least."""
        data = self.parameters.get("data")
        return int(data.get("minimum", MINIMUM)) if isinstance(data, dict) else MINIMUM


def settings(environ: Mapping[str, str]) -> Settings:
    name = "MCQA_RETRAIN_PARAMETERS"
    given = text(environ, name, "{}")
    try:
        parameters = json.loads(given)
    except ValueError:
        parameters = None
    if not isinstance(parameters, dict):
        raise SettingError(f'{name} must be a JSON object like {{"seed": 1}}, found {given[:80]!r}')
    if taken := sorted(set(parameters) & set(OURS)):
        raise SettingError(f"{name} must not hold {', '.join(taken)}: retrain itself sets that")
    return Settings(
        text(environ, "MCQA_REGISTERED_MODEL", MODEL),
        number(environ, "MCQA_RETRAIN_COOLDOWN_SECONDS", 6 * 3600.0),
        whole(environ, "MCQA_RETRAIN_ATTEMPTS", 2, 1),
        parameters,
    )


class Retrain:
    """The adapters of one function process."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        registry: ModelRegistry,
        pipelines: Pipelines,
        send: Callable[[Event], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._engine, self._clock = settings, engine, clock
        self._registry, self._pipelines, self._send = registry, pipelines, send

    def look(self) -> str:
        """At most one step of each kind; what came of it in a line. UnavailableError when a part is away."""
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
            if action.kind == "void":
                self._change(row, state="void", error=action.reason)
                dropped += f"{_name(row)} dropped: {action.reason}; "
                continue
            of = {"champion": row.champion, "since": row.since}
            if not row.champion:
                assert champion is not None
                of = {"champion": champion, "since": self._made(champion)}
                with transaction(self._engine) as connection:
                    labels = label_count(connection, of["since"], now)
                if reason := too_little(labels, self._settings.minimum, champion):
                    self._change(row, state="void", error=reason)
                    dropped += f"{_name(row)} dropped: {reason}; "
                    continue
            parameters = {
                **self._settings.parameters,
                **of,
                "run_key": row.key,
                "model_name": row.model,
                # Of the drift's answers many get their feedback only after the alarm.
                "until": now,
                "reason": row.reason,
                "traceparent": row.traceparent,
                "drift_event": f"{row.drift_source} {row.drift_id}",
            }
            claimed = self._change(row, state="starting", attempt=1, parameters=parameters, **of)
            return "another look was quicker" if claimed is None else self._start(claimed, champion)

    def _follow(self, row: Row[Any]) -> str:
        if row.state == "starting":
            return self._start(row, self._champion())
        run = self._pipelines.run(row.run_id)
        seen, now = observe(run), self._clock()
        state = follow(seen, row.attempt, self._settings.attempts)
        name = _name(row)
        if state == row.state:
            return f"{name} is {state}"
        values: dict[str, Any] = {"state": state, "error": seen.error}
        if seen.state == "succeeded":
            values["version"] = version = self._version(row.key)
            values["error"] = "" if version else "no version was registered: the gate did not pass the challenger"
        if state == "starting":
            values |= {"attempt": row.attempt + 1, "posted_at": None}
        if row.started_at is None and (state == "running" or (state in FINISHED and _began(run))):
            values["started_at"] = now
        if state in FINISHED:
            values["finished_at"] = now
        if self._change(row, **values) is None:
            return "another look was quicker"
        again = f", attempt {row.attempt + 1} of {self._settings.attempts} follows" if state == "starting" else ""
        return f"{name} {seen.state}{': ' if values['error'] else ''}{values['error']}{again}"

    def _start(self, row: Row[Any], champion: str | None) -> str:
        """Steps 2 to 5 for a row that is `starting`."""
        name = _name(row)
        runs = self._pipelines.runs(name)
        if len(runs) >= row.attempt:
            found = str(runs[-1]["run_id"])
            self._change(row, state="queued", run_id=found, posted_at=row.posted_at or self._clock())
            return f"{name} was started before: run {found}"
        if row.posted_at is None and champion is not None and champion != row.champion:
            return self._give_up(row, f"the champion is version {champion} now, not {row.champion}")
        asked = self._clock()
        if not may_post(row.posted_at, asked, GRACE):
            return f"{name} was asked for {asked - row.posted_at:.0f} s ago and is not listed yet"
        reference = self._pipelines.newest()
        asked = self._clock()
        if (claimed := self._change(row, posted_at=asked)) is None or self._clock() - asked > FRESH:
            return "another look was quicker"
        try:
            run = self._pipelines.start(name, f"run key {row.key}", reference, row.parameters)
        except RefusedError as error:
            self._change(claimed, state="failed", error=str(error), finished_at=self._clock())
            return str(error)
        self._change(claimed, state="queued", run_id=run)
        return f"{name} started: run {run}, attempt {row.attempt}"

    def _give_up(self, row: Row[Any], reason: str) -> str:
        """The drift is of a version that serves no more; what ran already has failed, what did not is void."""
        if row.attempt == 1:
            self._change(row, state="void", error=reason)
        else:
            values = {"error": f"{row.error}; not tried again: {reason}", "finished_at": self._clock()}
            self._change(row, state="failed", attempt=row.attempt - 1, **values)
        return f"{_name(row)} ends: {reason}"

    def _announce(self) -> None:
        """Sends what is not out yet. A crash between sending and noting it sends it again with the same id."""
        with transaction(self._engine) as connection:
            rows = store.unannounced(connection, self._settings.model)
        for row in rows:
            events = events_of(row, self._pipelines.link(row.run_id or ""))
            if row.announced >= len(events):
                continue
            for event in events[row.announced :]:
                if event is not None:
                    self._send(event)
            with transaction(self._engine) as connection:
                store.announced(connection, row.key, len(events))

    def _champion(self) -> str | None:
        found = self._registry.model()
        return None if found is None else found.aliases.get(CHAMPION)

    def _made(self, version: str) -> float:
        found = self._registry.version(version)
        return found.created if found else 0.0

    def _version(self, key: str) -> str | None:
        """The version that the run of this key registered."""
        found = (v.version for v in self._registry.versions() if v.tags.get("run_key") == key)
        return next(found, None)

    def _change(self, row: Row[Any], **values: Any) -> Row[Any] | None:
        """The row after the change; None when it was not as `row` says any more."""
        with transaction(self._engine) as connection:
            changed = store.change(connection, row, self._clock(), **values)
            return store.find(connection, row.key) if changed else None


def _name(row: Row[Any]) -> str:
    return f"retrain-{row.key[:16]}"


def _began(run: Mapping[str, Any] | None) -> bool:
    return run is not None and run.get("state") in ("SUCCEEDED", "FAILED")
