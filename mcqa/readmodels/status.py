"""The state of a loop on this machine: processes, services and their traffic, versions, runs, events, problems."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from common import links
from common.names import MODEL, NAMESPACE
from local.platform.settings import HOST, STATUS_PATH, Folder
from mcqa import loop, loop_process, targets
from mcqa.errors import CommandError

if TYPE_CHECKING:
    import httpx2

    from mcqa.readmodels.loop_attention import Want
    from mcqa.readmodels.loop_parts import Fact

T = TypeVar("T")

TIMEOUT = 3.0
Json = dict[str, Any]


class Traffic(TypedDict):
    """A revision's share of a service's traffic; `percent` is 0 where it only has a tag."""

    revision: str | None
    percent: int
    tag: str | None


class Service(TypedDict):
    """A model or a function. `revisions` are the supervisor's: each with its name, `revision`, and its `pids`."""

    name: str
    kind: str
    ready: bool
    message: str
    traffic: list[Traffic]
    version: str | None
    revisions: list[Json]


class LoopStatus(TypedDict):
    """What could not be asked is None, and explained in `problems`, one line each.

    `waiting` is what each part waits for, by its name; `wants` is what wants a person, the most urgent first.
    """

    up_for: float
    pid: int | None
    parts: list[Json]
    services: list[Service]
    aliases: dict[str, str] | None
    runs: list[Json] | None
    mlflow: str
    broker: Json | None
    storage: list[Json]
    problems: list[str]
    older: str | None
    waiting: dict[str, list[Fact]]
    wants: list[Want]


