"""What runs beside the supervisor, and what everything is told about where the others are."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from common.names import NAMESPACE
from local.loopback import ALLOWED_HOSTS, allowed_hosts
from local.platform import manifests, mlflow
from local.platform.eventing_status import INGRESS
from local.platform.parts import Program
from local.platform.settings import BROKER, HOST, ROOT, Folder, Settings
from local.tokens import read_or_make

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "SSL_CERT_FILE")
"""Of the environment in which `mcqa up` is called. Nothing else: what a workload knows, its manifest told it."""


def base_environment(folder: Folder) -> dict[str, str]:
    """What every process of the platform gets."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**kept, "KUBECONFIG": str(folder.kubeconfig), "PYTHONUNBUFFERED": "1"}


def secret(folder: Folder) -> dict[str, str]:
    """The Secret `loop`."""
    found = folder.secrets()
    values = {
        "MCQA_DATABASE_URL": f"sqlite:///{folder.database}",
        "MCQA_WEBHOOK_SECRET": found["webhook"],
    }
    if previous := found.get("webhook_previous"):
        values["MCQA_WEBHOOK_SECRET_PREVIOUS"] = previous
    # The one setting that is the user's own and has no other place: whom to tell.
    return values | ({"MCQA_NOTIFY_URLS": urls} if (urls := os.environ.get("MCQA_NOTIFY_URLS")) else {})


def loop_environment(folder: Folder, settings: Settings) -> dict[str, str]:
    """What processes outside the manifests (pipeline steps, the command line) are told: as the functions are, but with
    this machine's addresses.
    """
    ports = settings.ports
    (loop,) = [one for one in manifests.read(ROOT / "knative") if one["kind"] == "ConfigMap"]
    return {
        **loop["data"],
        **token_paths(folder),
        **settings.config,
        **secret(folder),
        "K_SINK": f"http://{HOST}:{ports.broker}/{NAMESPACE}/{BROKER}",
        "MLFLOW_TRACKING_URI": f"http://{HOST}:{ports.mlflow}",
        "KFP_ENDPOINT": f"http://{HOST}:{ports.pipelines}",
        "MCQA_CACHE": str(folder.path / "models"),
        "KUBECONFIG": str(folder.kubeconfig),
    }


def token_paths(folder: Folder) -> dict[str, str]:
    """Where the token for the pipelines' API is, as a cluster's functions are told; the second is for kfp.Client's
    ServiceAccountTokenVolumeCredentials.
    """
    return dict.fromkeys(("MCQA_KFP_TOKEN_PATH", "KF_PIPELINES_SA_TOKEN_PATH"), str(folder.pipelines_token))


def addresses(settings: Settings) -> dict[str, str]:
    """Cluster hosts as the manifests write them, and where they are here."""
    ports = settings.ports
    return {
        INGRESS: f"{HOST}:{ports.broker}",
        f"mlflow.{NAMESPACE}.svc.cluster.local:5000": f"{HOST}:{ports.mlflow}",
        "ml-pipeline.kubeflow.svc.cluster.local:8888": f"{HOST}:{ports.pipelines}",
    }


def programs(folder: Folder, settings: Settings) -> list[Program]:
    """The broker, the MLflow server and the pipelines' API."""
    ports, base = settings.ports, base_environment(folder)
    hosts = {ALLOWED_HOSTS: names} if (names := os.environ.get(ALLOWED_HOSTS)) else {}
    broker = _folder(folder.path / "broker")
    tracking = _folder(folder.path / "mlflow")
    runs = _folder(folder.path / "pipelines")
    return [
        Program(
            "broker",
            (
                sys.executable, "-m", "local.broker",
                "--database", str(broker / "broker.db"), "--port", str(ports.broker),
                "--token-file", str(folder.broker_token),
                "--connect-to", f"svc.cluster.local={HOST}:{ports.internal}",
            ),
            {**base, **hosts, **_token_of(folder.broker_token)},
            ports.broker,
            "/readyz",
        ),
        Program(
            "mlflow",
            mlflow.command(tracking, ports.mlflow, allowed_hosts(hosts)),
            {**base, **mlflow.environment(folder.secrets()["encryption"])},
            ports.mlflow,
            "/health",
        ),
        Program(
            "pipelines",
            (
                sys.executable, "-m", "local.pipelines", "--folder", str(runs), "--port", str(ports.pipelines),
                "--token-file", str(folder.pipelines_token),
            ),
            {
                **base, **hosts, **_without_webhook(loop_environment(folder, settings)),
                **_token_of(folder.pipelines_token),
            },
            ports.pipelines,
            "/apis/v2beta1/healthz",
        ),
    ]  # fmt: skip


def places(folder: Folder) -> list[tuple[str, Path]]:
    """Who writes where; what is tried is whether the folder can be written, so that MLflow and functions count too."""
    path = folder.path
    return [
        ("supervisor", path), ("API", path / "kube"), ("broker", path / "broker"), ("mlflow", path / "mlflow"),
        ("pipelines", path / "pipelines"), ("functions", folder.database.parent), ("processes", folder.serving),
    ]  # fmt: skip


def webhook_url(settings: Settings) -> str:
    """Where MLflow delivers: the rollout function, named in the path (Python resolves no names under localhost), by the
    gateway's inner listener, since functions are cluster-local.
    """
    return f"http://{HOST}:{settings.ports.internal}/-/services/{NAMESPACE}/rollout/mlflow"


def _token_of(path: Path) -> dict[str, str]:
    """Makes a process that was started with another token another process: it is not taken over."""
    return {"MCQA_TOKEN_DIGEST": hashlib.sha256(read_or_make(path).encode()).hexdigest()[:16]}


def _without_webhook(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("MCQA_WEBHOOK_SECRET")}


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
