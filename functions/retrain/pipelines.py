"""Kubeflow Pipelines' REST API (v2beta1) as retrain needs it, without kfp: the pipeline, its runs, a new run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from common.environment import text
from common.errors import UnavailableError
from common.names import EXPERIMENT, PIPELINE

API = "/apis/v2beta1"
TOKEN_PATH = "/var/run/secrets/kubeflow/pipelines/token"
TIMEOUT = httpx2.Timeout(15.0, connect=3.0)
MOST_RUNS = 100


def run_link(endpoint: str, run_id: str) -> str:
    """The page of a run in the user interface that the server at `endpoint` has."""
    return f"{endpoint.rstrip('/')}/#/runs/details/{run_id}"


class RefusedError(Exception):
    """The server understood and will not do it, however often it is asked."""


class Pipelines:
    """The server of KFP_ENDPOINT. UnavailableError when it is away, or does not let us in.

    A multi-user server also needs MCQA_KFP_NAMESPACE, the profile that the runs belong to, and a token of a service
    account that may start runs there, in the file MCQA_KFP_TOKEN_PATH. MCQA_KFP_EXPERIMENT: the runs' experiment, made
    where it is missing; MCQA_KFP_SERVICE_ACCOUNT: what the steps run as. Both may be empty for the server's defaults.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        endpoint = text(environ, "KFP_ENDPOINT").rstrip("/")
        self._token = Path(text(environ, "MCQA_KFP_TOKEN_PATH", TOKEN_PATH))
        self.namespace = text(environ, "MCQA_KFP_NAMESPACE", "")
        # A multi-user server has no experiment by default.
        self.experiment = text(environ, "MCQA_KFP_EXPERIMENT", EXPERIMENT if self.namespace else "")
        self.service_account = text(environ, "MCQA_KFP_SERVICE_ACCOUNT", "")
        self._http = httpx2.Client(base_url=endpoint, timeout=TIMEOUT)

    def link(self, run_id: str) -> str:
        """The run's page in the Kubeflow UI."""
        return run_link(str(self._http.base_url), run_id)

    def newest(self, name: str = PIPELINE) -> dict[str, str]:
        """The reference to the newest version of the pipeline of this name."""
        found = self.named(name)
        if found is None:
            raise UnavailableError(
                f"the pipeline server has no pipeline {name}; upload it, then this goes on by itself"
            )
        query = {"sort_by": "created_at desc", "page_size": "1"}
        listed = self._get(f"/pipelines/{quote(found['pipeline_id'], safe='')}/versions", query) or {}
        versions = listed.get("pipeline_versions") or []
        if not versions:
            raise UnavailableError(f"the pipeline {name} has no version; upload one, then this goes on by itself")
        return {"pipeline_id": found["pipeline_id"], "pipeline_version_id": versions[0]["pipeline_version_id"]}

    def named(self, name: str) -> dict[str, Any] | None:
        """The pipeline of this name: of the namespace, or one that all share."""
        path = f"/pipelines/names/{quote(name, safe='')}"
        found = self._get(path, {"namespace": self.namespace}) if self.namespace else None
        return found or self._get(path)

    def experiment_id(self) -> str:
        """The id of the experiment, which is made when it is not there; "" for the server's default."""
        if not self.experiment:
            return ""
        asked = {"display_name": self.experiment, **self._of_namespace()}
        for _ in range(2):
            listed = self._get("/experiments", {**_named(self.experiment), **self._of_namespace()}) or {}
            for found in listed.get("experiments") or ():
                if found.get("display_name") == self.experiment:
                    return str(found["experiment_id"])
            answer = self._call("POST", "/experiments", json=asked)
            if answer.status_code != 409:  # somebody else was faster
                return str(self._json(answer)["experiment_id"])
        raise UnavailableError(f"the pipeline server has an experiment {self.experiment} and does not show it")

    def runs(self, display_name: str) -> list[dict[str, Any]]:
        """The runs of this name, the oldest first."""
        query = {
            **_named(display_name),
            **self._of_namespace(),
            "sort_by": "created_at asc",
            "page_size": str(MOST_RUNS),
        }
        listed = (self._get("/runs", query) or {}).get("runs") or []
        return [run for run in listed if run.get("display_name") == display_name]

    def run(self, run_id: str) -> dict[str, Any] | None:
        """A run with its steps; None when there is none."""
        return self._get(f"/runs/{quote(run_id, safe='')}")

    def start(self, display_name: str, description: str, reference: Mapping[str, str], parameters: Any) -> str:
        """Asks for a run; its id. RefusedError when the server will not. After UnavailableError it may exist."""
        body = {
            "display_name": display_name,
            "description": description,
            "pipeline_version_reference": dict(reference),
            "runtime_config": {"parameters": dict(parameters)},
            **self._for_run(),
        }
        answer = self._call("POST", "/runs", json=body)
        if answer.status_code in (400, 404, 422):
            raise RefusedError(f"the pipeline server refused the run: {_message(answer)}")
        return str(self._json(answer)["run_id"])

    def _for_run(self) -> dict[str, str]:
        found = {"experiment_id": self.experiment_id(), "service_account": self.service_account}
        return {name: value for name, value in found.items() if value}

    def _of_namespace(self) -> dict[str, str]:
        return {"namespace": self.namespace} if self.namespace else {}

    def _get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        answer = self._call("GET", path, params=query or {})
        return None if answer.status_code == 404 else self._json(answer)

    def _call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        # Read each time: the kubelet replaces the projected token before it ends.
        headers = {"Authorization": f"Bearer {self._token.read_text().strip()}"} if self._token.is_file() else {}
        try:
            return self._http.request(method, f"{API}{path}", headers=headers, **options)
        except httpx2.TransportError as error:
            reason = f"{type(error).__name__}: {error}"
            raise UnavailableError(f"the pipeline server does not answer: {reason}") from None

    def _json(self, answer: httpx2.Response) -> dict[str, Any]:
        if not answer.is_success:
            raise UnavailableError(f"the pipeline server answered {answer.status_code}: {_message(answer)}")
        try:
            data = answer.json()
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise UnavailableError("KFP_ENDPOINT is no pipeline server: it did not answer with a JSON object")
        return data


def _named(display_name: str) -> dict[str, str]:
    predicate = {"operation": "EQUALS", "key": "display_name", "string_value": display_name}
    return {"filter": json.dumps({"predicates": [predicate]})}


def _message(answer: httpx2.Response) -> str:
    try:
        return " ".join(str(answer.json()["message"]).split())[:300]
    except (ValueError, KeyError, TypeError):
        return " ".join(answer.text.split())[:200]
