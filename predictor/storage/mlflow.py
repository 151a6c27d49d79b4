"""Registered model versions, downloaded over MLflow's REST API (common/mlflow).

The server is asked each time where the version lies, one small request: a registry that was wiped and numbers its
versions from 1 again must not be answered from an old copy. When it does not answer, a complete copy serves.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import httpx2

from common.errors import SettingError
from common.mlflow.client import MlflowClient, MlflowError
from predictor.storage.download import Progress, download
from predictor.storage.errors import RegistryUnavailableError, StorageError, TransientError
from predictor.storage.version_folder import (
    CODE_SUFFIXES,
    DATA_SUFFIXES,
    PROVENANCE_FILE,
    Provenance,
    locked,
    require_space,
    require_version,
)

log = logging.getLogger(__name__)

MAX_FILES = 1000
MAX_DEPTH = 3


def resolve(name: str, version: str, *, cache: Path, progress: Progress) -> Path:
    """The folder of a registered version below `cache`, downloaded if it is not there yet.

    Raises StorageError; RegistryUnavailableError if the server does not answer and there is no complete copy.
    """
    with _client() as client:
        folder, location, complete = _find(name, version, client, cache)
        if complete:
            return folder
        with locked(folder.with_name(f".{version}.lock")):
            provenance = Provenance.read(folder)
            if provenance is None or provenance.location != location or not provenance.matches(folder):
                _download(
                    client, location, folder, Provenance(f"mlflow://{name}/{version}", version, location), progress
                )
    return folder


def cached(name: str, version: str, *, cache: Path) -> Path | None:
    """The version's folder if `cache` holds the complete version."""
    with _client() as client:
        folder, _, complete = _find(name, version, client, cache)
    return folder if complete else None


@contextmanager
def _client() -> Iterator[MlflowClient]:
    """The client of the MLFLOW_* variables; its errors become StorageErrors."""
    try:
        with MlflowClient(os.environ) as client:
            yield client
    except SettingError as error:
        raise StorageError(str(error)) from None
    except MlflowError as error:
        raise (RegistryUnavailableError if error.transient else StorageError)(str(error)) from None


def _find(name: str, version: str, client: MlflowClient, cache: Path) -> tuple[Path, str, bool]:
    """(folder, artifact path, whether the folder holds the complete version)."""
    folder = cache / "mlflow" / quote(client.address, safe="") / quote(name, safe=" ") / version
    provenance = Provenance.read(folder)
    if provenance is None or not provenance.matches(folder):
        return folder, client.artifact_path(name, version), False
    try:
        location = client.artifact_path(name, version, attempts=1)
    except MlflowError as error:
        if not error.transient:
            raise
        log.warning("%s; using the copy in %s", error, folder)
        return folder, provenance.location, True
    return folder, location, location == provenance.location


def _list_files(client: MlflowClient, root: str) -> dict[str, int | None]:
    """The sizes of all data files below `root` by relative name; None where the store does not know it.

    StorageError for a pickle or code: a version holds data only.
    """
    files: dict[str, int | None] = {}
    folders = [""]
    while folders:
        folder = folders.pop()
        for entry in client.list_artifacts(f"{root}/{folder}".rstrip("/")):
            relative = f"{folder}/{entry['path']}".lstrip("/")
            suffix = PurePosixPath(relative).suffix.lower()
            if entry.get("is_dir"):
                if relative.count("/") >= MAX_DEPTH:
                    raise StorageError(f"{relative}: folders are nested deeper than {MAX_DEPTH}")
                folders.append(relative)
            elif suffix in CODE_SUFFIXES:
                raise StorageError(f"{relative} may run code when loaded; register safetensors and JSON only")
            elif suffix in DATA_SUFFIXES and relative != PROVENANCE_FILE:
                files[relative] = int(entry["file_size"]) if "file_size" in entry else None
            if len(files) + len(folders) > MAX_FILES:
                raise StorageError(f"more than {MAX_FILES} files")
    return files


def _download(client: MlflowClient, location: str, folder: Path, provenance: Provenance, progress: Progress) -> None:
    """Downloads into a folder beside `folder` and renames it once complete; the caller holds the lock."""
    staging = folder.with_name(f".{provenance.version}.partial")
    begun = Provenance.read(staging)
    if staging.exists() and (begun is None or begun.location != location):
        shutil.rmtree(staging)
    staging.mkdir(parents=True, exist_ok=True)
    provenance.write(staging)
    sizes = _list_files(client, location)
    if not sizes:
        raise StorageError(f"{client.address} lists no model files at {location}")
    here = sum(p.stat().st_size for p in staging.rglob("*") if p.is_file())
    require_space(staging, sum(size or 0 for size in sizes.values()) - here, provenance.source)
    # Small files first: what is wrong with a version shows before gigabytes have been downloaded.
    for file, size in sorted(sizes.items(), key=lambda item: (item[1] or 0, item[0])):
        _download_file(client, location, staging / file, file, size, progress)
    for path in [p for p in staging.rglob("*") if p.is_file() and p.relative_to(staging).as_posix() not in sizes]:
        path.unlink()
    require_version(staging, provenance.source)
    files = {file: (staging / file).stat().st_size for file in sizes}
    Provenance(provenance.source, provenance.version, location, files).write(staging)
    if folder.exists():
        aside = folder.with_name(f".{provenance.version}.old")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    staging.rename(folder)


def _download_file(
    client: MlflowClient, location: str, target: Path, file: str, size: int | None, progress: Progress
) -> None:
    if size is not None and target.is_file() and target.stat().st_size == size:
        progress(file, size, size)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    download(
        lambda headers: _stream(client, f"{location}/{file}", headers),
        part,
        size,
        name=file,
        report=lambda done: progress(file, done, size or 0),
        errors=httpx2.TransportError,
        attempts=client.attempts,
    )
    part.replace(target)


@contextmanager
def _stream(client: MlflowClient, path: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
    try:
        with client.stream_artifact(path, headers) as response:
            yield response
    except MlflowError as error:
        if error.transient:
            raise TransientError(str(error), error.retry_after) from None
        raise
