"""Production's one door for a model version: the alias `challenger` in the registry.

The rollout function sees the alias, gives the version a small share of the traffic, and promotes it or takes it back by
the evidence. This asks for that once and then only reads what came of it, from the registry: CI needs no access to the
cluster. Killed and run again with the same version, it goes on watching.

    scripts/ci-promote VERSION [--minutes 180]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from common.errors import UnavailableError
from common.mlflow.client import MlflowError
from common.mlflow.registry import ModelRegistry, RegisteredModel, RegisteredVersion
from common.names import CHALLENGER, CHAMPION
from functions.rollout.world import ROLLOUT_TAG, Version

POLL_SECONDS = 15.0


class RefusedError(Exception):
    """The version may not be made challenger; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the registry says: who holds which alias, and whether this version was taken back before."""

    champion: str | None
    challenger: str | None
    tag: str = ""
    challenger_tag: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    state: Literal["promoted", "not promoted", "under way"]
    reason: str


class Registry(Protocol):
    def model(self) -> RegisteredModel | None: ...
    def version(self, version: str) -> RegisteredVersion | None: ...
    def set_alias(self, alias: str, version: str) -> None: ...


def may_start(version: str, seen: Seen) -> bool:
    """Whether the alias is to be set: False when this version has it, or serves. RefusedError when it may not be."""
    if version in (seen.champion, seen.challenger) and not _taken_back(seen.tag):
        return False
    if why := _taken_back(seen.tag):
        raise RefusedError(
            f"version {version} was {why}; remove its tag {ROLLOUT_TAG!r} in the registry to try it again"
        )
    other = seen.challenger
    if other is not None and other != seen.champion and not _taken_back(seen.challenger_tag):
        raise RefusedError(f"version {other} is under rollout; wait for its end, or take it back: mcqa rollout abort")
    return True


def judge(version: str, seen: Seen) -> Verdict:
    """What has become of the version."""
    if why := _taken_back(seen.tag):
        return Verdict("not promoted", why)
    if seen.champion == version:
        return Verdict("promoted", f"version {version} is champion")
    if seen.challenger != version:
        return Verdict(
            "not promoted", f"version {version} is no longer challenger, {seen.challenger or 'no version'} is"
        )
    step = f", {seen.tag}" if seen.tag else ""
    return Verdict("under way", f"version {version} is challenger of {seen.champion or 'nobody'}{step}")


def look(registry: Registry, version: str) -> Seen:
    """RefusedError when the registry has no such version, UnavailableError when it does not answer."""
    model = registry.model()
    found = registry.version(version) if model is not None else None
    if model is None or found is None:
        raise RefusedError(f"the registry has no version {version!r}")
    challenger = model.aliases.get(CHALLENGER)
    other = registry.version(challenger) if challenger not in (None, version) else found
    tags = other.tags if other is not None else {}
    return Seen(model.aliases.get(CHAMPION), challenger, found.tags.get(ROLLOUT_TAG, ""), tags.get(ROLLOUT_TAG, ""))


def promote(
    registry: Registry,
    version: str,
    seconds: float,
    say: Callable[[str], None] = print,
    pause: float = POLL_SECONDS,
) -> Verdict:
    """Sets the alias where it is not set, and watches for `seconds`; a registry that is away is waited for."""
    deadline = time.monotonic() + seconds
    if may_start(version, look(registry, version)):
        registry.set_alias(CHALLENGER, version)
        say(f"version {version} is challenger now; the rollout function does the rest")
    told = ""
    while True:
        try:
            verdict = judge(version, look(registry, version))
        except UnavailableError as error:
            verdict = Verdict("under way", str(error))
        if verdict.reason != told:
            say(f"{time.strftime('%H:%M:%S')}  {verdict.state}: {verdict.reason}")
            told = verdict.reason
        if verdict.state != "under way" or time.monotonic() + pause > deadline:
            return verdict
        time.sleep(pause)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    address = ""
    try:
        with ModelRegistry(_environ(), arguments.model) as registry:
            address = registry.address
            verdict = promote(registry, arguments.version, arguments.minutes * 60, _say)
    except UnavailableError as error:
        print(f"ci-promote: {error}{_hint(error, address)}", file=sys.stderr)
        return 1
    except (RefusedError, ValueError) as error:
        print(f"ci-promote: {error}", file=sys.stderr)
        return 1
    if verdict.state == "under way":
        print(
            f"ci-promote: no verdict within {arguments.minutes:g} minutes; the canary goes on by itself. Run this "
            "again to follow it, or see: mcqa rollout status",
            file=sys.stderr,
        )
    return 0 if verdict.state == "promoted" else 1


def _hint(error: UnavailableError, address: str) -> str:
    """What to do where the error alone does not say it."""
    if error.status == 403:
        return " of a user who may change the model (docs/ci.md, Production)"
    if isinstance(error, MlflowError) and error.transient:
        return f": is {address} what MLFLOW_TRACKING_URI should be, and reached from here? (docs/ci.md, Production)"
    return ""


def _environ() -> dict[str, str]:
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return dict(os.environ)
    from mcqa.errors import CommandError
    from mcqa.loop import environ

    try:
        return environ()
    except CommandError:
        raise RefusedError("MLFLOW_TRACKING_URI is not set, and no loop runs here (mcqa up)") from None


def _taken_back(tag: str) -> str | None:
    return Version("", {ROLLOUT_TAG: tag}).rolled_back


def _say(line: str) -> None:
    print(line, flush=True)


def _version(text: str) -> str:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"must be a version's number, found {text!r}")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/ci-promote", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("version", type=_version, help="number of the registered version")
    parser.add_argument("--model", default="coding-mcqa", help="registered model [default: %(default)s]")
    parser.add_argument("--minutes", type=float, default=180.0, help="how long to follow [default: %(default)g]")
    return parser


if __name__ == "__main__":
    sys.exit(main())
