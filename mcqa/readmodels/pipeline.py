"""The retraining pipeline on its server: its newest versions, the schedules, the latest runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from common.kubeflow import KubeflowClient

Json = dict[str, Any]


class PipelineFacts(TypedDict):
    """As the v2beta1 API returns them, but versions without their specification; versions and runs newest first."""

    versions: list[Json]
    schedules: list[Json]
    runs: list[Json]


def read(server: KubeflowClient) -> PipelineFacts:
    """UnavailableError or ValueError where the server does not answer or refuses."""
    versions = [
        {key: value for key, value in version.items() if key != "pipeline_spec"} for version in server.versions()
    ]
    return {"versions": versions, "schedules": server.schedules(), "runs": server.latest_runs()}


def run_error(run: Json) -> str:
    """Why a run failed, on one line; empty for one that did not."""
    from functions.retrain.decision import failed_steps

    return " ".join(str((run.get("error") or {}).get("message") or "; ".join(failed_steps(run))).split())
