"""What happens in the loop, as it happens: events from the broker, decisions of the rollout, steps of the pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import httpx
from sqlalchemy import create_engine, text

from common import event_types
from functions.retrain.pipelines import API
from local.platform.settings import Folder
from mcqa import loop, up
from mcqa.demo.pace import Patience
from mcqa.demo.tell import Narrator
from mcqa.errors import CommandError

TOLD_TYPES = (
    event_types.DRIFT_CHECKED,
    event_types.DRIFT_DETECTED,
    event_types.PIPELINERUN_QUEUED,
    event_types.TESTSUITERUN_FINISHED,
    event_types.ARTIFACT_PUBLISHED,
    event_types.PIPELINERUN_FINISHED,
    event_types.SERVICE_UPGRADED,
    event_types.SERVICE_ROLLEDBACK,
)
MARKS = {"SUCCEEDED": ("✓", "green"), "FAILED": ("✗", "red"), "SKIPPED": ("-", "yellow")}


class Watch:
    """Tells the narrator what is new, each time `look` is called, and remembers it in `seen` by event type."""

    def __init__(self, folder: Folder, narrator: Narrator) -> None:
        self._folder, self._narrator = folder, narrator
        self._broker = loop.broker(folder, 5.0)
        self._pipelines = loop.pipelines(folder, 5.0)
        self._engine = create_engine(loop.environ(folder.path)["MCQA_DATABASE_URL"])
        self._last_decision = self._newest_decision()
        self._last_events = dict.fromkeys(TOLD_TYPES, self._newest_event())
        self._steps: dict[str, str] = {}
        self._verdict = ""
        self.began = time.time()
        self.seen: dict[str, list[Mapping[str, Any]]] = {}
        self.decisions: list[Mapping[str, Any]] = []
        self.trace = ""
        self.busy = ""
        """What the pipeline is at."""
        self.pipeline_moves = 0
        """How often a step of the pipeline ended or said something new."""

    def until(self, true: Callable[[], Any], what: str, patience: Patience, moved: Callable[[], int]) -> Any:
        """What `true` gives once that is anything. CommandError when patience ends, or when the loop has gone.

        `moved` counts what the waiting depends on, such as answers: while it grows, things go on.
        """
        began = last_move = time.monotonic()
        first = last = moved()
        while True:
            self.look()
            if found := true():
                return found
            if not self._folder.running():
                raise CommandError(f"the loop ended: see {self._folder.log}")
            now, count = time.monotonic(), moved()
            if count != last:
                last, last_move = count, now
            if why := patience.verdict(now - began, now - last_move, count - first):
                problems = "; ".join(
                    f"{p['name']} {p['state']} {p['message']}"
                    for p in up.status_of(self._folder).get("parts", ())
                    if p["state"] != "ready"
                )
                raise CommandError(
                    f"gave up waiting for {what}: {why}{'; ' + problems if problems else ''}; the loop is still "
                    f"up: see `mcqa status`, `mcqa logs` and `mcqa events` with --dir {self._folder.path}"
                )
            time.sleep(0.4)

    def look(self) -> None:
        try:
            for event in self._new_events():
                self._tell(event)
            for row in self._new_decisions():
                self._tell_decision(row)
            if self.seen.get(event_types.PIPELINERUN_QUEUED):
                self._tell_steps()
        except httpx.TransportError:
            return  # a part is being started again: the next look sees it all

    def _newest_event(self) -> int:
        found = self._broker.get("/-/events", params={"limit": 1}).raise_for_status().json()["items"]
        return int(found[0]["seq"]) if found else 0

    def _new_events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for type in TOLD_TYPES:
            items = self._broker.get("/-/events", params={"limit": 20, "type": type}).json().get("items", [])
            new = [item["seq"] for item in items if item["seq"] > self._last_events[type]]
            for seq in new:
                found.append(self._broker.get(f"/-/events/{seq}").json())
                self._last_events[type] = max(self._last_events[type], seq)
        return sorted(found, key=lambda item: int(item["seq"]))

    def _newest_decision(self) -> int:
        with self._engine.connect() as connection:
            return int(connection.scalar(text("SELECT coalesce(max(number), 0) FROM rollout_decisions")) or 0)

    def _new_decisions(self) -> list[Mapping[str, Any]]:
        query = text("SELECT * FROM rollout_decisions WHERE number > :last ORDER BY number")
        with self._engine.connect() as connection:
            rows: list[Mapping[str, Any]] = [
                dict(row) for row in connection.execute(query, {"last": self._last_decision}).mappings()
            ]
        if rows:
            self._last_decision = int(rows[-1]["number"])
        return rows

    def _tell(self, item: dict[str, Any]) -> None:
        event = item["event"]
        data, type = event.get("data") or {}, event["type"]
        self.seen.setdefault(type, []).append(data)
        content = (data.get("subject") or {}).get("content") or {}
        narrator = self._narrator
        if type == event_types.DRIFT_CHECKED:
            self._tell_check(data)
        elif type == event_types.DRIFT_DETECTED:
            self.trace = str(event.get("traceparent", ""))[3:35]
            narrator.bad(f"drift of version {data.get('version')}", *evidence(data), f"trace {self.trace}")
        elif type == event_types.PIPELINERUN_QUEUED:
            narrator.line("retraining: a pipeline run is queued", f"run key {str(data['subject']['id'])[:16]}…")
        elif type == event_types.TESTSUITERUN_FINISHED:
            tell = narrator.good if content.get("outcome") == "success" else narrator.bad
            tell(
                f"gate: {(data.get('customData') or {}).get('verdict', content.get('outcome'))}",
                *content["reason"].split("; "),
            )
        elif type == event_types.ARTIFACT_PUBLISHED:
            narrator.good(f"registered {data['subject']['id']}: it becomes the challenger")
        elif type == event_types.PIPELINERUN_FINISHED and content.get("outcome") == "error":
            narrator.bad("the pipeline run broke", str(content.get("errors", ""))[:300])
        elif type == event_types.SERVICE_UPGRADED:
            narrator.good(f"promoted: {content['artifactId']} answers everything")
        elif type == event_types.SERVICE_ROLLEDBACK:
            why = str((data.get("customData") or {}).get("reason", ""))
            narrator.bad(f"rolled back to {content['artifactId']}", *why.split("; "))

    def _tell_check(self, data: Mapping[str, Any]) -> None:
        """Only what is news: the same verdict again is none, nor is a small window while the loop works on it."""
        verdict = str(data.get("verdict"))
        alarmed = bool(self.seen.get(event_types.DRIFT_DETECTED))
        if verdict not in (self._verdict, "drift") and not (alarmed and verdict == "insufficient"):
            self._narrator.line(f"drift check: {verdict}", str(data.get("reason", "")))
        self._verdict = verdict

    def _tell_decision(self, row: Mapping[str, Any]) -> None:
        self.decisions.append(row)
        if row["phase"] in ("starting", "stepped-up", "held") and row["action"].startswith(("pin", "set", "hold")):
            self._narrator.line(f"rollout: {row['action']}", *row["reason"].split("; "))

    def _tell_steps(self) -> None:
        """Each step of the newest run when it has ended, with the last thing it said; what goes on is in `busy`."""
        latest = self._pipelines.get(f"{API}/runs", params={"page_size": 1, "sort_by": "created_at desc"}).json()
        run = ((latest.get("runs") or [{}])[0]).get("run_id")
        if not run:
            return
        details = self._pipelines.get(f"{API}/runs/{run}").json().get("run_details") or {}
        tasks = details.get("task_details") or []
        groups = {task.get("parent_task_id") for task in tasks}
        before, self.busy = self.busy, ""
        for task in tasks:
            name, state, number = str(task["display_name"]), str(task["state"]), task["task_id"]
            if number in groups or not task.get("start_time"):
                continue
            if state == "RUNNING":
                self.busy = f"{name}: {self._last_word(run, number)}"
                self.pipeline_moves += self.busy != before
            elif self._steps.get(number) != state:
                self.pipeline_moves += 1
                took = _time(task["end_time"]) - _time(task["start_time"]) if task.get("end_time") else 0.0
                mark, colour = MARKS.get(state, ("•", "cyan"))
                self._narrator.line(
                    f"pipeline: {name} {state.lower()} after {took:.0f} s", self._last_word(run, number),
                    mark=mark, colour=colour,
                )  # fmt: skip
            self._steps[number] = state

    def _last_word(self, run: str, task: str) -> str:
        text = self._pipelines.get(f"{API}/runs/{run}/nodes/{task}/log").text
        said = [line.strip() for line in text.splitlines() if line.strip() and line[0] not in "[{}|# "]
        return said[-1][:300] if said else ""


def _time(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def evidence(data: Mapping[str, Any]) -> list[str]:
    """A check's rejected features, one line each."""
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
