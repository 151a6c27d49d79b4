"""What the loop's parts say of themselves: the Kubernetes API, as well as MLflow, Kubeflow Pipelines and the broker.

On a laptop the same API is the supervisor's, which also tells of its processes, and the broker shows its queues; a
cluster has neither. Each question is asked for itself, at the same time as the others and with a short time limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import httpx2

from common.backoff import describe_error
from common.environment import text
from common.errors import UnavailableError
from common.mlflow.registry import ModelRegistry
from common.names import CHAMPION, INFERENCE_SERVICE, MODEL, NAMESPACE
from functions.database import connect, transaction

if TYPE_CHECKING:
    from lightkube import Client
    from lightkube.config.kubeconfig import SingleConfig
    from sqlalchemy import Connection, Engine

Json = dict[str, Any]
T = TypeVar("T")

LOCAL_DIR = "MCQA_LOCAL_DIR"
STATUS_PATH = "/-/status"
BROKER = "default"
TIMEOUT = httpx2.Timeout(3.0, connect=1.0)
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Answer:
    """What a source answered: `value`, or why it did not (`error`, one line). `asked`: False where there is none."""

    value: Any = None
    error: str = ""
    asked: bool = True


NOT_HERE = Answer(asked=False)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The objects of the namespace, as the API returns them. `functions` are Knative Services or Deployments."""

    model: Json | None
    functions: list[Json]
    revisions: list[Json]
    broker: Json | None


@dataclass(frozen=True, slots=True)
class Registry:
    """The aliases with their versions, and when the champion was made (Unix seconds)."""

    aliases: Mapping[str, str]
    champion_made: float | None


@dataclass(frozen=True, slots=True)
class Answers:
    cluster: Answer = NOT_HERE
    supervisor: Answer = NOT_HERE
    broker: Answer = NOT_HERE
    registry: Answer = NOT_HERE
    pipelines: Answer = NOT_HERE


@dataclass(slots=True)
class Sources:
    """The clients, kept from one reading to the next: a TLS handshake costs more than the questions do."""

    environ: Mapping[str, str]
    _kube: Client | None = None
    _status: httpx2.Client | None = None
    _mlflow: ModelRegistry | None = None
    _engine: Engine | None = None
    _plain: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=TIMEOUT, trust_env=False))
    _configured: float = 0.0
    _made: dict[str, float] = field(default_factory=dict)

    @property
    def on_laptop(self) -> bool:
        return bool(self.environ.get(LOCAL_DIR))

    def ask(self) -> Answers:
        """What each says now, after at most the slowest one's time limit."""
        self._forget_outdated()
        laptop, kubernetes = self.on_laptop, _has_kubernetes(self.environ)
        questions: dict[str, Callable[[], Any]] = {
            **({"cluster": self._cluster} if kubernetes else {}),
            **({"supervisor": self._supervisor, "broker": self._broker} if laptop else {}),
            **({"registry": self._registry} if self.environ.get("MLFLOW_TRACKING_URI") else {}),
            **({"pipelines": self._pipelines} if self.environ.get("KFP_ENDPOINT") else {}),
        }
        with ThreadPoolExecutor(max(len(questions), 1), "loop-sources") as threads:
            return Answers(**dict(zip(questions, threads.map(_answer, questions.values()), strict=True)))

    def stored(self, read: Callable[[Connection], T]) -> Answer:
        """What `read` finds in the database. The connection is a new one each time: a file that was removed and made
        again must not be read as it was. The engine is kept for its compiled statements.
        """

        def question() -> T:
            self._engine = self._engine or connect(self.environ)
            try:
                with transaction(self._engine) as connection:
                    return read(connection)
            finally:
                self._engine.dispose()

        return _answer(question)

    def _cluster(self) -> Cluster:
        from lightkube import ApiError
        from lightkube.core.exceptions import ConfigError

        try:
            if self._kube is None:
                self._kube = _kubernetes(self.environ)
            return _objects(self._kube, self.environ)
        except (ApiError, ConfigError, httpx2.HTTPError, OSError, ValueError):
            self._kube = None  # its token or address may be another one now
            raise

    def _supervisor(self) -> Json:
        if self._status is None:
            self._status = _status_client(_kubeconfig(self.environ))
        try:
            return _json(self._status.get(STATUS_PATH))
        except (httpx2.HTTPError, ValueError):
            self._status = None
            raise

    def _broker(self) -> Json:
        sink = urlsplit(text(self.environ, "K_SINK"))
        token = (Path(self.environ[LOCAL_DIR]) / "broker" / "token").read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        return _json(self._plain.get(f"{sink.scheme}://{sink.netloc}/-/figures", headers=headers))

    def _registry(self) -> Registry:
        if self._mlflow is None:
            impatient = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "3", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
            name = text(self.environ, "MCQA_REGISTERED_MODEL", MODEL)
            self._mlflow = ModelRegistry({**self.environ, **impatient}, name)
        model = self._mlflow.model()
        aliases = dict(model.aliases) if model else {}
        champion = aliases.get(CHAMPION)
        if champion and champion not in self._made:
            version = self._mlflow.version(champion)
            self._made = {champion: version.created} if version else {}
        return Registry(aliases, self._made.get(champion or ""))

    def _pipelines(self) -> Json:
        from common.kubeflow import API

        endpoint = text(self.environ, "KFP_ENDPOINT").rstrip("/")
        return _json(self._plain.get(f"{endpoint}{API}/healthz"))

    def _forget_outdated(self) -> None:
        """Another `mcqa up` may have written another kubeconfig."""
        path = Path(self.environ.get("KUBECONFIG") or "/")
        changed = path.stat().st_mtime if path.is_file() else 0.0
        if changed != self._configured:
            self._kube, self._status, self._configured = None, None, changed


