"""A rollout's codes and figures for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from functions.reasons import Reason, read_reason
from functions.rollout.reasons import ReasonCode
from mcqa.readmodels.rollout import Need
from mcqa.readmodels.rollout_history import Since
from ui.elements import Badge, Cell, Link, Time
from ui.language import duration, has, number, parts, percent, t

Row = Mapping[str, Any]

_FROM_EVIDENCE = (
    ReasonCode.STEP_ANALYSING,
    ReasonCode.STEP_PASSED,
    ReasonCode.STEP_INCONCLUSIVE,
    ReasonCode.ANALYSIS_FAILED,
)
"""Their details are the measures, which the page shows as a table."""

_VERDICTS = {"pass": "good", "fail": "bad"}


def coded(prefix: str, code: str) -> str:
    """The text of a code; that of `unknown` for one of another release."""
    key = f"{prefix}.{code}"
    return t(key if has(key) else f"{prefix}.unknown")


def version(number: str | None) -> Cell:
    return Link(t("rollout.now.version", version=number), f"/versions?version={number}") if number else "—"


def why(row: Row) -> str:
    """The reason of a decision in one line; as it was stored where this release cannot read it."""
    reason = read_reason(ReasonCode, row)
    return str(row["reason"]) if reason is None else "; ".join(_lines(reason))


def details(row: Row) -> list[str]:
    """The lines after the headline: free text, such as a revision's message."""
    reason = read_reason(ReasonCode, row)
    return [] if reason is None else list(reason.details)


def _lines(reason: Reason) -> list[str]:
    # texts: rollout.reason.*
    headline = t(f"rollout.reason.{reason.code}", **reason.params)
    causes = _lines(reason.cause) if reason.cause else []
    told = () if reason.code in _FROM_EVIDENCE else reason.details
    first, *others = [*causes, *told] or [""]
    return [": ".join(part for part in (headline, first) if part), *others]


def who(row: Row) -> str:
    # texts: rollout.initiated.*
    initiated, by = coded("rollout.initiated", row["initiated_by"]), row["by"]
    return t("rollout.log.by", initiated=initiated, by=by) if by else initiated


def since(found: Since) -> list[Cell]:
    """Since when the champion has served, and who decided it."""
    made = found["decision"]
    link = Link(str(made["number"]), f"/rollout?decision={made['number']}")
    promoted = made["reason_code"] != ReasonCode.CHAMPION_SERVES  # that it serves explains nothing
    key = "rollout.now.since_promoted" if promoted else "rollout.now.since_text"
    return parts(key, time=Time(found["at"]), decision=link, who=who(made), **({"why": why(made)} if promoted else {}))


def guard(name: str, of: str) -> str:
    # texts: rollout.guard.*
    if name in ("latency", "letters") and not of:
        return t(f"rollout.guard.{name}_any")
    key = f"rollout.guard.{name}"
    return t(key, of=of) if has(key) else t("rollout.guard.unknown")


def value(name: str, figure: float | None) -> str:
    """A share in percent; the error of the confidence as the number that it is."""
    return number(figure, 3) if name == "calibration" else percent(figure)


def champion(name: str, figure: float | None) -> str:
    """Of the share of requests there is no champion's: the challenger's is compared with the one it was given."""
    return t("rollout.expected", share=value(name, figure)) if name == "share" else value(name, figure)


def difference(name: str, figure: float | None) -> str:
    if figure is None:
        return "—"
    return ("+" if figure > 0 else "") + value(name, 0.0 if figure == 0 else figure)


def interval(name: str, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "—"
    return t("rollout.interval", low=difference(name, max(low, -1.0)), high=difference(name, min(high, 1.0)))


def verdict(code: str) -> Badge:
    # texts: rollout.verdict.*
    kind: Any = _VERDICTS.get(code, "wait")
    return Badge(kind, coded("rollout.verdict", code))


def needed(need: Need | None) -> str:
    # texts: rollout.need.*
    if need is None or need["state"] in ("failed", "unknown"):
        return t("rollout.need.cannot") if need is None or need["state"] == "unknown" else "—"
    if need["state"] in ("proven", "beyond"):
        return t(f"rollout.need.{need['state']}")
    if need["more"] is None:
        return t("rollout.need.cannot")
    amount = t(f"rollout.need.{need['unit']}", n=number(need["more"]))
    return t("rollout.need.assumed", amount=amount) if need["state"] == "assumed" else amount


def takes(need: Need | None) -> str:
    if need is None or need["state"] in ("proven", "failed"):
        return "—"
    if need["per_hour"] == 0:
        return t("rollout.need.none_arrive")
    return t("rollout.need.cannot") if need["seconds"] is None else duration(need["seconds"])
