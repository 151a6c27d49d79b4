"""Puts a compiled pipeline on a Kubeflow Pipelines server, once: `python -m pipelines.upload URL NAME FILE.yaml`.

Any server with the v2beta1 API accepts it. Uploading the same file again, or twice simultaneously, returns the existing
version. A server that asks for a token gets the one in the file MCQA_KFP_TOKEN_PATH.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from common.errors import UnavailableError
from common.kubeflow import KubeflowClient


class UploadError(RuntimeError):
    """The server does not answer, or refused; one line for people."""


def upload(environ: Mapping[str, str], name: str, path: Path) -> str:
    """The id of the pipeline's newest version, which is this file. `environ` names the server (common/kubeflow.py)."""
    try:
        return KubeflowClient(environ).upload(path, name)[0]
    except UnavailableError as error:
        raise UploadError(str(error)) from None


if __name__ == "__main__":
    try:
        print(upload({**os.environ, "KFP_ENDPOINT": sys.argv[1]}, sys.argv[2], Path(sys.argv[3])))
    except (UploadError, OSError) as problem:
        sys.exit(f"upload: {problem}")
    except IndexError:
        sys.exit("usage: python -m pipelines.upload URL NAME FILE.yaml")