def _answer(question: Callable[[], Any]) -> Answer:
    try:
        return Answer(question())
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one part, the others are shown
        why = str(error) if isinstance(error, UnavailableError | ValueError) else describe_error(error)
        return Answer(error=(" ".join(why.split()) or type(error).__name__)[:300])


def _has_kubernetes(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("KUBECONFIG")) or _SERVICE_ACCOUNT.is_file()


def _kubeconfig(environ: Mapping[str, str]) -> SingleConfig:
    from lightkube import KubeConfig

    path = environ.get("KUBECONFIG")
    configured = KubeConfig.from_file(path) if path else KubeConfig.from_service_account()
    single = configured.get()
    if single is None:
        raise ValueError("the kubeconfig names no current context")
    return single


def _kubernetes(environ: Mapping[str, str]) -> Client:
    from lightkube import Client

    return Client(_kubeconfig(environ), namespace=text(environ, "MCQA_NAMESPACE", NAMESPACE), timeout=TIMEOUT)


def _status_client(config: SingleConfig) -> httpx2.Client:
    import base64
    import ssl

    authority = base64.b64decode(config.cluster.certificate_auth_data or "").decode()
    headers = {"authorization": f"Bearer {config.user.token if config.user else ''}"}
    context = ssl.create_default_context(cadata=authority or None)
    return httpx2.Client(
        base_url=config.cluster.server, headers=headers, verify=context, timeout=TIMEOUT, trust_env=False
    )


def _objects(client: Client, environ: Mapping[str, str]) -> Cluster:
    from lightkube.generic_resource import create_namespaced_resource as resource

    def listed(group: str, version: str, kind: str) -> list[Json] | None:
        """None where the cluster knows no such kind."""
        from lightkube import ApiError

        known: Any = resource(group, version, kind, f"{kind.lower()}s")
        try:
            return [dict(item) for item in client.list(known)]
        except ApiError as error:
            if error.status.code == _NOT_FOUND:
                return None
            raise
        except httpx2.HTTPStatusError as error:  # what lightkube makes of a 404 that is not a Status object
            if error.response.status_code == _NOT_FOUND:
                return None
            raise

    def named(items: list[Json] | None, name: str) -> Json | None:
        return next((item for item in items or () if item["metadata"]["name"] == name), None)

    services = listed("serving.knative.dev", "v1", "Service")
    functions = listed("apps", "v1", "Deployment") if services is None else services
    model = named(
        listed("serving.kserve.io", "v1beta1", "InferenceService"),
        text(environ, "MCQA_INFERENCE_SERVICE", INFERENCE_SERVICE),
    )
    return Cluster(
        model,
        functions or [],
        [] if services is None else listed("serving.knative.dev", "v1", "Revision") or [],
        named(listed("eventing.knative.dev", "v1", "Broker"), BROKER),
    )


def _json(response: httpx2.Response) -> Json:
    value = response.raise_for_status().json()
    if not isinstance(value, dict):
        raise ValueError(f"{response.url.path} did not answer with a JSON object")  # noqa: TRY004 - its content is wrong
    return value
