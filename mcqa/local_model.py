"""A model version in this process: the same scorer that serves, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mcqa import defaults, terminal
from mcqa.errors import CommandError
from mcqa.paths import displayed
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
    with terminal.err.status(f"loading {displayed(path)}"):
        from predictor.hardware import HardwareError
        from predictor.scorer import Scorer

        try:
            return Scorer.load(path, model_version=resolver.version_name(uri))
        except HardwareError as error:
            raise CommandError(str(error)) from None


def tiny_model() -> str:
    """The shipped model's folder; CommandError where the checkout has none."""
    if not (defaults.TINY_MODEL / "config.json").is_file():
        raise CommandError(f"the tiny model is not at {defaults.TINY_MODEL}: train it with `mcqa model make-tiny`")
    return str(defaults.TINY_MODEL)
