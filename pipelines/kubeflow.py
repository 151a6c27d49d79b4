"""A Kubeflow Pipelines server as people use it: versions of a pipeline are uploaded, runs listed, schedules kept.

Every call may be repeated: a file that is the newest version already is not uploaded again, a schedule is replaced only
where it differs. Errors are UnavailableError, in one line for people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from common.errors import UnavailableError
from common.names import PIPELINE
from functions.retrain.pipelines import Pipelines

UPLOAD_SECONDS = 60.0
_CONFLICT = 409
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Schedule:
    """A recurring run: by `cron` (six fields, seconds first, in the server's time zone) or every so many seconds.

    Each of its runs takes the newest version of the pipeline; one at a time, and what was missed is not made up for.
    """

    name: str
    cron: str = ""
    every: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trigger(self) -> dict[str, Any]:
        if self.cron:
            return {"cron_schedule": {"cron": self.cron}}
        return {"periodic_schedule": {"interval_second": str(self.every)}}


class Kubeflow(Pipelines):
    """The server of KFP_ENDPOINT, with what else MCQA_KFP_… say (functions/retrain/pipelines.py)."""

    def upload(self, path: Path, name: str = PIPELINE) -> tuple[str, bool]:
        """(the id of the pipeline's newest version, which is this file; whether it is new).

        A pipeline that is missing is made; a version only where the newest one is of another file: its name ends with
        the file's digest.
        """
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:16]
        pipeline = self._pipeline(name)
        known, count = self._newest(pipeline, digest)
        if known:
            return known, False
        asked = {"name": f"{name}-{count + 1}-{digest}", "pipelineid": pipeline}
        files = {"uploadfile": (path.name, content, "application/yaml")}
        path_ = "/pipelines/upload_version"
        answer = self._call("POST", path_, params=asked, files=files, timeout=UPLOAD_SECONDS)
        if answer.status_code == _CONFLICT and (known := self._newest(pipeline, digest)[0]):
            return known, False  # another upload of the same file was faster
        return str(self._json(answer)["pipeline_version_id"]), True

    def versions(self, name: str = PIPELINE, most: int = 5) -> list[dict[str, Any]]:
        """The pipeline's newest versions; none where there is no such pipeline."""
        found = self.named(name)
        if found is None:
            return []
        query = {"page_size": str(most), "sort_by": "created_at desc"}
        listed = self._get(f"/pipelines/{quote(found['pipeline_id'], safe='')}/versions", query) or {}
        return list(listed.get("pipeline_versions") or ())

    def latest_runs(self, most: int = 8) -> list[dict[str, Any]]:
        """The newest runs; those that failed with their steps, without which they do not say why."""
        query = {**self._of_namespace(), "page_size": str(most), "sort_by": "created_at desc"}
        found = (self._get("/runs", query) or {}).get("runs") or ()
        return [self._with_steps(run) for run in found]

    def _with_steps(self, run: dict[str, Any]) -> dict[str, Any]:
        return (self.run(run["run_id"]) or run) if run.get("state") == "FAILED" and not run.get("error") else run

    def schedules(self) -> list[dict[str, Any]]:
        """Every recurring run of the namespace, the oldest first."""
        query = {**self._of_namespace(), "page_size": str(_PAGE), "sort_by": "created_at asc"}
        found: list[dict[str, Any]] = []
        while True:
            page = self._get("/recurringruns", query) or {}
            found += page.get("recurringRuns") or ()
            if not (token := page.get("next_page_token")):
                return found
            query["page_token"] = token

    def schedule(self, wanted: Schedule, name: str = PIPELINE) -> tuple[str, str]:
        """(the id of the schedule of this name, "made", "changed" or "kept").

        Kubeflow cannot change one: another is made, then those of the same name that differ are deleted. Killed in
        between, the next call deletes them.
        """
        pipeline = self.named(name)
        if pipeline is None:
            raise UnavailableError(f"the pipeline server has no pipeline {name}; upload it first: mcqa pipeline upload")
        there = [one for one in self.schedules() if one["display_name"] == wanted.name]
        body = {
            "display_name": wanted.name,
            "pipeline_version_reference": {"pipeline_id": pipeline["pipeline_id"]},
            "runtime_config": {"parameters": dict(wanted.parameters)},
            "trigger": wanted.trigger,
            "max_concurrency": "1",
            "no_catchup": True,
            "mode": "ENABLE",
            **self._for_run(),
            **self._of_namespace(),
        }
        same = next((one for one in there if _alike(one, body)), None)
        key = str((same or self._json(self._call("POST", "/recurringruns", json=body)))["recurring_run_id"])
        if same is not None and same.get("status") == "DISABLED":
            self._act(key, ":enable")
        for one in there:
            if one["recurring_run_id"] != key:
                self._delete(one["recurring_run_id"])
        return key, "kept" if same else "changed" if there else "made"

    def unschedule(self, name: str) -> int:
        """Deletes every schedule of this name; how many there were. Their runs stay."""
        there = [one for one in self.schedules() if one["display_name"] == name]
        for one in there:
            self._delete(one["recurring_run_id"])
        return len(there)

    def _pipeline(self, name: str) -> str:
        for _ in range(2):
            if (found := self.named(name)) is not None:
                return str(found["pipeline_id"])
            asked = {"name": name, "display_name": name, **self._of_namespace()}
            answer = self._call("POST", "/pipelines", json=asked)
            if answer.status_code != _CONFLICT:
                return str(self._json(answer)["pipeline_id"])
        raise UnavailableError(f"the pipeline {name} is there and cannot be found; is it another namespace's?")

    def _newest(self, pipeline: str, digest: str) -> tuple[str, int]:
        """The id of the newest version where that is of this digest, else ""; and how many versions there are."""
        query = {"page_size": "1", "sort_by": "created_at desc"}
        found = self._get(f"/pipelines/{quote(pipeline, safe='')}/versions", query) or {}
        for version in found.get("pipeline_versions") or ():
            if (version.get("name") or version["display_name"]).endswith(f"-{digest}"):
                return str(version["pipeline_version_id"]), int(found.get("total_size", 0))
        return "", int(found.get("total_size", 0))

    def _act(self, key: str, verb: str) -> None:
        self._json(self._call("POST", f"/recurringruns/{quote(key, safe='')}{verb}"))

    def _delete(self, key: str) -> None:
        answer = self._call("DELETE", f"/recurringruns/{quote(key, safe='')}")
        if answer.status_code != 404:
            self._json(answer)


def _alike(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a schedule does what is wanted; what is not asked for is the server's to choose."""
    reference = there.get("pipeline_version_reference") or {}
    return (
        _period(there.get("trigger") or {}) == _period(wanted["trigger"])
        and reference.get("pipeline_id") == wanted["pipeline_version_reference"]["pipeline_id"]
        and not reference.get("pipeline_version_id")
        and ((there.get("runtime_config") or {}).get("parameters") or {}) == wanted["runtime_config"]["parameters"]
        and int(there.get("max_concurrency") or 0) == int(wanted["max_concurrency"])
        and bool(there.get("no_catchup"))
        and all(there.get(name) == wanted[name] for name in ("experiment_id", "service_account") if name in wanted)
    )


def _period(trigger: Mapping[str, Any]) -> tuple[str, int]:
    cron, periodic = trigger.get("cron_schedule") or {}, trigger.get("periodic_schedule") or {}
    return str(cron.get("cron") or ""), int(periodic.get("interval_second") or 0)
