"""Production's one door for a model version: the alias `challenger` in the registry.

The rollout function sees the alias, gives the version a small share of the traffic, and promotes it or rolls it back by
the evidence. This sets the alias once and then only reads the outcome from the registry: CI needs no access to the
cluster. Killed and run again with the same version, it continues to watch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Protocol

from common.errors import UnavailableError
from common.mlflow.registry import ModelRegistry, RegisteredModel, RegisteredVersion
from common.names import CHALLENGER, CHAMPION
from functions.rollout.version_tag import ROLLOUT_TAG, Outcome, RolloutTag
from tools.errors import ToolError

POLL_SECONDS = 15.0


class RefusedError(ToolError):
    """The version may not be made challenger; the message says why and what to do."""


class State(StrEnum):
    PROMOTED = "promoted"
    NOT_PROMOTED = "not promoted"
    UNDER_WAY = "under way"


@dataclass(frozen=True, slots=True)
class ObservedState:
    """The registry's: who holds which alias, and the rollout tags of this version and of another challenger."""

    champion: str | None
    challenger: str | None
    tag: str = ""
    challenger_tag: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    state: State
    reason: str


class Registry(Protocol):
    def model(self) -> RegisteredModel | None: ...
    def version(self, version: str) -> RegisteredVersion | None: ...
    def set_alias(self, alias: str, version: str) -> None: ...


def may_start(version: str, observed: ObservedState) -> bool:
    """Whether the alias is to be set: False when this version has it, or serves. RefusedError when it may not be."""
    if version in (observed.champion, observed.challenger) and not _rolled_back(observed.tag):
        return False
    if reason := _rolled_back(observed.tag):
        raise RefusedError(
            f"version {version} was {reason}; remove its tag {ROLLOUT_TAG!r} in the registry to try it again"
        )
    other = observed.challenger
    if other is not None and other != observed.champion and not _rolled_back(observed.challenger_tag):
        raise RefusedError(f"version {other} is under rollout; wait for its end, or abort it: mcqa rollout abort")
    return True


def judge(version: str, observed: ObservedState) -> Verdict:
    """What has become of the version."""
    if reason := _rolled_back(observed.tag):
        return Verdict(State.NOT_PROMOTED, reason)
    if observed.champion == version:
        return Verdict(State.PROMOTED, f"version {version} is champion")
    if observed.challenger != version:
        return Verdict(
            State.NOT_PROMOTED, f"version {version} is no longer challenger, {observed.challenger or 'no version'} is"
        )
    step = f", {observed.tag}" if observed.tag else ""
    return Verdict(State.UNDER_WAY, f"version {version} is challenger of {observed.champion or 'nobody'}{step}")


def observe(registry: Registry, version: str) -> ObservedState:
    """RefusedError when the registry has no such version, UnavailableError when it does not answer."""
    model = registry.model()
    registered = registry.version(version) if model is not None else None
    if model is None or registered is None:
        raise RefusedError(f"the registry has no version {version!r}")
    challenger = model.aliases.get(CHALLENGER)
    other = registered if challenger is None or challenger == version else registry.version(challenger)
    return ObservedState(
        champion=model.aliases.get(CHAMPION),
        challenger=challenger,
        tag=registered.tags.get(ROLLOUT_TAG, ""),
        challenger_tag=other.tags.get(ROLLOUT_TAG, "") if other is not None else "",
    )


def promote(
    registry: Registry,
    version: str,
    seconds: float,
    report: Callable[[str], None] = print,
    pause: float = POLL_SECONDS,
) -> Verdict:
    """Sets the alias where it is not set, and watches for `seconds`; a registry that is unavailable is waited for."""
    deadline = time.monotonic() + seconds
    if may_start(version, observe(registry, version)):
        registry.set_alias(CHALLENGER, version)
        report(f"version {version} is challenger now; the rollout function does the rest")
    printed = ""
    while True:
        try:
            verdict = judge(version, observe(registry, version))
        except UnavailableError as error:
            verdict = Verdict(State.UNDER_WAY, str(error))
        if verdict.reason != printed:
            report(f"{time.strftime('%H:%M:%S')}  {verdict.state}: {verdict.reason}")
            printed = verdict.reason
        if verdict.state is not State.UNDER_WAY or time.monotonic() + pause > deadline:
            return verdict
        time.sleep(pause)


def follow(version: str, model: str, minutes: float) -> bool:
    """Whether the version was promoted."""
    address = ""
    try:
        with ModelRegistry(_environ(), model) as registry:
            address = registry.address
            verdict = promote(registry, version, minutes * 60, _print)
    except UnavailableError as error:
        raise ToolError(f"{error}{_hint(error, address)}") from None
    except ValueError as error:
        raise ToolError(str(error)) from None
    if verdict.state is State.UNDER_WAY:
        raise ToolError(
            f"no verdict within {minutes:g} minutes; the canary continues by itself. Run this again to follow it, or "
            "see: mcqa rollout status"
        )
    return verdict.state is State.PROMOTED


def _hint(error: UnavailableError, address: str) -> str:
    """What to do where the error alone does not say it."""
    if error.status == HTTPStatus.FORBIDDEN:
        return " of a user who may change the model (docs/ci.md, Production)"
    if not error.status:
        return f": is {address} what MLFLOW_TRACKING_URI should be, and reached from here? (docs/ci.md, Production)"
    return ""


def _environ() -> dict[str, str]:
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return dict(os.environ)
    from mcqa.errors import CommandError
    from mcqa.targets import environ

    try:
        return environ()
    except CommandError:
        raise RefusedError("MLFLOW_TRACKING_URI is not set, and no loop runs here (mcqa up)") from None


def _rolled_back(value: str) -> str:
    """The rollout tag where it says that the version was rolled back, else ""."""
    tag = RolloutTag.decode(value)
    return value if tag is not None and tag.outcome is Outcome.ROLLED_BACK else ""


def _print(line: str) -> None:
    print(line, flush=True)
