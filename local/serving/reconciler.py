"""One reconcile pass over the store: InferenceServices → Knative Services → Revisions, and the statuses back up.

Synchronous and level-triggered: it reads everything, writes what differs and returns what should run and be routed. A
write that loses a race is left to the next pass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from local.gateway.control_protocol import NamespacedName, Route
from local.kube.resources import Object
from local.kube.store import ResourceStore, StatusError
from local.serving import inference_status, service_status
from local.serving.conditions import get_condition
from local.serving.hosts import PREDICTOR
from local.serving.logger_spec import logger_spec
from local.serving.predictor_service import ISVC_LABEL, RenderError, render, runtime_of
from local.serving.replica_pool import PoolStatus
from local.serving.revisions import next_revision, of_service
from local.serving.traffic import TrafficTarget, knative_targets, track_rollout
from local.serving.workload import log_file

log = logging.getLogger("serving")

T = TypeVar("T")

KNATIVE = "Service.serving.knative.dev"


@dataclass(frozen=True, slots=True)
class RenderedInferenceService:
    isvc: Object
    runtime: Object | None


@dataclass(slots=True)
class DesiredState:
    """What should run: revisions by name, routes by service, and the revisions that traffic or a tag reaches."""

    revisions: dict[NamespacedName, Object] = field(default_factory=dict)
    routes: dict[NamespacedName, Route] = field(default_factory=dict)
    reachable: set[NamespacedName] = field(default_factory=set)
    # The InferenceServices that could be rendered; the others keep the Knative Service of an older spec.
    isvcs: list[RenderedInferenceService] = field(default_factory=list)
    readiness: list[tuple[Object, service_status.ServiceReadiness]] = field(default_factory=list)
    pools: Mapping[NamespacedName, PoolStatus] = field(default_factory=dict)


class Reconciler:
    """`folder` contains the logs, `domain` is that of external URLs."""

    def __init__(self, store: ResourceStore, folder: Path, domain: str) -> None:
        self._store, self._folder, self._domain = store, folder, domain
        self._written = False

    def reconcile(self, pools: Mapping[NamespacedName, PoolStatus]) -> DesiredState:
        """Writes services, revisions and the revisions' statuses; returns what should run and be routed."""
        self._written = False
        isvcs = self._store.list("InferenceService").items
        desired = DesiredState(isvcs=[rendered for isvc in isvcs if (rendered := self._render(isvc))], pools=pools)
        self._delete_orphans({item["metadata"]["uid"] for item in isvcs})
        revisions = [*self._store.list("Revision").items]
        for service in self._store.list(KNATIVE).items:
            self._reconcile_service(service, revisions, pools, desired)
        return desired

    def write_statuses(self, desired: DesiredState) -> bool:
        """Writes the statuses of services once their routes are in force, so that no status shows one that is not.

        Returns whether anything was written since `reconcile` began: then another pass may find more to do.
        """
        for service, result in desired.readiness:
            new_status = service_status.service_status(service, result, self._domain, _now())
            self._set_status(service, new_status, result.condition.message)
        for rendered in desired.isvcs:
            self._write_isvc_status(rendered, desired.pools)
        return self._written

    def _render(self, isvc: Object) -> RenderedInferenceService | None:
        """Creates or updates its Knative Service; None if it cannot be rendered, which its status then shows."""
        metadata = isvc["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        runtimes = [*self._store.list("ServingRuntime", namespace).items]
        runtimes += self._store.list("ClusterServingRuntime").items
        try:
            rendered = RenderedInferenceService(isvc, runtime_of(isvc, runtimes))
            desired = render(isvc, rendered.runtime, inference_status.component_revisions(isvc).latest_rolled_out)
        except RenderError as error:
            new_status = inference_status.invalid_status(isvc, error.reason, str(error), _now())
            if isvc.get("status") != new_status:
                self._set_status(isvc, new_status, str(error))
                self._event(isvc, "InternalError", f"fails to reconcile predictor: {error}", type="Warning")
            return None
        current = self._store.find(KNATIVE, name + PREDICTOR, namespace)
        if current is None:
            self._write("create", lambda: self._store.create(desired, namespace))
            return rendered
        same = current["spec"] == desired["spec"] and all(
            current["metadata"].get(part) == desired["metadata"][part] for part in ("labels", "ownerReferences")
        )
        if not same:
            changed = {**current, "spec": desired["spec"], "metadata": {**current["metadata"], **{
                part: desired["metadata"][part] for part in ("labels", "ownerReferences")}}}  # fmt: skip
            self._write("update", lambda: self._store.update(changed))
        return rendered

    def _delete_orphans(self, uids: set[str]) -> None:
        """Deletes services whose InferenceService was deleted while no controller ran."""
        for service in self._store.list(KNATIVE, labels=ISVC_LABEL).items:
            owners = {owner["uid"] for owner in service["metadata"].get("ownerReferences", ())}
            if owners and not owners & uids:
                metadata = service["metadata"]
                delete = partial(self._store.delete, KNATIVE, metadata["name"], metadata["namespace"])
                self._write("delete", delete)

    def _reconcile_service(
        self,
        service: Object,
        revisions: list[Object],
        pools: Mapping[NamespacedName, PoolStatus],
        desired: DesiredState,
    ) -> None:
        metadata = service["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        own = of_service(revisions, service)
        new_revision = next_revision(service, own)
        if new_revision:
            created = self._write("create", lambda: self._store.create(new_revision, namespace))
            if created:
                self._event(service, "Created", f'Created Revision "{new_revision["metadata"]["name"]}"')
                own.append(created)
        for index, revision in enumerate(own):
            key = (namespace, revision["metadata"]["name"])
            log_path = str(log_file(self._folder, *key))
            new_status = service_status.revision_status(revision, pools.get(key), _now(), log_path)
            own[index] = (
                self._set_status(revision, new_status, get_condition({"status": new_status}).message) or revision
            )
            desired.revisions[key] = own[index]
        targets = self._targets(service, own)
        for target in targets:
            desired.reachable.add((namespace, target.revision))
        if own:
            desired.reachable.add((namespace, own[-1]["metadata"]["name"]))
        loggers = {item["metadata"]["name"]: spec for item in own if (spec := logger_spec(item))}
        desired.routes[namespace, name] = Route(tuple(targets), loggers, service_status.cluster_local(service))
        desired.readiness.append((service, service_status.service_readiness(service, own, targets)))

    def _targets(self, service: Object, revisions: list[Object]) -> list[TrafficTarget]:
        ready = frozenset(item["metadata"]["name"] for item in revisions if get_condition(item).status == "True")
        targets = knative_targets(service["spec"].get("traffic") or (), service_status.latest_ready(revisions), ready)
        if targets:
            return targets
        kept = [
            TrafficTarget(
                item["revisionName"], item.get("percent") or 0, item.get("tag", ""), bool(item.get("latestRevision"))
            )
            for item in (service.get("status") or {}).get("traffic") or ()
        ]
        return kept if all(target.revision in ready for target in kept) else []

    def _write_isvc_status(
        self, rendered: RenderedInferenceService, pools: Mapping[NamespacedName, PoolStatus]
    ) -> None:
        metadata = rendered.isvc["metadata"]
        with suppress(StatusError):
            isvc = self._store.get("InferenceService", metadata["name"], metadata["namespace"])
            service = self._store.get(KNATIVE, metadata["name"] + PREDICTOR, metadata["namespace"])
            status = service.get("status") or {}
            service_observed = status.get("observedGeneration") == service["metadata"]["generation"]
            isvc_unchanged = isvc["metadata"]["generation"] == metadata["generation"]
            if not service_observed or not isvc_unchanged:
                return
            targets = [
                TrafficTarget(
                    item["revisionName"], item.get("percent") or 0, item.get("tag", ""), item["latestRevision"]
                )
                for item in status.get("traffic") or ()
            ]
            created, ready = status.get("latestCreatedRevisionName", ""), status.get("latestReadyRevisionName", "")
            before = inference_status.component_revisions(isvc)
            after = track_rollout(before, created, ready, targets)
            if after.latest_rolled_out != before.latest_rolled_out:
                self._event(isvc, "RolledOut", f"{after.latest_rolled_out} has all traffic")
            pool = pools.get((metadata["namespace"], created))
            new_status = inference_status.inference_status(isvc, after, status, pool, rendered.runtime, _now())
            self._set_status(isvc, new_status, get_condition({"status": new_status}).message)

    def _set_status(self, item: Object, new_status: dict[str, Any], message: str) -> Object | None:
        """Writes a status that differs, and an event if readiness changed; returns the current object."""
        if item.get("status") == new_status:
            return item
        before, after = get_condition(item), get_condition({"status": new_status})
        written = self._write("update", lambda: self._store.update_status({**item, "status": new_status}))
        if written and before.status != after.status and after.status != "Unknown":
            if after.status == "True":
                self._event(item, f"{item['kind']}Ready", _ready_message(item))
            else:
                isvc = item["kind"] == "InferenceService"
                reason = "InferenceServiceNotReady" if isvc else after.reason or "InternalError"
                self._event(item, reason, message or after.message, type="Warning")
        return written

    def _write(self, what: str, action: Callable[[], T]) -> T | None:
        try:
            result = action()
        except StatusError as error:
            if error.code != 409:  # another writer was first: the next pass sees the result
                log.warning("%s refused: %s", what, error.message)
            return None
        self._written = True
        return result

    def _event(self, item: Object, reason: str, message: str, type: str = "Normal") -> None:
        metadata, now = item["metadata"], _now()
        involved = {name: metadata[name] for name in ("name", "namespace", "uid")}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
            "involvedObject": {"apiVersion": item["apiVersion"], "kind": item["kind"], **involved},
            "reason": reason,
            "message": message[:1000],
            "type": type,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": "embedded-serving"},
        }
        self._write("event", lambda: self._store.create(event, metadata["namespace"]))


def _ready_message(item: Object) -> str:
    kind, name = item["kind"], item["metadata"]["name"]
    if kind == "Revision":
        return "Revision becomes ready upon all resources being ready"
    return f"InferenceService [{name}] is Ready" if kind == "InferenceService" else f"{kind} {name} is ready"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
