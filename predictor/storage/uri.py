"""What the URI of a model version names.

    models/tiny · ~/models/x · file:///models/x     a local folder
    mlflow://name/version                           a registered version, by number
    hf://owner/model[@revision]                     a model of the Hugging Face Hub

KServe writes a revision behind a colon, hf://owner/model:revision; that means the same. Pure: nothing is downloaded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from predictor.storage.errors import StorageError

FORMS = "a local folder, mlflow://name/version or hf://owner/model[@revision]"
_STORES = {
    "mlflow-artifacts": "a place in MLflow's artifact store",
    "runs": "an artifact of an MLflow run",
    "dbfs": "a place in Databricks' file system",
}


@dataclass(frozen=True, slots=True)
class LocalFolder:
    path: Path


@dataclass(frozen=True, slots=True)
class MlflowVersion:
    """A version in MLflow's model registry."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model repository on the Hugging Face Hub."""

    repo: str
    revision: str | None


def parse(uri: str) -> LocalFolder | MlflowVersion | HubModel:
    """What a URI names; StorageError, with the form to write, when it is not one of the three."""
    uri = uri.strip()
    scheme, separator, rest = uri.partition(":")
    if not uri:
        raise StorageError(f"no model given: write {FORMS}")
    if scheme == "models" and separator:
        raise StorageError(f"{uri}: MLflow's models: URIs may name an alias, which moves: write mlflow://name/version")
    if scheme == "mlflow" and separator:
        return _parse_mlflow(uri, rest)
    if scheme == "hf" and separator:
        # The Hub's own URLs write a revision behind @, KServe's storage URIs behind a colon.
        repo = re.split("[@:]", rest.removeprefix("//"), maxsplit=1)[0]
        at, revision = rest.removeprefix("//")[len(repo) :][:1], rest.removeprefix("//")[len(repo) + 1 :]
        if not rest.startswith("//") or not re.fullmatch(r"[\w.-]+/[\w.-]+", repo) or (at and not revision):
            raise StorageError(f"{uri}: write hf://owner/model or hf://owner/model@revision")
        return HubModel(repo, revision or None)
    if scheme == "file" and separator:
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise StorageError(f"{uri}: a file: URI has an absolute path, as in file:///models/x")
        return LocalFolder(Path(unquote(parts.path)))
    if scheme in _STORES and separator:
        raise StorageError(
            f"{uri}: {_STORES[scheme]}; it is not a version: register it, and write mlflow://name/version"
        )
    # One letter may be a drive, and a folder's name may contain a colon.
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|[A-Za-z][A-Za-z0-9+.-]+:/", uri) and not Path(uri).exists():
        raise StorageError(f"{uri}: {scheme}:// is not a known source: write {FORMS}")
    return LocalFolder(Path(uri).expanduser())


def _parse_mlflow(uri: str, rest: str) -> MlflowVersion:
    name, _, version = unquote(rest.removeprefix("//")).rstrip("/").partition("/")
    if re.fullmatch(r"[1-9][0-9]{0,17}", version) and name not in ("", ".", "..") and rest.startswith("//"):
        return MlflowVersion(name, version)
    alias = name.partition("@")[2] or version
    if not alias or not name:
        raise StorageError(
            f"{uri}: write mlflow://name/version with the version's number, as in mlflow://coding-mcqa/7"
        )
    raise StorageError(
        f"{uri}: {alias!r} is not a version number; versions never change but aliases and stages move, so what serves "
        f"must name a number: write mlflow://{name.partition('@')[0]}/7"
    )
