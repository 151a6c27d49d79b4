"""What asked for runs: the cause of a run in a few words, and the requests that have no run."""

from __future__ import annotations

from collections.abc import Sequence

from mcqa.readmodels.pipeline_requests import Request, Requested
from ui import elements
from ui.elements import Badge, Cell, Time
from ui.language import has, t

# texts: pipelines.request.*
# texts: pipelines.by.*
# texts: pipelines.column.*
_BADGES = {"waiting": "wait", "starting": "wait", "failed": "bad", "canceled": "warn", "void": "sleep"}


def show(requests: Sequence[Request]) -> None:
    """Nothing where every request has its run."""
    if not requests:
        return
    columns = [t(f"pipelines.column.{name}") for name in ("asked", "state", "by", "cause", "became")]
    elements.table(t("pipelines.requests"), columns, [_row(each) for each in requests], key="pipelines requests")


def cause(requested: Requested | None) -> Cell:
    """Who or what asked for a run."""
    if requested is None:
        return t("pipelines.not_the_loop")
    said: list[Cell] = [_by(requested)]
    if requested["attempt"] > 1 or requested["replaced"]:
        said += [", ", t("pipelines.attempt", n=requested["attempt"])]
    if requested["replaced"]:
        said += [", ", t("pipelines.replaced")]
    return said


def _row(request: Request) -> list[Cell]:
    state = request["state"]
    key = f"pipelines.request.{state}"
    badge: Cell = Badge(_BADGES.get(state, "info"), t(key) if has(key) else state)  # type: ignore[arg-type]
    attempt: list[Cell] = [" ", t("pipelines.attempt", n=request["attempt"])] if request["attempt"] > 1 else []
    became = request["error"] or ("—" if state in ("waiting", "starting") else t("pipelines.no_run"))
    return [Time(request["created_at"]), [badge, *attempt], _by(request), request["reason"] or "—", became]


def _by(request: Request) -> str:
    key = f"pipelines.by.{request['initiated_by']}"
    return t(key) if has(key) else request["initiated_by"]
