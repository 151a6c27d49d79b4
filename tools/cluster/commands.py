"""The commands for a cluster. What they need is imported when one runs: a command starts in a quarter of a second."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from tools import options
from tools.cluster.kubectl import Kubectl
from tools.console import Console
from tools.errors import ToolError
from tools.project import LOCAL_REGISTRY, VERSION, registry_name

KUBECTL, KUBEFLOW = "kubectl", "kubeflow"


def register(app: typer.Typer) -> None:
    app.command("cluster-up")(cluster_up)
    app.command("cluster-status")(cluster_status)
    app.command("secrets")(make_secrets)
    app.command("deploy")(deploy)
    app.command("pipeline-deploy", context_settings={"allow_extra_args": True, "ignore_unknown_options": False})(
        pipeline_deploy
    )
    app.command("kubeflow-settings")(kubeflow_settings)
    app.command("setup-mlflow")(setup_mlflow)
    app.command("setup-kubeflow")(setup_kubeflow)
    app.command("smoke")(smoke)


def deploy(
    overlay: Annotated[str, typer.Argument(envvar="OVERLAY", help="minikube, production or standard.")] = "",
    registry: options.Registry = LOCAL_REGISTRY,
    tag: options.Tag = "",
    components: options.Components = "",
    kubeflow_namespace: options.KubeflowNamespace = KUBEFLOW,
    wait: Annotated[int, typer.Option(envvar="WAIT", help="Seconds to wait until all is ready; 0: do not wait.")] = 900,
    kubectl: options.KubectlCommand = KUBECTL,
    dry_run: options.DryRun = False,
) -> None:
    """Apply an overlay to the current cluster, and wait until it answers.

    Safe to repeat. The model version that serves and the canary's share are kept, and components that are not named any
    more are removed. Functions and MLflow restart where a Secret or ConfigMap changed that they read.
    """
    from tools.cluster.deploy import Deployment, deploy

    names = tuple(components.split())
    wanted = Deployment(overlay, registry_name(registry), tag, names, kubeflow_namespace, wait)
    deploy(_kubectl(kubectl), Console("deploy", dry_run=dry_run), wanted)


def make_secrets(
    copy_only: Annotated[
        bool, typer.Option("--copy-only", help="Create none; only copy those that exist into Kubeflow's namespace.")
    ] = False,
    rotate_webhook: Annotated[
        bool,
        typer.Option("--rotate-webhook", help="Give MLflow's webhooks another secret; the previous one stays valid."),
    ] = False,
    kubeflow_namespace: options.KubeflowNamespace = KUBEFLOW,
    kubectl: options.KubectlCommand = KUBECTL,
) -> None:
    """Create the Secrets that the manifests name, with random values, where they do not exist yet.

    Nothing is printed but names. Values that are given come from the environment, never from the command line:
    LOOP_DATABASE_URL and MLFLOW_DATABASE_URL for a PostgreSQL of your own; NOTIFY_URLS, the apprise URLs to notify;
    MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, for an MLflow elsewhere;
    MLFLOW_LOGIN=1 for the component mlflow-login; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for MLflow's bucket;
    UI_DATABASE_URL, the page's own role in a PostgreSQL of your own; UI_URL, UI_LOGIN_METADATA_URL, UI_LOGIN_CLIENT_ID
    and UI_LOGIN_CLIENT_SECRET for the component ui-login.
    """
    from tools.cluster.secrets import Secrets

    if copy_only and rotate_webhook:
        raise ToolError("--copy-only and --rotate-webhook exclude each other", exit_code=2)
    secrets = Secrets(_kubectl(kubectl), kubeflow_namespace, os.environ)
    if copy_only:
        secrets.copy()
    elif rotate_webhook:
        secrets.rotate_webhook()
    else:
        secrets.create()


def cluster_status(
    kubeflow_namespace: options.KubeflowNamespace = KUBEFLOW, kubectl: options.KubectlCommand = KUBECTL
) -> None:
    """List what the current cluster has and what it still lacks. Exit status 1 when something is missing."""
    from tools.cluster.status import Status

    if not Status(_kubectl(kubectl), kubeflow_namespace).check():
        raise typer.Exit(1)


def cluster_up(
    no_minikube: Annotated[
        bool,
        typer.Option("--no-minikube", help="Only the platform, into the current cluster: no Secret, no overlay."),
    ] = False,
    no_images: Annotated[
        bool, typer.Option("--no-images", help="Build and load no images: those of TAG are there, or those that run.")
    ] = False,
    no_cert_manager: Annotated[bool, typer.Option("--no-cert-manager", help="Leave cert-manager out.")] = False,
    no_knative: Annotated[bool, typer.Option("--no-knative", help="Leave Knative and Kourier out.")] = False,
    no_kserve: Annotated[bool, typer.Option("--no-kserve", help="Leave KServe out.")] = False,
    no_pipelines: Annotated[bool, typer.Option("--no-pipelines", help="Leave Kubeflow Pipelines out.")] = False,
    no_monitoring: Annotated[bool, typer.Option("--no-monitoring", help="Leave Prometheus and Grafana out.")] = False,
    profile: Annotated[str, typer.Option(envvar="PROFILE", help="minikube's profile.")] = "coding-mcqa",
    cpus: Annotated[str, typer.Option(envvar="CPUS", help="minikube's CPUs.")] = "6",
    memory: Annotated[str, typer.Option(envvar="MEMORY", help="minikube's memory.")] = "16g",
    disk: Annotated[str, typer.Option(envvar="DISK", help="minikube's disk.")] = "60g",
    registry: options.Registry = LOCAL_REGISTRY,
    tag: options.Tag = "",
    components: options.Components = "",
    kubeflow_namespace: options.KubeflowNamespace = KUBEFLOW,
    kubectl: options.KubectlCommand = KUBECTL,
    dry_run: options.DryRun = False,
) -> None:
    """From nothing to the first answer on minikube: Knative, KServe, Kubeflow Pipelines, MLflow, this project.

    Every step may be repeated: what is there is left, or brought to the versions of deploy/versions.env. In the cluster
    it also sets Kourier as Knative's ingress and example.com as its domain, each where none is set; four features of
    pods that deploy/production asks for; and, with Kourier, KServe's disableIstioVirtualHost.
    """
    from tools.cluster.platform import InstallOptions
    from tools.cluster.up import ClusterUp, Machine

    install = InstallOptions(
        minikube=not no_minikube,
        images=not no_images,
        cert_manager=not no_cert_manager,
        knative=not no_knative,
        kserve=not no_kserve,
        pipelines=not no_pipelines,
        monitoring=not no_monitoring,
    )
    ClusterUp(
        _kubectl(kubectl),
        Console("cluster-up", dry_run=dry_run),
        install,
        Machine(profile, cpus, memory, disk),
        registry=registry_name(registry),
        tag=tag,
        components=components.split(),
        kubeflow_namespace=kubeflow_namespace,
    ).run()


def pipeline_deploy(
    context: typer.Context,
    size: Annotated[
        str,
        typer.Option(help="The model that the steps' CPU, memory and disk are for: 1.5b or tiny."),
    ] = "1.5b",
    url: Annotated[str, typer.Option(help="The pipeline server. Default: a port-forward to it.")] = "",
    registry: options.Registry = LOCAL_REGISTRY,
    tag: options.Tag = "",
    components: options.Components = "",
    kubeflow_namespace: options.KubeflowNamespace = KUBEFLOW,
    kubectl: options.KubectlCommand = KUBECTL,
    dry_run: options.DryRun = False,
) -> None:
    """Upload the retraining pipeline, compiled for the current cluster, to its Kubeflow Pipelines.

    Safe to repeat: the same pipeline is not uploaded again. The steps' image is REGISTRY/pipelines:TAG. What follows
    `--` goes to `mcqa pipeline compile`: accelerators, claims, pull secrets.
    """
    from tools.cluster import kubeflow

    kubeflow.deploy_pipeline(
        _kubectl(kubectl),
        Console("pipeline-deploy", dry_run=dry_run),
        image=f"{registry_name(registry)}/pipelines:{tag or VERSION}",
        size=size,
        url=url,
        kubeflow_namespace=kubeflow_namespace,
        components=components.split(),
        compile_options=context.args,
    )


def kubeflow_settings(
    kubeflow_namespace: options.KubeflowNamespace = KUBEFLOW, kubectl: options.KubectlCommand = KUBECTL
) -> None:
    """Copy the ConfigMap `loop` into the namespace in which the pipeline's steps run. `deploy` does so, too."""
    from tools.cluster import kubeflow

    kubeflow.copy_settings(_kubectl(kubectl), kubeflow_namespace)


