"""The loop's parts and the state of each, from what their sources answered. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict

from mcqa.readmodels.loop_sources import Answer, Answers, Cluster, Json

State = Literal["ready", "asleep", "starting", "down", "unknown", "unseen"]
"""`asleep`: scaled to zero, the next event wakes it. `unknown`: whoever knows does not answer. `unseen`: this
installation shows it to nobody here."""

NAMES = (
    "platform",
    "gateway",
    "model",
    "broker",
    "collect",
    "database",
    "drift",
    "retrain",
    "pipelines",
    "registry",
    "rollout",
    "notify",
    "dead-letters",
    "page",
)
"""`platform` is the supervisor on a laptop, and the Kubernetes API on a cluster."""

FUNCTIONS = ("collect", "drift", "retrain", "rollout", "notify", "dead-letters")
_SERVICE = "serving.knative.dev/service"


class Fact(TypedDict):
    """Something to say: a code of the catalogue with the parameters of its sentence."""

    code: str
    params: dict[str, Any]


class Part(TypedDict):
    """`message` is the part's own explanation, in its words; `replicas` how many processes or pods it has, None where
    nobody counts them. `waiting_for` is what it does next, and when."""

    name: str
    state: State
    message: str
    replicas: int | None
    restarts: int
    waiting_for: list[Fact]


def read(answers: Answers, database: Answer) -> list[Part]:
    """Every part, in the order of NAMES, without what it waits for."""
    cluster: Cluster | None = answers.cluster.value
    supervised = {part["name"]: part for part in (answers.supervisor.value or {}).get("parts", ())}
    pools = {
        pool["revision"]: pool
        for pool in (answers.supervisor.value or {}).get("revisions", ())
        if isinstance(pool, dict)
    }
    parts = [_platform(answers), _gateway(answers, supervised)]
    if cluster is None:
        parts += [_unanswered(name, answers.cluster) for name in ("model", *FUNCTIONS)]
    else:
        parts.append(_model(cluster, pools))
        parts += [_function(name, cluster, pools) for name in FUNCTIONS]
    parts += [
        _broker(answers, cluster, supervised),
        _part("database", "ready") if not database.error else _part("database", "down", database.error),
        _server("registry", answers.registry, supervised.get("mlflow")),
        _server("pipelines", answers.pipelines, supervised.get("pipelines")),
        _part("page", "ready"),
    ]
    return sorted(parts, key=lambda part: NAMES.index(part["name"]))


def _platform(answers: Answers) -> Part:
    if not answers.supervisor.asked:
        return _server("platform", answers.cluster, None)
    if answers.supervisor.error:
        return _part("platform", "down", answers.supervisor.error)
    status: Json = answers.supervisor.value
    if status.get("ending"):
        return _part("platform", "down")
    unfinished = [step for step in status.get("steps", ()) if step["state"] != "done"]
    message = "; ".join(f"{step['name']}: {step['detail'] or step['state']}" for step in unfinished)
    return _part("platform", "ready" if status.get("ready") else "starting", message)


def _gateway(answers: Answers, supervised: Mapping[str, Json]) -> Part:
    if not answers.supervisor.asked:
        return _part("gateway", "unseen")
    return _process("gateway", supervised.get("gateway"))


def _broker(answers: Answers, cluster: Cluster | None, supervised: Mapping[str, Json]) -> Part:
    if answers.broker.asked:
        return _server("broker", answers.broker, supervised.get("broker"))
    if cluster is None:
        return _unanswered("broker", answers.cluster)
    if cluster.broker is None:
        return _part("broker", "unseen")
    return _by_condition("broker", cluster.broker, None)


def _server(name: str, answer: Answer, process: Json | None) -> Part:
    """A part that was asked itself; what its supervisor says of the process explains why it does not answer."""
    if not answer.asked:
        return _part(name, "unseen")
    if process is not None and (answer.error or process["state"] != "ready"):
        supervised = _process(name, process)
        if supervised["state"] != "ready":
            return supervised
    restarts = process["restarts"] if process else 0
    return _part(name, "down" if answer.error else "ready", answer.error, None, restarts)


def _process(name: str, process: Json | None) -> Part:
    if process is None:
        return _part(name, "unknown")
    # Until it is ready the supervisor starts it again; what it says meanwhile is why it is not.
    states: dict[str, State] = {"ready": "ready", "starting": "starting", "unready": "starting"}
    state = states.get(process["state"], "down")
    return _part(name, state, process["message"], None, process["restarts"])


def _model(cluster: Cluster, pools: Mapping[str, Json]) -> Part:
    if cluster.model is None:
        return _part("model", "unseen")
    status = cluster.model.get("status") or {}
    routed = ((status.get("components") or {}).get("predictor") or {}).get("traffic") or ()
    names = {entry.get("revisionName") for entry in routed}
    mine = [item for item in cluster.revisions if item["metadata"]["name"] in names]
    return _by_condition("model", cluster.model, _replicas(mine, pools) if mine else None, _trouble(mine, pools))


def _function(name: str, cluster: Cluster, pools: Mapping[str, Json]) -> Part:
    item = next((item for item in cluster.functions if item["metadata"]["name"] == name), None)
    if item is None:
        return _part(name, "unseen")
    status = item.get("status") or {}
    if item.get("kind") == "Deployment" or "availableReplicas" in status or "readyReplicas" in status:
        available = status.get("availableReplicas") or 0
        wanted = (item.get("spec") or {}).get("replicas", 1)
        state: State = "ready" if available else "asleep" if wanted == 0 else "down"
        return _part(name, state, "" if available else _condition(status, "Available").get("message") or "", available)
    newest = status.get("latestReadyRevisionName"), status.get("latestCreatedRevisionName")
    mine = [item for item in cluster.revisions if item["metadata"]["name"] in newest]
    return _by_condition(name, item, _replicas(mine, pools), _trouble(mine, pools))


def _by_condition(name: str, item: Json, replicas: int | None, trouble: str = "") -> Part:
    """By its condition Ready: False is a fault, Unknown a start; ready with no replica is asleep."""
    ready = _condition(item.get("status") or {}, "Ready")
    message = " ".join(str(ready.get("message") or ready.get("reason") or "").split())
    if ready.get("status") == "False":
        return _part(name, "down", message, replicas)
    if ready.get("status") != "True":
        return _part(name, "starting", message, replicas)
    if trouble and not replicas:
        return _part(name, "starting", trouble, replicas)
    return _part(name, "asleep" if replicas == 0 else "ready", "", replicas)


def _replicas(revisions: Iterable[Json], pools: Mapping[str, Json]) -> int:
    """By the supervisor where there is one: it knows of a replica's end before the API does."""
    return sum(
        int(pools[name]["replicas"]) if (name := item["metadata"]["name"]) in pools else _actual(item)
        for item in revisions
    )


def _actual(revision: Json) -> int:
    return int((revision.get("status") or {}).get("actualReplicas") or 0)


def _trouble(revisions: Iterable[Json], pools: Mapping[str, Json]) -> str:
    """Why a revision that should have replicas has none."""
    pools_of = [pools[name] for item in revisions if (name := item["metadata"]["name"]) in pools]
    return "; ".join(pool["message"] or "starting" for pool in pools_of if pool["wanted"] and not pool["replicas"])


def _condition(status: Json, type: str) -> Json:
    return next((c for c in status.get("conditions") or () if c.get("type") == type), {})


def _unanswered(name: str, answer: Answer) -> Part:
    return _part(name, "unknown" if answer.asked else "unseen")


def _part(name: str, state: State, message: str = "", replicas: int | None = None, restarts: int = 0) -> Part:
    return {
        "name": name,
        "state": state,
        "message": message,
        "replicas": replicas,
        "restarts": restarts,
        "waiting_for": [],
    }
