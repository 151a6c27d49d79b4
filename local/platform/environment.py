"""The environment of the platform's processes, and where they find one another."""

from __future__ import annotations

import os

from common.names import NAMESPACE
from local.platform import manifests
from local.platform.eventing_status import INGRESS
from local.platform.settings import BROKER, HOST, ROOT, Folder, Settings

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "SSL_CERT_FILE")
"""Variables passed on from the shell of `mcqa up`, and no others: a workload's environment is its manifest's."""

KFP_TOKEN_VARIABLE = "MCQA_KFP_TOKEN_PATH"


def base_environment(folder: Folder) -> dict[str, str]:
    """What every process of the platform gets."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**kept, "KUBECONFIG": str(folder.kubeconfig), "PYTHONUNBUFFERED": "1"}


def secret(folder: Folder) -> dict[str, str]:
    """The Secret `loop`."""
    secrets = folder.secrets()
    values = {
        "MCQA_DATABASE_URL": f"sqlite:///{folder.database}",
        "MCQA_WEBHOOK_SECRET": secrets["webhook"],
    }
    if previous := secrets.get("webhook_previous"):
        values["MCQA_WEBHOOK_SECRET_PREVIOUS"] = previous
    # The one setting that is the user's own and has no other place: whom to notify.
    return values | ({"MCQA_NOTIFY_URLS": urls} if (urls := os.environ.get("MCQA_NOTIFY_URLS")) else {})


def loop_environment(folder: Folder, settings: Settings) -> dict[str, str]:
    """The environment of processes outside the manifests (pipeline steps, the command line): the functions', but with
    this machine's addresses.
    """
    ports = settings.ports
    (loop,) = [item for item in manifests.load(ROOT / "knative") if item["kind"] == "ConfigMap"]
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


def command_environment(folder: Folder, settings: Settings) -> dict[str, str]:
    """What the product's commands get (commands.py)."""
    return {**base_environment(folder), **loop_environment(folder, settings)}


def token_paths(folder: Folder) -> dict[str, str]:
    """Where the token for the pipelines' API is: for the functions, as on a cluster, and for kfp.Client's
    ServiceAccountTokenVolumeCredentials.
    """
    return dict.fromkeys((KFP_TOKEN_VARIABLE, "KF_PIPELINES_SA_TOKEN_PATH"), str(folder.pipelines_token))


def addresses(settings: Settings) -> dict[str, str]:
    """Cluster hosts as the manifests write them, and where they are here."""
    ports = settings.ports
    return {
        INGRESS: f"{HOST}:{ports.broker}",
        f"mlflow.{NAMESPACE}.svc.cluster.local:5000": f"{HOST}:{ports.mlflow}",
        "ml-pipeline.kubeflow.svc.cluster.local:8888": f"{HOST}:{ports.pipelines}",
    }


def webhook_url(settings: Settings) -> str:
    """Where MLflow delivers: to the rollout function, named in the path because Python does not resolve
    names under localhost, through the gateway's inner listener, because functions are cluster-local.
    """
    return f"http://{HOST}:{settings.ports.internal}/-/services/{NAMESPACE}/rollout/mlflow"
