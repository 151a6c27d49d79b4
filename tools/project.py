"""This checkout: where it is, its version, and the versions that it pins."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from predictor import __version__

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
VERSION = __version__
LOCAL_REGISTRY = "dev.local/coding-mcqa"
"""The manifests' own image names; an engine pushes them nowhere."""
IMAGES = ("functions", "predictor", "mlflow", "pipelines", "ui")


def pinned_versions() -> dict[str, str]:
    """deploy/versions.env: what `cluster-up` installs."""
    lines = (DEPLOY / "versions.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def registry_name(registry: str) -> str:
    """In lower case, as every registry requires it."""
    return registry.lower()


def torch_requirement() -> str:
    """`torch==VERSION`, from pyproject.toml."""
    match = re.search(r'"(torch==[0-9.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if match is None:
        raise ValueError("pyproject.toml does not pin torch")
    return match.group(1)


def find_program(*names: str) -> str | None:
    """The first of these programs that is on the PATH."""
    return next((name for name in names if shutil.which(name)), None)