def setup_mlflow(
    kubeflow_namespace: options.KubeflowNamespace = KUBEFLOW,
    kubectl: options.KubectlCommand = KUBECTL,
    dry_run: options.DryRun = False,
) -> None:
    """MLflow with a small PostgreSQL on the current cluster, without the rest of this project."""
    from tools.cluster import mlflow

    mlflow.set_up(_kubectl(kubectl), Console("setup-mlflow", dry_run=dry_run), kubeflow_namespace)


def setup_kubeflow(
    kubeflow_namespace: options.KubeflowNamespace = KUBEFLOW,
    kubectl: options.KubectlCommand = KUBECTL,
    dry_run: options.DryRun = False,
) -> None:
    """Kubeflow Pipelines standalone (one user) on the current cluster, with the settings that its steps read."""
    from tools.cluster import kubeflow

    kubeflow.set_up(_kubectl(kubectl), Console("setup-kubeflow", dry_run=dry_run), kubeflow_namespace)


def smoke(
    url: Annotated[
        str, typer.Argument(envvar="URL", metavar="URL", help="Address of the ingress: http://HOST[:PORT].")
    ] = "",
    host: Annotated[
        str,
        typer.Option(envvar="HOST_HEADER", help="Host name by which the ingress finds the service."),
    ] = "",
    wait: Annotated[float, typer.Option(envvar="WAIT", help="Seconds for a start from zero.")] = 300,
) -> None:
    """Ask a deployed model over v1 and v2 through its ingress, and print what it answers.

    The questions are marked as tests and count for nothing in the loop.
    """
    from tools.cluster.smoke import SmokeTestError, smoke

    if not url:
        raise ToolError("no address: make smoke URL=http://ADDRESS[:PORT]", exit_code=2)
    try:
        smoke(url, host, wait)
    except SmokeTestError as error:
        print(f"✗ smoke: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def _kubectl(command: str) -> Kubectl:
    return Kubectl(command.split())
