"""Registered model versions over MLflow's REST API, without importing mlflow (3 s, 174 MB).

The version's artifacts come through the tracking server's artifact proxy, so that no cloud credentials are needed
here. The server is asked each time where the version lies, one small request: a registry that was wiped and numbers
its versions from 1 again must not be answered from an old copy. When it does not answer, a complete copy serves.
"""

from __future__ import annotations

import logging
import os
import shutil
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx2

from predictor.storage.download import MAX_ATTEMPTS, Progress, backoff, describe_error, download
from predictor.storage.errors import StorageError, TransientError
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

API = "/api/2.0/mlflow"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
MAX_FILES = 1000
MAX_DEPTH = 3
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
RESERVED = '<>:"|?*'


class ServerUnavailableError(StorageError):
    """The tracking server did not answer."""


class Registry:
    """An MLflow tracking server, as the MLFLOW_* variables in `environ` describe_error it. Use as a context manager."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        uri = environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")
        parts = urlsplit(uri)
        if not uri:
            raise StorageError(
                "MLFLOW_TRACKING_URI is not set: give the MLflow server, for example http://127.0.0.1:5000"
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            scheme = parts.scheme or uri
            raise StorageError(f"MLFLOW_TRACKING_URI must be an http(s):// address of an MLflow server, found {scheme}")
        self.host = parts.netloc.rpartition("@")[2]
        # What may be shown and may name a folder: the address without user and password.
        self.name = f"{parts.scheme}://{self.host}{parts.path}"
        self.attempts = _number(environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", MAX_ATTEMPTS - 1) + 1
        headers, auth = {"Accept-Encoding": "identity"}, None
        if token := environ.get("MLFLOW_TRACKING_TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        elif user := environ.get("MLFLOW_TRACKING_USERNAME"):
            auth = httpx2.BasicAuth(user, environ.get("MLFLOW_TRACKING_PASSWORD", ""))
        # The proxy may have to fetch a large file itself before it sends the first byte of it.
        timeout = httpx2.Timeout(_number(environ, "MLFLOW_HTTP_REQUEST_TIMEOUT", 120), connect=5.0)
        try:
            verify = _verify(environ)
            self._http = httpx2.Client(base_url=uri, headers=headers, auth=auth, timeout=timeout, verify=verify)
        except (httpx2.InvalidURL, OSError) as error:
            raise StorageError(f"MLFLOW_TRACKING_URI={self.name}: {describe_error(error)}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def artifact_path(self, name: str, version: str, *, attempts: int | None = None) -> str:
        """Where the version's files lie in the artifact proxy, as a path without a leading slash."""
        query = {"name": name, "version": version}
        found = self._json(f"{API}/model-versions/get-download-uri", query, attempts=attempts).get("artifact_uri")
        location = str(found or "")
        if location.startswith("models:/m-"):
            model = self._json(f"{API}/logged-models/{quote(location.removeprefix('models:/'), safe='')}", {})
            location = str(model.get("model", {}).get("info", {}).get("artifact_uri", ""))
        elif location.startswith("runs:/"):
            run, _, path = location.removeprefix("runs:/").partition("/")
            info = self._json(f"{API}/runs/get", {"run_id": run}).get("run", {}).get("info", {})
            location = f"{info.get('artifact_uri', '')}/{path}"
        return self._proxied(location)

    def files(self, root: str) -> dict[str, int | None]:
        """The sizes of all data files below `root` by relative name; None where the store does not tell.

        StorageError for a name that would leave the folder, and for a pickle or code: a version holds data only.
        """
        found: dict[str, int | None] = {}
        folders = [""]
        while folders:
            folder = folders.pop()
            path = f"{root}/{folder}".rstrip("/")
            for entry in self._json(PROXY, {"path": path}).get("files", []):
                relative = f"{folder}/{_safe(str(entry.get('path', '')))}".lstrip("/")
                suffix = PurePosixPath(relative).suffix.lower()
                if entry.get("is_dir"):
                    if relative.count("/") >= MAX_DEPTH:
                        raise StorageError(f"{relative}: folders are nested deeper than {MAX_DEPTH}")
                    folders.append(relative)
                elif suffix in CODE_SUFFIXES:
                    raise StorageError(f"{relative} may run code when loaded; register safetensors and JSON only")
                elif suffix in DATA_SUFFIXES and relative != PROVENANCE_FILE:
                    found[relative] = int(entry["file_size"]) if "file_size" in entry else None
                if len(found) + len(folders) > MAX_FILES:
                    raise StorageError(f"more than {MAX_FILES} files")
        return found

    @contextmanager
    def stream(self, path: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        """The response to a GET of one artifact."""
        with self._http.stream("GET", f"{PROXY}/{quote(path)}", headers=headers) as response:
            if response.status_code not in (200, 206, 416):
                response.read()
                raise self._failure(response)
            yield response

    def _json(self, path: str, query: dict[str, str], *, attempts: int | None = None) -> dict[str, Any]:
        """The JSON object that a GET answers."""
        attempts, failures = attempts or self.attempts, 0
        while True:
            try:
                response = self._http.get(path, params=query)
                if response.status_code == 200:
                    data = response.json()
                    if isinstance(data, dict):
                        return data
                    raise ValueError
                raise self._failure(response)
            except ValueError:
                raise StorageError(f"{self.name} is no MLflow server: {path} did not answer with JSON") from None
            except (TransientError, httpx2.TransportError) as error:
                failures += 1
                if failures >= attempts:
                    text = (
                        f"the MLflow server {self.name} does not answer ({describe_error(error)}): check that it runs"
                    )
                    raise ServerUnavailableError(f"{text} and that MLFLOW_TRACKING_URI is right") from None
                backoff(failures, error)

    def _failure(self, response: httpx2.Response) -> Exception:
        """What a response that is not 200 means: a StorageError, or a TransientError when it may pass."""
        status, text = response.status_code, " ".join(response.text.split())[:200]
        try:
            body = response.json()
            text = str(body.get("message") or body.get("detail") or text) if isinstance(body, dict) else text
        except ValueError:
            pass
        if "serve-artifacts" in text or "artifacts-only" in text:
            return StorageError(f"{self.name} does not serve artifacts: start `mlflow server` with --serve-artifacts")
        if status in (401, 403):
            hint = "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            return StorageError(f"{self.name} refuses access ({status} {text[:80]}): {hint}")
        if status in PASSING:
            after = response.headers.get("retry-after", "")
            return TransientError(f"{status} {text}", float(after) if after.isdigit() else None)
        if response.has_redirect_location:
            where = response.headers["location"]
            return StorageError(f"{self.name} redirects to {where}: set MLFLOW_TRACKING_URI to the server itself")
        return StorageError(f"{self.name}: {status} {text}")

    def _proxied(self, location: str) -> str:
        """The path in this server's artifact proxy that an artifact URI means."""
        parts = urlsplit(location)
        path = parts.path
        if parts.scheme in ("http", "https") and PROXY in path:
            path = path.partition(PROXY)[2]
        elif parts.scheme != "mlflow-artifacts":
            store = f"{parts.scheme}://" if parts.scheme else "a folder of the server's"
            hint = "run `mlflow server` with --serve-artifacts and register the version again"
            raise StorageError(f"its files lie in {store} ({location}), out of reach from here: {hint}")
        if parts.netloc and parts.netloc.rpartition("@")[2] != self.host:
            raise StorageError(
                f"its files lie on another server, {parts.hostname}: set MLFLOW_TRACKING_URI to that one"
            )
        path = path.strip("/")
        for segment in path.split("/"):
            _safe(segment)
        return path


def find(name: str, version: str, registry: Registry, cache: Path) -> tuple[Path, str, bool]:
    """(folder, artifact path, whether the folder holds the complete version).

    Raises ServerUnavailableError only when the folder does not hold it.
    """
    folder = cache / "mlflow" / quote(registry.name, safe="") / quote(name, safe=" ") / version
    provenance = Provenance.read(folder)
    if provenance is None or not provenance.matches(folder):
        return folder, registry.artifact_path(name, version), False
    try:
        location = registry.artifact_path(name, version, attempts=1)
    except ServerUnavailableError as error:
        log.warning("%s; going on with the copy in %s", error, folder)
        return folder, provenance.location, True
    return folder, location, location == provenance.location


def resolve(name: str, version: str, *, cache: Path, progress: Progress) -> Path:
    """The folder of a registered version below `cache`, fetched if it is not there yet."""
    with Registry(os.environ) as registry:
        folder, location, complete = find(name, version, registry, cache)
        if complete:
            return folder
        with locked(folder.with_name(f".{version}.lock")):
            provenance = Provenance.read(folder)
            if provenance is None or provenance.location != location or not provenance.matches(folder):
                _fetch(
                    registry, location, folder, Provenance(f"mlflow://{name}/{version}", version, location), progress
                )
    return folder


def cached(name: str, version: str, *, cache: Path) -> Path | None:
    """The version's folder when `cache` holds it whole."""
    with Registry(os.environ) as registry:
        folder, _, complete = find(name, version, registry, cache)
    return folder if complete else None


def _fetch(registry: Registry, location: str, folder: Path, provenance: Provenance, progress: Progress) -> None:
    """Downloads into a folder beside `folder` and renames it when it is whole; the caller holds the lock."""
    staging = folder.with_name(f".{provenance.version}.partial")
    begun = Provenance.read(staging)
    if staging.exists() and (begun is None or begun.location != location):
        shutil.rmtree(staging)
    staging.mkdir(parents=True, exist_ok=True)
    provenance.write(staging)
    sizes = registry.files(location)
    if not sizes:
        raise StorageError(f"{registry.name} lists no model files at {location}")
    here = sum(p.stat().st_size for p in staging.rglob("*") if p.is_file())
    require_space(staging, sum(size or 0 for size in sizes.values()) - here, provenance.source)
    # Small files first: what is wrong with a version shows before gigabytes have been fetched.
    for file, size in sorted(sizes.items(), key=lambda item: (item[1] or 0, item[0])):
        _fetch_file(registry, location, staging / file, file, size, progress)
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


def _fetch_file(
    registry: Registry, location: str, target: Path, file: str, size: int | None, progress: Progress
) -> None:
    if size is not None and target.is_file() and target.stat().st_size == size:
        progress(file, size, size)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    download(
        lambda headers: registry.stream(f"{location}/{file}", headers),
        part,
        size,
        name=file,
        report=lambda done: progress(file, done, size or 0),
        errors=httpx2.TransportError,
        attempts=registry.attempts,
    )
    part.replace(target)


def _safe(segment: str) -> str:
    """One path segment; StorageError for anything that could mean another place than a file of that name."""
    if segment in ("", ".", "..") or any(c in "/\\" + RESERVED or not c.isprintable() for c in segment):
        raise StorageError(f"the name {segment!r} is refused: it could lead out of the version's folder")
    return segment


def _verify(environ: Mapping[str, str]) -> ssl.SSLContext | bool:
    if environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() == "true":
        return False
    bundle = environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    return ssl.create_default_context(cafile=bundle) if bundle else True


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdigit():
        raise StorageError(f"{name}={text!r} is not a whole number")
    return int(text)
