"""Options that several tools share; each can be set by its environment variable instead."""

from __future__ import annotations

from typing import Annotated

import typer

Registry = Annotated[str, typer.Option(envvar="REGISTRY", metavar="HOST/PATH", help="Registry and path of the images.")]
Tag = Annotated[str, typer.Option(envvar="TAG", help="Tag of the images. Default: the project's version.")]
Components = Annotated[
    str,
    typer.Option(
        envvar="COMPONENTS", metavar='"NAME …"', help="Components of deploy/components on top of the overlay."
    ),
]
KubectlCommand = Annotated[
    str,
    typer.Option("--kubectl", envvar="KUBECTL", metavar="COMMAND", help="The kubectl to run; may be several words."),
]
KubeflowNamespace = Annotated[
    str,
    typer.Option(
        envvar="KUBEFLOW_NAMESPACE",
        metavar="NAMESPACE",
        help="Namespace in which the pipeline's steps run: a profile, where Kubeflow has several users.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", envvar="DRY_RUN", help="Print what would be done and change nothing.")
]
Engine = Annotated[
    str,
    typer.Option(envvar="ENGINE", metavar="PROGRAM", help="podman, buildah or docker. Default: the first one found."),
]
ImageNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="[IMAGE]…", help="predictor, functions, pipelines, mlflow. Default: all of them."),
]
