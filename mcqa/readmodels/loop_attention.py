"""What in the loop wants a person, the most urgent first, and where help is. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypedDict

from mcqa.readmodels.loop_parts import Part
from mcqa.readmodels.loop_sources import Answers
from mcqa.readmodels.loop_stored import MOST_DEAD_LETTERS, Settings, Stored

Severity = Literal["fault", "decision", "notice"]
"""`fault`: something does not work. `decision`: the loop waits for a person. `notice`: worth knowing, nothing stops."""

ALARM_SECONDS = 900.0
"""An alarm that no retraining has taken up by then is not taken up by itself."""


class Want(TypedDict):
    """`message` is a part's own words, possibly a stranger's; `page` with `query` is where to look, `command` what to
    type. `since` in Unix seconds, None where nobody noted it."""

    severity: Severity
    code: str
    params: dict[str, Any]
    message: str
    since: float | None
    page: str
    query: dict[str, str]
    command: str


def read(
    answers: Answers, parts: Iterable[Part], stored: Stored | None, settings: Settings | None, now: float
) -> list[Want]:
    wants = [*_platform(answers), *_disk(answers), *_parts(answers, parts)]
    if stored is not None and settings is not None:
        wants += [*_dead_letters(answers, stored), *_rollout(stored), *_runs(stored), *_alarm(stored, settings, now)]
    order = {"fault": 0, "decision": 1, "notice": 2}
    return sorted(wants, key=lambda want: order[want["severity"]])


def _platform(answers: Answers) -> list[Want]:
    """A loop that is down is one fault, not one for each of its parts."""
    if answers.supervisor.error:
        return [_want("fault", "loop-down", command="mcqa up")]
    if (answers.supervisor.value or {}).get("ending"):
        return [_want("notice", "loop-stops", command="mcqa up")]
    if answers.cluster.error and not answers.supervisor.asked:
        return [_want("fault", "api-silent", answers.cluster.error)]
    return []


def _disk(answers: Answers) -> list[Want]:
    """Who cannot write where: each part and path once, as it was first reported."""
    reports = [answer.value or {} for answer in (answers.supervisor, answers.broker, answers.pipelines)]
    faults = sorted((fault for report in reports for fault in report.get("storage") or ()), key=lambda f: f["since"])
    first = {(fault["part"], fault["path"]): fault for fault in reversed(faults)}
    return [
        _want("fault", "disk-full", fault["message"], since=fault["since"], part=fault["part"], path=fault["path"])
        for fault in first.values()
    ]


def _parts(answers: Answers, parts: Iterable[Part]) -> list[Want]:
    supervised = answers.supervisor.value or {}
    if answers.supervisor.error or supervised.get("ending"):
        return []
    return [
        _want("fault", "part-down", part["message"], command=_logs(answers, part), part=part["name"])
        for part in parts
        if part["state"] == "down" and part["name"] != "platform"
    ]


def _logs(answers: Answers, part: Part) -> str:
    names = {"registry": "mlflow", "model": "coding-mcqa"}
    return f"mcqa logs {names.get(part['name'], part['name'])}" if answers.supervisor.asked else ""


def _dead_letters(answers: Answers, stored: Stored) -> list[Want]:
    at_broker = sum(
        trigger["dead"] + trigger["dead_lettering"] for trigger in (answers.broker.value or {}).get("triggers", ())
    )
    if not stored.dead_letters and not at_broker:
        return []
    more = stored.dead_letters > MOST_DEAD_LETTERS
    count = min(stored.dead_letters, MOST_DEAD_LETTERS) + at_broker
    return [
        _want("decision", "dead-letters", page="events", command="mcqa dead-letters list", count=count, more=more)
    ]  # fmt: skip


def _rollout(stored: Stored) -> list[Want]:
    look = stored.look
    if look is None or look["phase"] not in ("held", "blocked"):
        return []
    command = "mcqa rollout status"
    by_operator = look["initiated_by"] == "operator"
    if look["phase"] == "blocked":
        return [_want("fault", f"rollout-{look['reason_code']}", page="rollout", command=command)]
    code = "rollout-held-by-operator" if by_operator else "rollout-inconclusive"
    params = {"version": look["challenger"], "percent": look["percent"] or 0}
    return [_want("notice" if by_operator else "decision", code, page="rollout", command=command, **params)]


def _runs(stored: Stored) -> list[Want]:
    run = stored.last_run
    if run is None or run.state != "failed" or stored.active is not None:
        return []
    query = {"run": run.run_id} if run.run_id else {}
    return [
        _want(
            "decision", "run-failed", run.error, since=run.finished_at, page="pipelines", query=query,
            command="mcqa pipeline runs", attempts=run.attempt,
        )
    ]  # fmt: skip


def _alarm(stored: Stored, settings: Settings, now: float) -> list[Want]:
    """An alarm that still stands although its retraining has ended, or that none has taken up."""
    alarm, run = stored.alarm, stored.answer_to_alarm
    if alarm is None or stored.active is not None:
        return []
    where: dict[str, Any] = {"page": "drift", "query": {"check": str(alarm.sequence)}, "command": "mcqa drift status"}
    params: dict[str, Any] = {"version": alarm.version}
    if run is None:
        if now - alarm.checked_at < ALARM_SECONDS:
            return []
        return [_want("decision", "alarm-without-run", since=alarm.checked_at, **where, **params)]
    if run.state in ("waiting", "starting", "queued", "running"):
        return []
    if run.state == "succeeded" and run.version:
        return []  # the rollout has it now
    code = {"succeeded": "alarm-gate-refused", "void": "alarm-run-void", "canceled": "alarm-run-canceled"}.get(
        run.state, "alarm-run-failed"
    )
    return [_want("decision", code, run.error, since=alarm.checked_at, **where, **params)]


def _want(
    severity: Severity,
    code: str,
    message: str = "",
    *,
    since: float | None = None,
    page: str = "",
    query: dict[str, str] | None = None,
    command: str = "",
    **params: Any,
) -> Want:
    return {
        "severity": severity,
        "code": code,
        "params": params,
        "message": message,
        "since": since,
        "page": page,
        "query": query or {},
        "command": command,
    }
