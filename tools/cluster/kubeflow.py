"""Kubeflow Pipelines: installing it, the settings that the pipeline's steps read there, and the pipeline itself."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from common.names import NAMESPACE
from tools import process
from tools.cluster.kubectl import LOCAL_ADDRESS, Kubectl, port_forward, wait_for_deployments
from tools.cluster.secrets import Secrets
from tools.console import Console
from tools.errors import ToolError
from tools.project import ROOT, find_program, pinned_versions

KUBEFLOW = "kubeflow"
"""The namespace in which Kubeflow runs, and of its one user where it has no profiles."""
COMPILED = ".cache/retraining-cluster.yaml"
PORT = 8888
UPLOAD_ATTEMPTS = 3
MANIFESTS = "github.com/kubeflow/pipelines/manifests/kustomize"


def copy_settings(kubectl: Kubectl, kubeflow_namespace: str) -> None:
    """Writes the ConfigMap `loop` into the namespace where the pipeline's steps run and read it. Safe to repeat.

    Nothing where one of the two namespaces is not there yet: whichever of `deploy` and `setup-kubeflow` comes second
    does it.
    """
    if not kubectl.succeeds("get", "namespace", kubeflow_namespace):
        if kubeflow_namespace != KUBEFLOW:
            raise ToolError(f"there is no namespace {kubeflow_namespace} (KUBEFLOW_NAMESPACE)")
        return
    settings = kubectl.find("configmap", "loop", "--namespace", NAMESPACE)
    if settings is None:
        return
    copy = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "loop"}, "data": settings.get("data") or {}}
    kubectl.run("apply", "--namespace", kubeflow_namespace, "--filename", "-", text=json.dumps(copy))


def set_up(kubectl: Kubectl, console: Console, kubeflow_namespace: str) -> None:
    """Kubeflow Pipelines standalone (one user) on the cluster of the current context, and what its steps read there."""
    if not console.dry_run:
        if find_program("git") is None:
            raise ToolError("needs git, which is not installed: your system's package git")
        kubectl.check_reachable()
    version = pinned_versions()["KFP_VERSION"]
    console.say(f"Kubeflow Pipelines {version}")
    apply = kubectl.words("apply", "--kustomize")
    console.run([*apply, f"{MANIFESTS}/cluster-scoped-resources?ref={version}"])
    established = ("--for", "condition=established", "--timeout=60s", "crd/applications.app.k8s.io")
    console.run(kubectl.words("wait", *established))
    console.run([*apply, f"{MANIFESTS}/env/platform-agnostic?ref={version}"])
    wait_for_deployments(kubectl, console, KUBEFLOW, 900)
    console.say("settings and the database's address for the pipeline's steps, where this project has them")
    if console.dry_run:
        console.show(["scripts/tools", "secrets", "--copy-only"])
        console.show(["scripts/tools", "kubeflow-settings"])
    else:
        Secrets(kubectl, kubeflow_namespace, os.environ).copy()
        copy_settings(kubectl, kubeflow_namespace)
    console.say(
        "ready. Next: make secrets and make deploy, where they were not yet, then the pipeline itself: "
        "make pipeline-deploy"
    )


def deploy_pipeline(
    kubectl: Kubectl,
    console: Console,
    *,
    image: str,
    size: str,
    url: str,
    kubeflow_namespace: str,
    components: Sequence[str] = (),
    compile_options: Sequence[str] = (),
) -> None:
    """Compiles the retraining pipeline for a cluster and makes it the newest version in its Kubeflow Pipelines.

    Safe to repeat: the same pipeline is not uploaded again. `url`: of the pipeline server; "" for a port-forward.
    """
    (ROOT / COMPILED).parent.mkdir(exist_ok=True)
    command = [*_mcqa(console), "pipeline", "compile", COMPILED, "--image", image, "--size", size]
    if "registry-pull" in components:  # what lets the functions' pods pull lets the steps' pods do so
        command += ["--pull-secret", "registry-pull"]
    console.run([*command, *compile_options])

    upload = [*_mcqa(console), "pipeline", "upload", COMPILED]
    audience = ("--audience", "pipelines.kubeflow.org", "--duration", "10m")
    create_token = kubectl.words("create", "token", "retrain", "--namespace", NAMESPACE, *audience)
    has_profiles = kubeflow_namespace != KUBEFLOW
    if has_profiles:
        upload += ["--namespace", kubeflow_namespace]
    if console.dry_run:
        if not url:
            forward = ("port-forward", "--namespace", KUBEFLOW, "service/ml-pipeline", f"{PORT}:{PORT}")
            console.show(kubectl.words(*forward))
        if has_profiles:
            console.show(create_token)
        console.show([*upload, "--url", url or f"http://{LOCAL_ADDRESS}:{PORT}"])
        return
    with _server(kubectl, url) as address, tempfile.TemporaryDirectory() as private:
        if has_profiles:
            token = Path(private) / "token"
            token.touch(mode=0o600)
            token.write_text(_token(create_token), encoding="utf-8")
            upload += ["--token-file", str(token)]
        _upload([*upload, "--url", address])


def _mcqa(console: Console) -> list[str]:
    return [".venv/bin/mcqa"] if console.dry_run else [sys.executable, "-m", "mcqa"]


@contextmanager
def _server(kubectl: Kubectl, url: str) -> Iterator[str]:
    if url:
        yield url
        return
    kubectl.check_reachable()
    with port_forward(kubectl, KUBEFLOW, "ml-pipeline", PORT) as port:
        yield f"http://{LOCAL_ADDRESS}:{port}"


def _token(command: Sequence[str]) -> str:
    completed = process.attempt(command, show_errors=True)
    if completed.returncode:
        raise ToolError("no token for the ServiceAccount retrain: make deploy makes it")
    return completed.stdout


def _upload(command: Sequence[str]) -> None:
    """The server may be away just after its first start, while it makes its tables."""
    for attempt in range(1, UPLOAD_ATTEMPTS + 1):
        if process.status(command) == 0:
            return
        if attempt < UPLOAD_ATTEMPTS:
            time.sleep(10)
    raise ToolError("the pipeline could not be uploaded; the line above says why")
