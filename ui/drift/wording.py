"""Sentences about checks: verdicts, reasons and evidence from their codes and figures, in the viewer's language."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mcqa.readmodels.drift import Baseline, Check
from ui.elements import Badge, Cell, Link, Time
from ui.language import has, number, parts, t

BADGES = {"drift": "bad", "suspect": "warn", "no-drift": "good", "insufficient": "wait"}


def verdict(check: Check) -> Badge:
    """The verdict, or what an operator did instead of one."""
    if check["reason_code"] in ("baseline-accepted", "baseline-undone"):
        return Badge("info", t("drift.verdict.operator"))
    kind = BADGES.get(check["verdict"], "info")
    key = "drift.verdict.alarm" if check["alarm"] else f"drift.verdict.{check['verdict']}"  # texts: drift.verdict.*
    return Badge(kind, t(key) if has(key) else check["verdict"])  # type: ignore[arg-type]


def reason(check: Check) -> list[Cell]:
    """Why the check came to its verdict; the stored sentence where another release wrote a reason we do not know."""
    key = f"drift.reason.{check['reason_code']}"  # texts: drift.reason.*
    if not has(key):
        return [check["reason"]]
    params = dict(check["reason_params"] or {})
    params["since"] = Time(params.get("since"))
    try:
        sentence: list[Cell] = parts(key, **params)
    except (LookupError, ValueError, TypeError):
        return [check["reason"]]
    moved = [item for item in check["evidence"] if item["rejected"]]
    return [*sentence, ": ", names(moved)] if moved else sentence


def names(evidence: Sequence[Mapping[str, Any]]) -> str:
    """The features that moved, those that moved furthest first."""
    ordered = sorted(evidence, key=lambda item: -item["effect"] / item["floor"])
    return ", ".join(feature(item["feature"]) for item in ordered)


def moved(item: Mapping[str, Any]) -> str:
    """How far one feature moved, and by what rule that counts."""
    key = "drift.moved.letter" if item["test"] == "chi-square" else "drift.moved.feature"
    figures = {
        "effect": number(item["effect"], 2),
        "floor": number(item["floor"], 2),
        "p": probability(item["p_adjusted"]),
    }
    return t(key, feature=feature(item["feature"]), **figures)


def feature(name: str) -> str:
    key = f"drift.feature.{name}"  # texts: drift.feature.*
    return t(key) if has(key) else name


def probability(p: float) -> str:
    return f"< {number(0.001, 3)}" if p < 0.001 else number(p, 3)


def baseline(facts: Baseline) -> list[Cell]:
    """What drift is measured against."""
    if facts["check"] is None:
        version = Link(t("drift.version", version=facts["version"]), f"/versions?version={facts['version']}")
        return parts("drift.baseline.reference", version=version)
    return parts(
        "drift.baseline.accepted",
        n=number(facts["n"]),
        since=Time(facts["since"]),
        who=facts["accepted_by"] or "",
        check=check_link(facts["check"]),
    )


def check_link(sequence: int) -> Link:
    return Link(str(sequence), f"/drift?check={sequence}")


def trace_link(traceparent: str | None) -> Link | None:
    """To the events of a check's trace; None without one."""
    found = re.fullmatch(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", traceparent or "")
    return Link(t("drift.trace"), f"/events?trace={found[1]}") if found else None
