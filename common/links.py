"""Addresses of pages for people: a run, an experiment or a version in MLflow, and a run at its pipeline server.

They are as good as the settings they are made of: MLFLOW_TRACKING_URI, KFP_ENDPOINT. In a cluster these are names that
only the cluster knows; `kubectl port-forward` opens the page behind the same path.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit


def mlflow_run(environ: Mapping[str, str], experiment_id: str, run_id: str) -> str:
    """The page of a run; "" where no MLflow server is named."""
    return _page(environ, "MLFLOW_TRACKING_URI", f"/#/experiments/{quote(experiment_id)}/runs/{quote(run_id)}")


def mlflow_version(environ: Mapping[str, str], model: str, version: str) -> str:
    return _page(environ, "MLFLOW_TRACKING_URI", f"/#/models/{quote(model, safe='')}/versions/{quote(version)}")


def mlflow_model(environ: Mapping[str, str], model: str) -> str:
    """The page of a registered model, where its versions get their aliases."""
    return _page(environ, "MLFLOW_TRACKING_URI", f"/#/models/{quote(model, safe='')}")


def pipeline_run(environ: Mapping[str, str], run_id: str) -> str:
    """Kubeflow's own form; the embedded server leads on from there."""
    return _page(environ, "KFP_ENDPOINT", f"/#/runs/details/{quote(run_id)}")


def mlflow_files(environ: Mapping[str, str], experiment_id: str, run_id: str) -> str:
    """The page of a run's artifacts."""
    page = mlflow_run(environ, experiment_id, run_id)
    return f"{page}/artifacts" if page else ""


def pipeline_file(environ: Mapping[str, str], path: str) -> str:
    """A file or folder that a run's task produced; `path` is as the embedded server gives it."""
    return _page(environ, "KFP_ENDPOINT", path) if path.startswith("/") else ""


def _page(environ: Mapping[str, str], variable: str, path: str) -> str:
    parts = urlsplit(environ.get(variable, ""))
    if parts.scheme not in ("http", "https"):
        return ""
    return without_password(urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))) + path


def without_password(url: str) -> str:
    """The address without a user's name and password, which are not for logs and pages."""
    scheme, found, rest = url.partition("://")
    if not found:
        return url.rpartition("@")[2]
    # Up to the last @ of all: a password with a slash in it is none of the standard's, and a secret all the same.
    return f"{scheme}://{rest.rpartition('@')[2]}"