class _Inquiry:
    """Asks one part after another; a part that fails becomes a line in `problems` instead of an exception."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def ask(self, part: str, question: Callable[[], T]) -> T | None:
        try:
            return question()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one part, the others are shown
            self.problems.append(f"{part}: {' '.join(str(error).split()) or type(error).__name__}"[:300])
            return None


def read(folder: Folder) -> LoopStatus:
    """The status of a running loop. CommandError while it is stopping."""
    from mcqa.readmodels import loop_overview

    supervisor = _supervisor(folder)
    if supervisor.get("ending"):
        raise CommandError(
            f"{loop.name(folder)} is stopping, process {supervisor.get('pid')}: accepted work is finished first"
        )
    inquiry = _Inquiry()
    problems, ask = inquiry.problems, inquiry.ask
    problems += _unready(supervisor)
    broker: Json | None = ask("broker", lambda: _json(loop.broker(folder, TIMEOUT), "/-/figures"))
    services = ask("API", lambda: _services(folder, supervisor)) or []
    problems += [f"{service['name']}: {service['message']}" for service in services if not service["ready"]]
    pipelines = ask("pipelines", lambda: _json(loop.pipelines(folder, TIMEOUT), "/apis/v2beta1/healthz")) or {}
    storage = _storage(supervisor.get("storage", ()), (broker or {}).get("storage", ()), pipelines.get("storage", ()))
    problems += [_cannot_write(fault) for fault in storage]
    problems += _undelivered(broker or {})
    if count := ask("dead letters", lambda: _dead_letters(folder)):
        problems.append(f"{_plural(count)}, see `mcqa dead-letters list`")
    overview = loop_overview.read({**targets.environ(folder.path), "MCQA_LOCAL_DIR": str(folder.path)})
    return {
        "up_for": supervisor.get("up_for", max(time.time() - float(supervisor.get("began", time.time())), 0.0)),
        "pid": supervisor.get("pid"),
        "parts": supervisor.get("parts", []),
        "services": services,
        "aliases": ask("model registry", lambda: _aliases(folder)),
        "runs": ask("pipelines", lambda: _runs(loop.pipelines(folder, TIMEOUT))),
        "mlflow": f"http://{HOST}:{folder.settings().ports.mlflow}",
        "broker": broker,
        "storage": storage,
        "problems": problems,
        "older": loop_process.outdated_code(folder),
        "waiting": {part["name"]: part["waiting_for"] for part in overview["parts"] if part["waiting_for"]},
        "wants": overview["wants"],
    }


def _supervisor(folder: Folder) -> Json:
    """The supervisor's status over its API where that answers: the file is out of date while the disk is full."""
    import base64
    import ssl

    import httpx2
    import yaml

    try:
        config = yaml.safe_load(folder.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        headers = {"authorization": f"Bearer {user['token']}"}
        context = ssl.create_default_context(cadata=authority)
        response = httpx2.get(cluster["server"] + STATUS_PATH, headers=headers, verify=context, timeout=TIMEOUT)
        status: Json = response.raise_for_status().json()
    except (OSError, httpx2.HTTPError, ValueError, LookupError, TypeError, yaml.YAMLError):
        return loop_process.read_status(folder)
    return status


def _unready(supervisor: Json) -> list[str]:
    """The platform's parts that are not ready and the steps of its start that are not done, one line each."""
    # The page is started when everything is up: while it starts for the first time, nothing is wrong.
    starting = ("starting", 0) if supervisor.get("ready") else None
    parts = [
        f"{part['name']}: {part['state']} {part['message']}".strip()
        for part in supervisor.get("parts", ())
        if part["state"] != "ready" and (part["state"], part.get("restarts")) != starting
    ]
    steps = [
        f"{step['name']}: {step['detail'] or step['state']}"
        for step in supervisor.get("steps", ())
        if step["state"] != "done"
    ]
    return [*parts, *steps]


def _storage(*reports: Iterable[Json]) -> list[Json]:
    """Who cannot write where: each part and path once, as it was first reported."""
    first: dict[tuple[str, str], Json] = {}
    for fault in sorted((fault for report in reports for fault in report), key=lambda fault: fault["since"]):
        first.setdefault((fault["part"], fault["path"]), fault)
    return list(first.values())


def _cannot_write(fault: Json) -> str:
    since = time.strftime("%H:%M:%S", time.localtime(fault["since"]))
    return (
        f"{fault['part']}: cannot write {fault['path']} since {since}: {fault['message']}; it continues by itself "
        "once it can"
    )


def _undelivered(broker: Json) -> list[str]:
    """Events that the broker could not even deliver to the function dead-letters, one line per Trigger."""
    return [
        f"{trigger['trigger']}: {_plural(count)} at the broker, see `mcqa dead-letters list`"
        for trigger in broker.get("triggers", ())
        if (count := trigger["dead"] + trigger["dead_lettering"])
    ]


def _plural(count: int) -> str:
    return f"{count} dead letter{'s' if count > 1 else ''}"


def _services(folder: Folder, supervisor: Json) -> list[Service]:
    from lightkube import Client, KubeConfig
    from lightkube.generic_resource import create_namespaced_resource as resource

    client: Any = Client(KubeConfig.from_file(str(folder.kubeconfig)).get(), namespace=NAMESPACE)
    model = resource("serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices")
    function = resource("serving.knative.dev", "v1", "Service", "services")
    return [
        *(_service(item, "model", supervisor) for item in client.list(model)),
        *(
            _service(item, "function", supervisor)
            for item in client.list(function)
            if not (item.metadata.ownerReferences or ())  # an InferenceService's own
        ),
    ]


def _service(item: Any, kind: str, supervisor: Json) -> Service:
    status: Json = item.status or {}
    component = (status.get("components") or {}).get("predictor", status)
    ready: Json = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), {})
    prefix = item.metadata.name + ("-predictor-" if kind == "model" else "-")
    revisions = supervisor.get("revisions", ())
    return {
        "name": item.metadata.name,
        "kind": kind,
        "ready": ready.get("status") == "True",
        "message": ready.get("message", "not ready yet"),
        "traffic": [
            {"revision": entry.get("revisionName"), "percent": entry.get("percent", 0), "tag": entry.get("tag")}
            for entry in component.get("traffic") or ()
        ],
        "version": _storage_uri(item) if kind == "model" else None,
        "revisions": [r for r in revisions if r["revision"].rpartition("-")[0] + "-" == prefix],
    }


def _storage_uri(item: Any) -> str | None:
    uri = ((item.spec.get("predictor") or {}).get("model") or {}).get("storageUri")
    return str(uri) if uri else None


def _aliases(folder: Folder) -> dict[str, str]:
    from common.mlflow.registry import ModelRegistry

    environ = targets.environ(folder.path)
    with ModelRegistry(environ, environ.get("MCQA_REGISTERED_MODEL", MODEL)) as registry:
        model = registry.model()
    return dict(model.aliases) if model else {}


def _runs(pipelines: httpx2.Client) -> list[Json]:
    runs = _json(pipelines, "/apis/v2beta1/runs?page_size=5&sort_by=created_at%20desc").get("runs") or []
    endpoint = {"KFP_ENDPOINT": str(pipelines.base_url).rstrip("/")}
    return [
        {key: run.get(key) for key in ("run_id", "display_name", "state", "created_at")}
        | {"page": links.pipeline_run(endpoint, run["run_id"])}
        for run in runs
    ]


def _dead_letters(folder: Folder) -> int:
    from functions.database import connect, transaction
    from functions.dead_letters.store import count

    engine = connect(targets.environ(folder.path))
    try:
        with transaction(engine) as connection:
            return count(connection)
    finally:
        engine.dispose()


def _json(client: httpx2.Client, path: str) -> Any:
    with client:
        return client.get(path).raise_for_status().json()
