"""A model version in this process: the scorer that serves, without a server."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mcqa import defaults, terminal
from mcqa.errors import CommandError
from predictor.storage import resolver

if TYPE_CHECKING:
    from predictor.scorer import Scorer


def resolve(uri: str) -> Path:
    """The folder of a model version, downloaded with a progress bar where it is not here yet; StorageError."""
    with terminal.downloads() as progress:
        return resolver.resolve(uri, progress=progress)


def load(uri: str) -> Scorer:
    """The scorer of a model version; StorageError, VersionError or CommandError when there is none at `uri`."""
    path = resolve(uri)
    with terminal.err.status(f"loading {shown(path)}"):
        from predictor.hardware import HardwareError
        from predictor.scorer import Scorer

        try:
            return Scorer.load(path, model_version=resolver.version_name(uri))
        except HardwareError as error:
            raise CommandError(str(error)) from None


def shown(path: Path) -> str:
    """A path relative to where the user stands, when it lies below."""
    path = Path(os.path.abspath(path))  # symbolic links stay: .venv/bin/python is one
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def invocation() -> str:
    """How the user starts this command from where they stand: by name where their PATH has it, else by its path."""
    script = Path(sys.executable).parent / "mcqa"
    found = shutil.which("mcqa")
    if found and script.exists() and Path(found).samefile(script):
        return "mcqa"
    return shown(script) if script.exists() else f"{shown(Path(sys.executable))} -m mcqa"


def tiny() -> str:
    """The shipped model's folder; CommandError where the checkout has none."""
    if not (defaults.TINY_MODEL / "config.json").is_file():
        raise CommandError(f"the tiny model is not at {defaults.TINY_MODEL}: train it with `mcqa model make-tiny`")
    return str(defaults.TINY_MODEL)
