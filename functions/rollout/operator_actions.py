"""What an operator may do to a rollout: promote, hold, resume, abort. One code for the command line and the page.

An action is an override for one challenger (read at the next reconciliation), a row of the decision log that says who
did it, and an event that asks for a reconciliation now. It acts on the challenger that was named or on none: an
override for another version is void, and where the registry names another by now, the action is refused. The same
holds for the override that the operator saw (`seen`): of two operators the second gets an error instead.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from sqlalchemy import Connection

from common.errors import UnavailableError
from common.event_types import ROLLOUT_REQUESTED
from common.mlflow.registry import ModelRegistry, RegisteredVersion
from common.names import CHALLENGER, CHAMPION
from functions.database import connect, transaction
from functions.reasons import Closed, InitiatedBy, Reason
from functions.rollout import overrides, store
from functions.rollout.actions import ActionType
from functions.rollout.reasons import ReasonCode
from functions.rollout.settings import read_settings
from functions.rollout.state import NAMELESS, ModelVersion, Override
from functions.rollout.version_tag import ROLLOUT_TAG
from functions.sink import Sink, digest, loop_event, traceparent

Action = Literal["promote", "hold", "abort", "resume"]
ACTIONS: tuple[Action, ...] = get_args(Action)

NAME_LIMIT = 200

_CODES: dict[Action, ReasonCode] = {
    "promote": ReasonCode.PROMOTE_REQUESTED,
    "hold": ReasonCode.HOLD_REQUESTED,
    "abort": ReasonCode.ABORT_REQUESTED,
    "resume": ReasonCode.RESUME_REQUESTED,
}


class Refusal(Closed):
    """Why nothing was done."""

    NO_ROLLOUT = "no-rollout"  # no version has the alias challenger
    OTHER_CHALLENGER = "other-challenger"  # it is not the version that was named
    ROLLED_BACK = "rolled-back"  # its tag says that it was rolled back
    OVERRIDDEN = "overridden"  # somebody else's override is newer than the one that was seen
    NO_OVERRIDE = "no-override"  # there is nothing to resume from
    UNKNOWN = "unknown"


_TEMPLATES = {
    Refusal.NO_ROLLOUT: "there is no rollout: no version of {model} has the alias {alias} ({serves}). Set the alias on "
    "the version to try, and its canary starts",
    Refusal.OTHER_CHALLENGER: "version {version} is not under rollout; the challenger is version {challenger}",
    Refusal.ROLLED_BACK: "challenger {challenger} was already rolled back: {why}. Remove its tag {tag!r} to try it "
    "again",
    Refusal.OVERRIDDEN: "challenger {challenger} got another instruction in the meantime: {action}, by {by}",
    Refusal.NO_OVERRIDE: "challenger {challenger} has no override: there is nothing to resume",
}


class RefusedError(Exception):
    """Nothing was done. `params` are what the sentence of its `code` names."""

    def __init__(self, code: Refusal, params: Mapping[str, Any]) -> None:
        super().__init__(_TEMPLATES[code].format(**params))
        self.code, self.params = code, dict(params)


@dataclass(frozen=True, slots=True)
class _Any:
    """Whatever override there is."""


ANY: Final = _Any()


@dataclass(frozen=True, slots=True)
class Done:
    """What was noted. `decision` is its number in the log, `problem` why the reconciliation was not asked for: ""
    where it was, else it happens at the next tick.
    """

    action: Action
    challenger: str
    decision: int
    at: float
    problem: str = field(default="")


def act(
    environ: Mapping[str, str],
    action: Action,
    by: str,
    source: str,
    version: str | None = None,
    seen: float | _Any | None = ANY,
) -> Done:
    """Does it, or raises RefusedError. `by` is who does it, `source` the event source of the component.

    Only if the challenger is `version`, where it is given, and only if the override is still the one of the time
    `seen` (None: there was none). ValueError for bad settings, UnavailableError without the registry or the database.
    """
    settings, engine = read_settings(environ), connect(environ)
    name = " ".join(by.split())[:NAME_LIMIT] or NAMELESS
    try:
        with ModelRegistry(environ, settings.model) as registry:
            champion, challenger = _under_rollout(registry, version)
        now = time.time()
        with transaction(engine) as connection:
            was = overrides.read(connection, settings.model)
            valid = was if was is not None and was.challenger == challenger.version else None
            override = None if action == "resume" else Override(action, challenger.version, name, now)
            _write(connection, settings.model, challenger.version, override, valid, seen)
            row = _row(connection, settings.model, action, name, champion, challenger, valid)
            number = store.append_decision(connection, settings.model, {**row, "at": now})["number"]
    finally:
        engine.dispose()
    problem = _request(environ, source, settings.model, action, challenger.version, name, now)
    return Done(action, challenger.version, number, now, problem)


def _under_rollout(registry: ModelRegistry, version: str | None) -> tuple[str | None, RegisteredVersion]:
    """The champion, and the challenger with its tags."""
    registered = registry.model()
    aliases = registered.aliases if registered else {}
    number, champion = aliases.get(CHALLENGER), aliases.get(CHAMPION)
    if number is None or number == champion:
        serves = f"version {champion} is champion" if champion else "there is no champion either"
        params = {"model": registry.model_name, "alias": CHALLENGER, "serves": serves, "champion": champion}
        raise RefusedError(Refusal.NO_ROLLOUT, params)
    if version not in (None, number):
        raise RefusedError(Refusal.OTHER_CHALLENGER, {"version": version, "challenger": number})
    challenger = registry.version(number) or RegisteredVersion(number)
    if why := ModelVersion(number, challenger.tags).rolled_back:
        raise RefusedError(Refusal.ROLLED_BACK, {"challenger": number, "why": str(why), "tag": ROLLOUT_TAG})
    return champion, challenger


def _write(
    connection: Connection,
    model: str,
    challenger: str,
    override: Override | None,
    was: Override | None,
    seen: float | _Any | None,
) -> None:
    """Stores the override, or removes the one there `was`. One statement: in between, somebody else may write."""
    if override is None:
        if was is None:
            raise RefusedError(Refusal.NO_OVERRIDE, {"challenger": challenger})
        written = overrides.clear(connection, model, was.at if isinstance(seen, _Any) else seen)
    elif isinstance(seen, _Any):
        overrides.write(connection, model, override)
        written = True
    else:
        written = overrides.replace(connection, model, override, seen)
    if not written:
        now = overrides.read(connection, model)
        params = {"challenger": challenger, "action": now.action if now else "resume", "by": now.by if now else "?"}
        raise RefusedError(Refusal.OVERRIDDEN, params)


def _row(
    connection: Connection,
    model: str,
    action: Action,
    by: str,
    champion: str | None,
    challenger: RegisteredVersion,
    was: Override | None,
) -> dict[str, Any]:
    """The row of the log; where the rollout is is what the last decision says."""
    last = store.last_decision(connection, model) or {"phase": "idle", "percent": None, "generation": ""}
    params = {"version": challenger.version, "by": by}
    if action == "resume":
        params["override"] = was.action if was else ""
    details = () if by == NAMELESS else (by,)
    reason = Reason(_CODES[action], params, details, initiated_by=InitiatedBy.OPERATOR)
    return {
        **{name: last[name] for name in ("phase", "percent", "generation")},
        "action": f"{action} challenger {challenger.version}",
        "action_type": str(ActionType.OVERRIDE),
        **reason.to_columns(),
        "champion": champion,
        "challenger": challenger.version,
        "trace": challenger.tags.get("traceparent"),
    }


def _request(
    environ: Mapping[str, str], source: str, model: str, action: Action, challenger: str, by: str, now: float
) -> str:
    """Asks the rollout function to reconcile; why it could not be asked, "" where it was."""
    key = digest(ROLLOUT_REQUESTED, model, action, challenger, now)
    data = {"action": action, "challenger": challenger, "by": by}
    try:
        Sink(environ).send(loop_event(ROLLOUT_REQUESTED, source, key, data, now, traceparent(key)))
    except (UnavailableError, ValueError) as error:  # the override is noted: the next tick applies it
        return str(error)
    return ""
