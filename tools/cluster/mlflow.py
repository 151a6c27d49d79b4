"""MLflow with a small PostgreSQL on the cluster of the current context, without the rest of this project."""

from __future__ import annotations

import os

from common.names import NAMESPACE
from tools.cluster.kubectl import Kubectl
from tools.cluster.secrets import Secrets
from tools.console import Console
from tools.errors import ToolError


def set_up(kubectl: Kubectl, console: Console, kubeflow_namespace: str) -> None:
    if os.environ.get("LOOP_DATABASE_URL") or os.environ.get("MLFLOW_DATABASE_URL"):
        raise ToolError(
            "brings a PostgreSQL of its own: unset LOOP_DATABASE_URL and MLFLOW_DATABASE_URL, or make deploy "
            "OVERLAY=production",
            exit_code=2,
        )
    if console.dry_run:
        console.show(["scripts/tools", "secrets"])
    else:
        kubectl.check_reachable()
        Secrets(kubectl, kubeflow_namespace, os.environ).create()
    console.say(f"MLflow and PostgreSQL in {NAMESPACE}")
    console.run(kubectl.words("apply", "--kustomize", "deploy/tracking"))
    status = kubectl.words("rollout", "status", "--namespace", NAMESPACE, "--timeout")
    console.run([*status, "300s", "statefulset/postgres"])
    console.run([*status, "600s", "deployment/mlflow"])
    forward = f"{kubectl} port-forward --namespace {NAMESPACE} service/mlflow 5000"
    console.say(f"ready: http://mlflow.{NAMESPACE}.svc.cluster.local:5000 inside; outside: {forward}")
