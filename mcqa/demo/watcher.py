"""Follows the loop as things happen: events from the broker, decisions of the rollout, steps of the pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx2

from common import event_types
from common.kubeflow import API
from functions.database import connect, transaction
from functions.reasons import reason_lines
from functions.rollout import store
from functions.rollout.actions import ActionType
from functions.rollout.reasons import ReasonCode
from functions.rollout.settings import read_settings
from local.platform.settings import Folder
from mcqa import loop, loop_process, targets
from mcqa.demo.narrator import Narrator
from mcqa.demo.wait_policy import WaitPolicy
from mcqa.errors import CommandError

REPORTED_TYPES = (
    event_types.DRIFT_CHECKED,
    event_types.DRIFT_DETECTED,
    event_types.PIPELINERUN_QUEUED,
    event_types.TESTSUITERUN_FINISHED,
    event_types.ARTIFACT_PUBLISHED,
    event_types.PIPELINERUN_FINISHED,
    event_types.SERVICE_UPGRADED,
    event_types.SERVICE_ROLLEDBACK,
)
REPORTED_ACTIONS = (ActionType.SET_SPEC, ActionType.SET_PERCENT, ActionType.HOLD)
MARKS = {"SUCCEEDED": ("✓", "green"), "FAILED": ("✗", "red"), "SKIPPED": ("-", "yellow")}
POLL_SECONDS = 0.4


class LoopWatcher:
    """Passes news to the narrator each time `poll` is called, and keeps events in `seen` by type."""

    def __init__(self, folder: Folder, narrator: Narrator) -> None:
        self._folder, self._narrator = folder, narrator
        self._broker = loop.broker(folder, 5.0)
        self._pipelines = loop.pipelines(folder, 5.0)
        environ = targets.environ(folder.path)
        self._engine, self._model = connect(environ), read_settings(environ).model
        self._last_decision = self._newest_decision()
        self._last_events = dict.fromkeys(REPORTED_TYPES, self._newest_event())
        self._step_states: dict[str, str] = {}
        self._verdict = ""
        self.seen: dict[str, list[Mapping[str, Any]]] = {}
        self.trace = ""
        self.busy = ""
        """What the pipeline is working on."""
        self.pipeline_progress = 0
        """How often a step of the pipeline ended or printed something new."""

    def wait_until(
        self, condition: Callable[[], Any], what: str, policy: WaitPolicy, progress: Callable[[], int]
    ) -> None:
        """Returns once `condition` is true. CommandError when the policy gives up, or when the loop has ended.

        `progress` counts what the waiting depends on, such as answers: while it grows, the loop is working.
        """
        began = last_progress = time.monotonic()
        first = last = progress()
        while True:
            self.poll()
            if condition():
                return
            if not self._folder.running():
                raise CommandError(f"the loop ended: see {self._folder.log}")
            now, count = time.monotonic(), progress()
            if count != last:
                last, last_progress = count, now
            if reason := policy.reason_to_give_up(now - began, now - last_progress, count - first):
                raise CommandError(
                    f"gave up waiting for {what}: {reason}{self._problems()}; the loop is still running: see "
                    f"`mcqa status`, `mcqa logs` and `mcqa events` with --dir {self._folder.path}"
                )
            time.sleep(POLL_SECONDS)

    def _problems(self) -> str:
        parts = loop_process.read_status(self._folder).get("parts", ())
        return "".join(f"; {p['name']} {p['state']} {p['message']}" for p in parts if p["state"] != "ready")

    def poll(self) -> None:
        try:
            for event in self._new_events():
                self._report_event(event)
            for decision in self._new_decisions():
                self._report_decision(decision)
            if self.seen.get(event_types.PIPELINERUN_QUEUED):
                self._report_steps()
        except httpx2.TransportError:
            return  # a part is being restarted: the next poll sees everything

    def _newest_event(self) -> int:
        items = self._broker.get("/-/events", params={"limit": 1}).raise_for_status().json()["items"]
        return int(items[0]["seq"]) if items else 0

    def _new_events(self) -> list[dict[str, Any]]:
        new: list[dict[str, Any]] = []
        for type in REPORTED_TYPES:
            items = self._broker.get("/-/events", params={"limit": 20, "type": type}).json().get("items", [])
            for number in [item["seq"] for item in items if item["seq"] > self._last_events[type]]:
                new.append(self._broker.get(f"/-/events/{number}").json())
                self._last_events[type] = max(self._last_events[type], number)
        return sorted(new, key=lambda item: int(item["seq"]))

    def _newest_decision(self) -> int:
        with transaction(self._engine) as connection:
            last = store.last_decision(connection, self._model)
        return 0 if last is None else int(last["number"])

    def _new_decisions(self) -> Sequence[Mapping[str, Any]]:
        with transaction(self._engine) as connection:
            rows = store.decisions_after(connection, self._model, self._last_decision)
        if rows:
            self._last_decision = int(rows[-1]["number"])
        return rows

    def _report_event(self, item: dict[str, Any]) -> None:
        event = item["event"]
        data, type = event.get("data") or {}, event["type"]
        self.seen.setdefault(type, []).append(data)
        content = (data.get("subject") or {}).get("content") or {}
        narrator = self._narrator
        if type == event_types.DRIFT_CHECKED:
            self._report_check(data)
        elif type == event_types.DRIFT_DETECTED:
            self.trace = str(event.get("traceparent", ""))[3:35]
            narrator.bad(f"drift of version {data.get('version')}", *evidence(data), f"trace {self.trace}")
        elif type == event_types.PIPELINERUN_QUEUED:
            narrator.line("retraining: a pipeline run is queued", f"run key {str(data['subject']['id'])[:16]}…")
        elif type == event_types.TESTSUITERUN_FINISHED:
            report = narrator.good if content.get("outcome") == "success" else narrator.bad
            custom = data.get("customData") or {}
            checks = [check for check in custom.get("checks") or () if check["verdict"] == custom.get("verdict")]
            lines = [f"{check['name']}: {check['reason']}" for check in checks] or [content["reason"]]
            report(f"quality gate: {custom.get('verdict', content.get('outcome'))}", *lines)
        elif type == event_types.ARTIFACT_PUBLISHED:
            narrator.good(f"registered {data['subject']['id']}: it becomes the challenger")
        elif type == event_types.PIPELINERUN_FINISHED and content.get("outcome") == "error":
            narrator.bad("the pipeline run failed", str(content.get("errors", ""))[:300])
        elif type == event_types.SERVICE_UPGRADED:
            narrator.good(f"promoted: {content['artifactId']} answers everything")
        elif type == event_types.SERVICE_ROLLEDBACK:
            lines = reason_lines(ReasonCode, data.get("customData") or {})
            narrator.bad(f"rolled back to {content['artifactId']}", *lines)

    def _report_check(self, data: Mapping[str, Any]) -> None:
        """Only news: not the same verdict again, nor a small window while the loop works on the drift."""
        verdict = str(data.get("verdict"))
        alarmed = bool(self.seen.get(event_types.DRIFT_DETECTED))
        if verdict not in (self._verdict, "drift") and not (alarmed and verdict == "insufficient"):
            self._narrator.line(f"drift check: {verdict}", str(data.get("reason", "")))
        self._verdict = verdict

    def _report_decision(self, row: Mapping[str, Any]) -> None:
        if row["phase"] in ("starting", "stepped-up", "held") and row["action_type"] in REPORTED_ACTIONS:
            self._narrator.line(f"rollout: {row['action']}", *reason_lines(ReasonCode, row))

    def _report_steps(self) -> None:
        """Each step of the newest run once it has ended, with its last line of output; a running one is in `busy`."""
        latest = self._pipelines.get(f"{API}/runs", params={"page_size": 1, "sort_by": "created_at desc"}).json()
        run = ((latest.get("runs") or [{}])[0]).get("run_id")
        if not run:
            return
        details = self._pipelines.get(f"{API}/runs/{run}").json().get("run_details") or {}
        tasks = details.get("task_details") or []
        groups = {task.get("parent_task_id") for task in tasks}
        before, self.busy = self.busy, ""
        for task in tasks:
            name, state, id = str(task["display_name"]), str(task["state"]), task["task_id"]
            if id in groups or not task.get("start_time"):
                continue
            if state == "RUNNING":
                self.busy = f"{name}: {self._last_output(run, id)}"
                self.pipeline_progress += self.busy != before
            elif self._step_states.get(id) != state:
                self.pipeline_progress += 1
                seconds = _time(task["end_time"]) - _time(task["start_time"]) if task.get("end_time") else 0.0
                mark, colour = MARKS.get(state, ("•", "cyan"))
                self._narrator.line(
                    f"pipeline: {name} {state.lower()} after {seconds:.0f} s", self._last_output(run, id),
                    mark=mark, colour=colour,
                )  # fmt: skip
            self._step_states[id] = state

    def _last_output(self, run: str, task: str) -> str:
        log = self._pipelines.get(f"{API}/runs/{run}/nodes/{task}/log").text
        lines = [line.strip() for line in log.splitlines() if line.strip() and line[0] not in "[{}|# "]
        return lines[-1][:300] if lines else ""


def _time(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def evidence(data: Mapping[str, Any]) -> list[str]:
    """The features of a check that moved, one line each."""
    lines = []
    for item in data.get("evidence") or ():
        if item.get("rejected"):
            unit = "sd" if item["test"] == "ks" else "V"
            lines.append(
                f"{item['feature']:<14} {item['test']:<11} effect {item['effect']:.2f} {unit} "
                f"(floor {item['floor']:g}), adjusted p {item['p_adjusted']:.1g}, "
                f"n {item['n']} against {item['n_reference']}"
            )
    return lines
