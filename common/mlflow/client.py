"""The connection to an MLflow tracking server: address, authentication, TLS, timeouts, retries, errors, artifacts.

Files come and go through the server's artifact proxy, so that no cloud credentials are needed here.

Written by hand: importing mlflow takes seconds, which neither a function nor the model server can spend at its start.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx2

from common.backoff import describe_error, wait_before_retry
from common.environment import whole
from common.errors import SettingError, UnavailableError

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
NOT_FOUND, ALREADY_EXISTS = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"
"""Values of `error_code` in the server's errors."""

_RESERVED = '<>:"|?*'


class MlflowError(UnavailableError):
    """The server did not answer, or refused. One line: what failed, what was found, what to do next.

    `status` is the HTTP status, 0 without an answer; `code` is MLflow's error_code, "" if there is none. `transient`
    errors may pass; the server may have asked to wait `retry_after` seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "",
        transient: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status=status)
        self.code = code
        self.transient = transient
        self.retry_after = retry_after


class MlflowClient:
    """The server that the MLFLOW_* variables in `environ` describe; SettingError when one is unusable.

    MLFLOW_TRACKING_URI, _TOKEN or _USERNAME and _PASSWORD, _INSECURE_TLS, _SERVER_CERT_PATH;
    MLFLOW_HTTP_REQUEST_TIMEOUT (default: `timeout` seconds) and _MAX_RETRIES (default: `max_retries`). Methods raise
    MlflowError.
    """

    def __init__(self, environ: Mapping[str, str], *, timeout: int = 120, max_retries: int = 4) -> None:
        uri = environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")
        parts = urlsplit(uri)
        if not uri:
            raise SettingError(
                "MLFLOW_TRACKING_URI is not set: give the MLflow server, for example http://127.0.0.1:5000"
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            scheme = parts.scheme or uri
            raise SettingError(f"MLFLOW_TRACKING_URI must be an http(s):// address of an MLflow server, found {scheme}")
        self.host = parts.netloc.rpartition("@")[2]
        self.address = f"{parts.scheme}://{self.host}{parts.path}"
        """The server's address without user and password: for messages, logs and names of folders."""
        self.attempts = whole(environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", max_retries) + 1
        headers, auth = {"Accept-Encoding": "identity"}, None
        if token := environ.get("MLFLOW_TRACKING_TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        elif user := environ.get("MLFLOW_TRACKING_USERNAME"):
            auth = httpx2.BasicAuth(user, environ.get("MLFLOW_TRACKING_PASSWORD", ""))
        # The proxy may have to fetch a large file itself before it sends the first byte of it.
        seconds = httpx2.Timeout(whole(environ, "MLFLOW_HTTP_REQUEST_TIMEOUT", timeout), connect=5.0)
        try:
            verify = _verify(environ)
            self._http = httpx2.Client(base_url=uri, headers=headers, auth=auth, timeout=seconds, verify=verify)
        except httpx2.InvalidURL:  # what is wrong with it may be a part of its password
            raise SettingError("MLFLOW_TRACKING_URI is not a URL") from None
        except OSError as error:
            raise SettingError(f"MLFLOW_TRACKING_URI={self.address}: {describe_error(error)}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @property
    def uri(self) -> str:
        """The server's address as MLflow's own client takes it, with user and password."""
        return str(self._http.base_url)

    def call(self, method: str, path: str, **fields: Any) -> dict[str, Any] | None:
        """One call below /api/2.0/mlflow; None when what it names does not exist."""
        try:
            return self._json_once(method, f"{API}/{path}", fields)
        except MlflowError as error:
            if error.code == NOT_FOUND and error.status == 404:
                return None
            raise

    def artifact_path(self, name: str, version: str, *, attempts: int | None = None) -> str:
        """Where a registered version's files are in the artifact proxy, as a path without a leading slash."""
        attempts = attempts or self.attempts
        query = {"name": name, "version": version}
        answer = self._json("GET", f"{API}/model-versions/get-download-uri", query, attempts)
        location = str(answer.get("artifact_uri") or "")
        if location.startswith("models:/m-"):
            model_id = quote(location.removeprefix("models:/"), safe="")
            model = self._json("GET", f"{API}/logged-models/{model_id}", {}, attempts)
            location = str(model.get("model", {}).get("info", {}).get("artifact_uri", ""))
        elif location.startswith("runs:/"):
            run, _, path = location.removeprefix("runs:/").partition("/")
            info = self._json("GET", f"{API}/runs/get", {"run_id": run}, attempts).get("run", {}).get("info", {})
            location = f"{info.get('artifact_uri', '')}/{path}"
        return self.proxy_path(location)

    def list_artifacts(self, path: str) -> list[dict[str, Any]]:
        """The entries of a folder in the artifact proxy: path (a name), is_dir, file_size where the store knows it.

        MlflowError for a name that could mean another place than an entry of this folder.
        """
        entries: list[dict[str, Any]] = self._json("GET", ARTIFACTS, {"path": path}, self.attempts).get("files", [])
        for entry in entries:
            _require_safe(str(entry.get("path", "")))
        return entries

    @contextmanager
    def stream_artifact(self, path: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        """The response to a GET of one artifact (status 200, 206 or 416). Raises httpx2.TransportError, too."""
        with self._http.stream("GET", f"{ARTIFACTS}/{quote(path)}", headers=dict(headers)) as response:
            if response.status_code not in (200, 206, 416):
                response.read()
                raise self._refusal(response)
            yield response

    def read_artifact(self, path: str, most: int | None = None) -> bytes:
        """One artifact's content; MlflowError for one of more than `most` bytes, of which no more is read."""
        content = bytearray()
        try:
            with self.stream_artifact(path, {}) as response:
                for chunk in response.iter_bytes():
                    content += chunk
                    if most is not None and len(content) > most:
                        raise MlflowError(f"{path} at {self.address} has more than {most:,} bytes: it is not read")
                return bytes(content)
        except httpx2.TransportError as error:
            raise self._no_answer(error) from None

    def write_artifact(self, path: str, content: bytes) -> None:
        try:
            response = self._http.put(f"{ARTIFACTS}/{quote(path)}", content=content)
        except httpx2.TransportError as error:
            raise self._no_answer(error) from None
        if response.status_code != 200:
            raise self._refusal(response)

    def _json(self, method: str, path: str, fields: Mapping[str, Any], attempts: int) -> dict[str, Any]:
        """The JSON object that a request answers, after at most so many attempts."""
        failures = 0
        while True:
            try:
                return self._json_once(method, path, fields)
            except MlflowError as error:
                failures += 1
                if not error.transient or failures >= attempts:
                    raise
                wait_before_retry(failures, error.retry_after)

    def _json_once(self, method: str, path: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        try:
            if method == "GET":
                response = self._http.get(path, params=dict(fields))
            else:
                response = self._http.request(method, path, json=dict(fields))
        except httpx2.TransportError as error:
            raise self._no_answer(error) from None
        if response.status_code != 200:
            raise self._refusal(response)
        try:
            data = response.json()
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise MlflowError(f"{self.address} is not an MLflow server: {path} did not answer with JSON", status=200)
        return data

    def _no_answer(self, error: Exception) -> MlflowError:
        return MlflowError(self._unavailable(describe_error(error)), transient=True)

    def _unavailable(self, reason: str) -> str:
        advice = "check that it runs and that MLFLOW_TRACKING_URI is right"
        return f"the MLflow server {self.address} does not answer ({reason}): {advice}"

    def _refusal(self, response: httpx2.Response) -> MlflowError:
        """What a response that is not 200 means."""
        status, text, code = response.status_code, " ".join(response.text.split())[:200], ""
        try:
            body = response.json()
        except ValueError:
            body = None
        if isinstance(body, dict):
            text = str(body.get("message") or body.get("detail") or text)
            code = str(body.get("error_code") or "")
        # A server that proxies no artifacts answers its artifact endpoints with 503 for good, which only its text says.
        if status == 503 and ARTIFACTS in response.url.path and "serve-artifacts" in text:
            advice = "start `mlflow server` with --serve-artifacts"
            return MlflowError(f"{self.address} does not serve artifacts: {advice}", status=status)
        if status in (401, 403):
            advice = "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            return MlflowError(f"{self.address} refuses access ({status} {text[:80]}): {advice}", status=status)
        if status in TRANSIENT_STATUSES:
            after = response.headers.get("retry-after", "")
            return MlflowError(
                self._unavailable(f"{status} {text}"),
                status=status,
                code=code,
                transient=True,
                retry_after=float(after) if after.isdigit() else None,
            )
        if response.has_redirect_location:
            where = response.headers["location"]
            advice = "set MLFLOW_TRACKING_URI to the server itself"
            return MlflowError(f"{self.address} redirects to {where}: {advice}", status=status)
        return MlflowError(f"{self.address}: {status} {text}", status=status, code=code)

    def proxy_path(self, location: str) -> str:
        """The path in this server's artifact proxy that an artifact URI means."""
        parts = urlsplit(location)
        path = parts.path
        if parts.scheme in ("http", "https") and ARTIFACTS in path:
            path = path.partition(ARTIFACTS)[2]
        elif parts.scheme != "mlflow-artifacts":
            store = f"{parts.scheme}://" if parts.scheme else "a folder of the server's"
            advice = "run `mlflow server` with --serve-artifacts and register the version again"
            raise MlflowError(f"its files are in {store} ({location}), out of reach from here: {advice}")
        if parts.netloc and parts.netloc.rpartition("@")[2] != self.host:
            advice = "set MLFLOW_TRACKING_URI to that one"
            raise MlflowError(f"its files are on another server, {parts.hostname}: {advice}")
        path = path.strip("/")
        for segment in path.split("/"):
            _require_safe(segment)
        return path


def _require_safe(segment: str) -> None:
    """MlflowError for a path segment that could mean another place than a file of that name."""
    if segment in ("", ".", "..") or any(c in "/\\" + _RESERVED or not c.isprintable() for c in segment):
        raise MlflowError(f"the name {segment!r} is refused: it could lead out of the version's folder")


def _verify(environ: Mapping[str, str]) -> ssl.SSLContext | bool:
    if environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() == "true":
        return False
    bundle = environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    return ssl.create_default_context(cafile=bundle) if bundle else True
