"""The client of Kubeflow Pipelines' REST API (v2beta1): pipelines and their versions, runs, recurring runs.

An upload may be repeated: a file that is the newest version already is not uploaded again.

Written by hand: importing the `kfp` client takes 0.8 s, and the retrain function has to start within a second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from common import links
from common.backoff import describe_error
from common.environment import text
from common.errors import RefusedError, UnavailableError
from common.names import EXPERIMENT, PIPELINE

API = "/apis/v2beta1"
TOKEN_PATH = "/var/run/secrets/kubeflow/pipelines/token"
TIMEOUT = httpx2.Timeout(15.0, connect=3.0)
UPLOAD_SECONDS = 60.0
PAGE_SIZE = 100
NEWEST_FIRST = {"sort_by": "created_at desc"}
OLDEST_FIRST = {"sort_by": "created_at asc"}
_NOT_FOUND, _CONFLICT = 404, 409
_NO_SUCH_CALL = (_NOT_FOUND, 405, 501)
_REFUSALS = (400, _NOT_FOUND, 422)


class KubeflowClient:
    """The server of KFP_ENDPOINT. UnavailableError, in one line, when it does not answer or does not let us in.

    A multi-user server also needs MCQA_KFP_NAMESPACE, the profile that the runs belong to, and a token of a service
    account that may start runs there, in the file MCQA_KFP_TOKEN_PATH. MCQA_KFP_EXPERIMENT: the runs' experiment,
    created where it is missing; MCQA_KFP_SERVICE_ACCOUNT: what the steps run as. Both may be empty for the server's
    defaults.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        endpoint = text(environ, "KFP_ENDPOINT").rstrip("/")
        self._token = Path(text(environ, "MCQA_KFP_TOKEN_PATH", TOKEN_PATH))
        self.namespace = text(environ, "MCQA_KFP_NAMESPACE", "")
        # A multi-user server has no default experiment.
        self.experiment = text(environ, "MCQA_KFP_EXPERIMENT", EXPERIMENT if self.namespace else "")
        self.service_account = text(environ, "MCQA_KFP_SERVICE_ACCOUNT", "")
        self._http = httpx2.Client(base_url=endpoint, timeout=TIMEOUT)

    def find_pipeline(self, name: str = PIPELINE) -> dict[str, Any] | None:
        """The pipeline of this name, the namespace's or one that all namespaces share."""
        path = f"/pipelines/names/{_quoted(name)}"
        pipeline = self._get(path, self._namespace_field()) if self.namespace else None
        return pipeline or self._get(path)

    def versions(self, name: str = PIPELINE, limit: int = 5) -> list[dict[str, Any]]:
        """The pipeline's newest versions; none where there is no such pipeline."""
        pipeline = self.find_pipeline(name)
        return [] if pipeline is None else self._versions(pipeline["pipeline_id"], limit)[0]

    def newest_version(self, name: str = PIPELINE) -> dict[str, str]:
        """The reference to the pipeline's newest version, as `start_run` takes it; UnavailableError without one."""
        pipeline = self.find_pipeline(name)
        if pipeline is None:
            raise UnavailableError(
                f"the pipeline server has no pipeline {name}; upload it, then this continues by itself"
            )
        versions, _ = self._versions(pipeline["pipeline_id"], 1)
        if not versions:
            raise UnavailableError(f"the pipeline {name} has no version; upload one, then this continues by itself")
        return {"pipeline_id": pipeline["pipeline_id"], "pipeline_version_id": versions[0]["pipeline_version_id"]}

    def upload(self, path: Path, name: str = PIPELINE) -> tuple[str, bool]:
        """(the id of the pipeline's newest version, which is this file; whether it is new).

        A missing pipeline is created; a version only where the newest one is of another file, which the digest at the
        end of its name shows.
        """
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:16]
        pipeline_id = self._ensure_pipeline(name)
        existing, count = self._newest_with(pipeline_id, digest)
        if existing:
            return existing, False
        response = self._request(
            "POST",
            "/pipelines/upload_version",
            params={"name": f"{name}-{count + 1}-{digest}", "pipelineid": pipeline_id},
            files={"uploadfile": (path.name, content, "application/yaml")},
            timeout=UPLOAD_SECONDS,
        )
        if response.status_code == _CONFLICT and (existing := self._newest_with(pipeline_id, digest)[0]):
            return existing, False  # another upload of the same file was faster
        return str(self._json(response)["pipeline_version_id"]), True

    def run(self, run_id: str) -> dict[str, Any] | None:
        """A run with its steps; None when there is none."""
        return self._get(f"/runs/{_quoted(run_id)}")

    def runs_named(self, display_name: str) -> list[dict[str, Any]]:
        """The runs of this name, the oldest first."""
        runs = self._list_runs({**_name_filter(display_name), **OLDEST_FIRST}, PAGE_SIZE)
        return [run for run in runs if run.get("display_name") == display_name]

    def latest_runs(self, limit: int = 8, *, with_steps: bool = True) -> list[dict[str, Any]]:
        """The newest runs; failed ones with their steps, without which they do not say why: a request for each."""
        runs = self._list_runs(NEWEST_FIRST, limit)
        return [self._with_steps(run) for run in runs] if with_steps else runs

    def artifacts(self, run_id: str) -> list[dict[str, Any]] | None:
        """What the run's tasks have produced, of an embedded server; None where the server has no such list."""
        response = self._request("GET", f"/runs/{_quoted(run_id)}/artifacts")
        if response.status_code in _NO_SUCH_CALL:
            return None
        return list(self._json(response).get("artifacts") or ())

    def run_page(self, run_id: str) -> str:
        """The run's page in the user interface."""
        return links.pipeline_run({"KFP_ENDPOINT": str(self._http.base_url)}, run_id)

    def start_run(self, display_name: str, description: str, version: Mapping[str, str], parameters: Any) -> str:
        """Starts a run and returns its id. `version` as of `newest_version`.

        RefusedError when the server rejects the request. After UnavailableError the run may exist.
        """
        body = {
            "display_name": display_name,
            "description": description,
            "pipeline_version_reference": dict(version),
            "runtime_config": {"parameters": dict(parameters)},
            **self._run_fields(),
        }
        response = self._request("POST", "/runs", json=body)
        if response.status_code in _REFUSALS:
            raise RefusedError(f"the pipeline server refused the run: {_message(response)}")
        return str(self._json(response)["run_id"])

    def schedules(self) -> list[dict[str, Any]]:
        """Every recurring run of the namespace, the oldest first. The loop makes none: PingSources ask retrain."""
        query = {**self._namespace_field(), **OLDEST_FIRST, "page_size": str(PAGE_SIZE)}
        schedules: list[dict[str, Any]] = []
        while True:
            page = self._get("/recurringruns", query) or {}
            schedules += page.get("recurringRuns") or ()
            if not (token := page.get("next_page_token")):
                return schedules
            query["page_token"] = token

    def experiment_id(self) -> str:
        """The id of the experiment, which is created if it is not there; "" for the server's default."""
        if not self.experiment:
            return ""
        fields = {"display_name": self.experiment, **self._namespace_field()}
        for _ in range(2):
            page = self._get("/experiments", {**_name_filter(self.experiment), **self._namespace_field()}) or {}
            for experiment in page.get("experiments") or ():
                if experiment.get("display_name") == self.experiment:
                    return str(experiment["experiment_id"])
            response = self._request("POST", "/experiments", json=fields)
            if response.status_code != _CONFLICT:  # else another client was faster
                return str(self._json(response)["experiment_id"])
        raise UnavailableError(f"the pipeline server has an experiment {self.experiment} but does not list it")

    def _ensure_pipeline(self, name: str) -> str:
        for _ in range(2):
            if (pipeline := self.find_pipeline(name)) is not None:
                return str(pipeline["pipeline_id"])
            fields = {"name": name, "display_name": name, **self._namespace_field()}
            response = self._request("POST", "/pipelines", json=fields)
            if response.status_code != _CONFLICT:
                return str(self._json(response)["pipeline_id"])
        raise UnavailableError(f"the pipeline {name} exists but cannot be found; does another namespace own it?")

    def _versions(self, pipeline_id: str, limit: int) -> tuple[list[dict[str, Any]], int]:
        """(the newest versions, how many there are)."""
        page = self._get(f"/pipelines/{_quoted(pipeline_id)}/versions", {**NEWEST_FIRST, "page_size": str(limit)}) or {}
        return list(page.get("pipeline_versions") or ()), int(page.get("total_size", 0))

    def _newest_with(self, pipeline_id: str, digest: str) -> tuple[str, int]:
        """The id of the newest version if it is of this digest, else ""; and how many versions there are."""
        versions, count = self._versions(pipeline_id, 1)
        for version in versions:
            if (version.get("name") or version["display_name"]).endswith(f"-{digest}"):
                return str(version["pipeline_version_id"]), count
        return "", count

    def _list_runs(self, query: Mapping[str, str], limit: int) -> list[dict[str, Any]]:
        page = self._get("/runs", {**query, **self._namespace_field(), "page_size": str(limit)}) or {}
        return list(page.get("runs") or ())

    def _with_steps(self, run: dict[str, Any]) -> dict[str, Any]:
        return (self.run(run["run_id"]) or run) if run.get("state") == "FAILED" and not run.get("error") else run

    def _run_fields(self) -> dict[str, str]:
        values = {"experiment_id": self.experiment_id(), "service_account": self.service_account}
        return {name: value for name, value in values.items() if value}

    def _namespace_field(self) -> dict[str, str]:
        return {"namespace": self.namespace} if self.namespace else {}

    def _get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        response = self._request("GET", path, params=query or {})
        return None if response.status_code == _NOT_FOUND else self._json(response)

    def _request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        # Read each time: the kubelet replaces the projected token before it expires.
        headers = {"Authorization": f"Bearer {self._token.read_text().strip()}"} if self._token.is_file() else {}
        try:
            return self._http.request(method, f"{API}{path}", headers=headers, **options)
        except httpx2.TransportError as error:
            raise UnavailableError(f"the pipeline server does not answer: {describe_error(error)}") from None

    def _json(self, response: httpx2.Response) -> dict[str, Any]:
        status = response.status_code
        if not response.is_success:
            raise UnavailableError(f"the pipeline server answered {status}: {_message(response)}", status=status)
        try:
            data = response.json()
        except ValueError:
            data = None
        if not isinstance(data, dict):
            message = "KFP_ENDPOINT is not a pipeline server: it did not answer with a JSON object"
            raise UnavailableError(message, status=status)
        return data


def _quoted(segment: str) -> str:
    return quote(segment, safe="")


def _name_filter(display_name: str) -> dict[str, str]:
    predicate = {"operation": "EQUALS", "key": "display_name", "string_value": display_name}
    return {"filter": json.dumps({"predicates": [predicate]})}


def _message(response: httpx2.Response) -> str:
    try:
        return " ".join(str(response.json()["message"]).split())[:300]
    except (ValueError, KeyError, TypeError):
        return " ".join(response.text.split())[:200]
