"""Puts a compiled pipeline on a Kubeflow Pipelines server, once: `python -m local.pipelines.upload URL NAME FILE.yaml`.

Any server with the v2beta1 API takes it. A version carries its file's digest in its name, so uploading the same file
again, or twice at once, gives the version that is there.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import httpx

TIMEOUT_SECONDS = 60.0
_CONFLICT = 409


class UploadError(RuntimeError):
    """The server does not answer, or refused; one line for people."""


def upload(url: str, name: str, path: Path) -> str:
    """The id of the pipeline's newest version, which is this file. A pipeline that is missing is made; a version only
    where the newest one is of another file.
    """
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    with httpx.Client(base_url=f"{url.rstrip('/')}/apis/v2beta1/", timeout=TIMEOUT_SECONDS) as client:
        pipeline = _pipeline(client, name)
        known, count = _newest(client, pipeline, digest)
        if known:
            return known
        asked = {"name": f"{name}-{count + 1}-{digest}", "pipelineid": pipeline}
        files = {"uploadfile": (path.name, content, "application/yaml")}
        answer = _send(client, "POST", "pipelines/upload_version", params=asked, files=files)
        if answer.status_code == _CONFLICT and (known := _newest(client, pipeline, digest)[0]):
            return known  # another upload of the same file was faster
        return str(_good(answer)["pipeline_version_id"])


def _pipeline(client: httpx.Client, name: str) -> str:
    """The id of the pipeline of this name, made where there is none."""
    for _ in range(2):
        predicate = {"operation": "EQUALS", "key": "display_name", "string_value": name}
        query = {"filter": json.dumps({"predicates": [predicate]})}
        found = _good(_send(client, "GET", "pipelines", params=query)).get("pipelines", [])
        if found:
            return str(found[0]["pipeline_id"])
        answer = _send(client, "POST", "pipelines", json={"name": name, "display_name": name})
        if answer.status_code != _CONFLICT:
            return str(_good(answer)["pipeline_id"])
    raise UploadError(f"the pipeline {name!r} is there and cannot be found; is it another namespace's?")


def _newest(client: httpx.Client, pipeline: str, digest: str) -> tuple[str, int]:
    """The id of the newest version where that is of this digest, else ""; and how many versions there are."""
    query = {"page_size": "1", "sort_by": "created_at desc"}
    found = _good(_send(client, "GET", f"pipelines/{pipeline}/versions", params=query))
    count = int(found.get("total_size", 0))
    for version in found.get("pipeline_versions", []):
        if version.get("name", version["display_name"]).endswith(f"-{digest}"):
            return str(version["pipeline_version_id"]), count
    return "", count


def _send(client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    try:
        return client.request(method, path, **options)
    except httpx.HTTPError as error:
        raise UploadError(f"{client.base_url} does not answer: {type(error).__name__}: {error}") from None


def _good(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if answer.is_success and isinstance(found, dict):
        return found
    reason = found.get("message") if isinstance(found, dict) else answer.text[:200]
    raise UploadError(f"{answer.request.method} {answer.request.url}: {answer.status_code}: {reason}")


if __name__ == "__main__":
    try:
        print(upload(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
    except (UploadError, OSError) as problem:
        sys.exit(f"upload: {problem}")
    except IndexError:
        sys.exit("usage: python -m local.pipelines.upload URL NAME FILE.yaml")
