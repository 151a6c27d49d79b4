"""The container engine: podman, buildah or docker."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from tools import process
from tools.errors import ToolError
from tools.project import DEPLOY, IMAGES, ROOT

PODMAN, BUILDAH, DOCKER = "podman", "buildah", "docker"
BUILDERS = (PODMAN, BUILDAH, DOCKER)


def choose_installed(asked: str, candidates: Iterable[str] = BUILDERS) -> str:
    """The engine that is asked for, or the first one that is installed."""
    engine = asked or next((name for name in candidates if shutil.which(name)), "")
    if not engine:
        names = " nor ".join(candidates)
        raise ToolError(f"found neither {names}", exit_code=2)
    return engine


def choose_working(asked: str) -> str:
    """The engine that is asked for, or the first one that works; a docker without its daemon does not."""
    engine = asked or next((name for name in BUILDERS if works(name)), "")
    if not engine:
        raise ToolError("found neither podman nor buildah nor a running docker: install one of them", exit_code=2)
    if not works(engine):
        raise ToolError(f"{engine} does not work here: try '{engine} version'", exit_code=2)
    return engine


def works(engine: str) -> bool:
    if shutil.which(engine) is None:
        return False
    return process.attempt([engine, "info" if engine == DOCKER else "version"]).returncode == 0


def check_names(names: Sequence[str] | None) -> tuple[str, ...]:
    """The images that are named, or all of them."""
    for name in names or ():
        if name not in IMAGES:
            raise ToolError(f"'{name}' is not one of: {' '.join(IMAGES)}", exit_code=2)
    return tuple(names or IMAGES)


def folder_of(image: str) -> Path:
    """Of its Dockerfile and its requirements."""
    return DEPLOY / "mlflow" if image == "mlflow" else ROOT / image
