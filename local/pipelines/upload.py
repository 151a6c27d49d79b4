"""Puts a compiled pipeline on a Kubeflow Pipelines server, once: `python -m local.pipelines.upload URL NAME FILE.yaml`.

Any server with the v2beta1 API takes it. Uploading the same file again, or twice at once, gives the version that is
there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from functions.http import UnavailableError
from pipelines.kubeflow import Kubeflow


class UploadError(RuntimeError):
    """The server does not answer, or refused; one line for people."""


def upload(url: str, name: str, path: Path) -> str:
    """The id of the pipeline's newest version, which is this file."""
    try:
        return Kubeflow({"KFP_ENDPOINT": url}).upload(path, name)[0]
    except UnavailableError as error:
        raise UploadError(str(error)) from None


if __name__ == "__main__":
    try:
        print(upload(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
    except (UploadError, OSError) as problem:
        sys.exit(f"upload: {problem}")
    except IndexError:
        sys.exit("usage: python -m local.pipelines.upload URL NAME FILE.yaml")
