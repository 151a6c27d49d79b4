"""One pass over the store: InferenceServices → Knative Services → Revisions, and every status back up.

Synchronous and level-triggered: it reads everything, writes what differs and returns what is to be routed. A write
that loses a race is left to the next pass.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.gateway.state import Key, Route
from local.kube.resources import Object
from local.kube.store import ResourceStore, StatusError
from local.serving import inference_status, status
from local.serving.hosts import PREDICTOR
from local.serving.logging_targets import log_target
from local.serving.pool import PoolStatus
from local.serving.predictors import ISVC_LABEL, RenderError, render, runtime_of
from local.serving.revisions import next_revision, of_service
from local.serving.runner import log_file
from local.serving.traffic import Target, knative_targets, rolled_out

log = logging.getLogger("serving")

KNATIVE = "Service.serving.knative.dev"


@dataclass(frozen=True, slots=True)
class Deployed:
    isvc: Object
    runtime: Object | None


@dataclass(slots=True)
class World:
    """What a pass found: revisions by key, routes by service, and the revisions that traffic or a tag reaches."""

    revisions: dict[Key, Object] = field(default_factory=dict)
    routes: dict[Key, Route] = field(default_factory=dict)
    reachable: set[Key] = field(default_factory=set)
    # The InferenceServices that could be rendered; of the others the Knative Service is that of an older spec.
    isvcs: list[Deployed] = field(default_factory=list)
    outcomes: list[tuple[Object, status.Outcome]] = field(default_factory=list)
    pools: Mapping[Key, PoolStatus] = field(default_factory=dict)


class Reconciler:
    """`folder` is where the logs are, `domain` that of external URLs."""

    def __init__(self, store: ResourceStore, folder: Path, domain: str) -> None:
        self._store, self._folder, self._domain = store, folder, domain
        self._written = False

    def plan(self, pools: Mapping[Key, PoolStatus]) -> World:
        """Writes services, revisions and the revisions' status; what is to run and be routed."""
        self._written = False
        isvcs = self._store.list("InferenceService").items
        world = World(isvcs=[made for isvc in isvcs if (made := self._deploy(isvc))], pools=pools)
        self._drop_orphans({item["metadata"]["uid"] for item in isvcs})
        revisions = [*self._store.list("Revision").items]
        for service in self._store.list(KNATIVE).items:
            self._service(service, revisions, pools, world)
        return world

    def report(self, world: World) -> bool:
        """Writes the status of services, once their routes are in force, so that nobody reads of one that is not.

        Whether anything was written since `plan` began: then a further pass may find more to do.
        """
        for service, result in world.outcomes:
            fresh = status.service_status(service, result, self._domain, _now())
            self._set_status(service, fresh, result.condition.message)
        for deployed in world.isvcs:
            self._report(deployed, world.pools)
        return self._written

    def _deploy(self, isvc: Object) -> Deployed | None:
        """Makes or changes its Knative Service; None when it cannot be rendered, which its status then says."""
        metadata = isvc["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        runtimes = [*self._store.list("ServingRuntime", namespace).items]
        runtimes += self._store.list("ClusterServingRuntime").items
        try:
            deployed = Deployed(isvc, runtime_of(isvc, runtimes))
            wanted = render(isvc, deployed.runtime, inference_status.rollout_of(isvc).latest_rolled_out)
        except RenderError as error:
            fresh = inference_status.invalid_status(isvc, error.reason, str(error), _now())
            if isvc.get("status") != fresh:
                self._set_status(isvc, fresh, str(error))
                self._event(isvc, "InternalError", f"fails to reconcile predictor: {error}", type="Warning")
            return None
        try:
            current = self._store.get(KNATIVE, name + PREDICTOR, namespace)
        except StatusError:
            self._write("create", lambda: self._store.create(wanted, namespace))
            return deployed
        same = current["spec"] == wanted["spec"] and all(
            current["metadata"].get(part) == wanted["metadata"][part] for part in ("labels", "ownerReferences")
        )
        if not same:
            changed = {**current, "spec": wanted["spec"], "metadata": {**current["metadata"], **{
                part: wanted["metadata"][part] for part in ("labels", "ownerReferences")}}}  # fmt: skip
            self._write("update", lambda: self._store.update(changed))
        return deployed

    def _drop_orphans(self, uids: set[str]) -> None:
        """Services whose InferenceService went while nobody looked."""
        for service in self._store.list(KNATIVE, labels=ISVC_LABEL).items:
            owners = {owner["uid"] for owner in service["metadata"].get("ownerReferences", ())}
            if owners and not owners & uids:
                metadata = service["metadata"]
                self._write("delete", lambda m=metadata: self._store.delete(KNATIVE, m["name"], m["namespace"]))

    def _service(self, service: Object, revisions: list[Object], pools: Mapping[Key, PoolStatus], world: World) -> None:
        metadata = service["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        own = of_service(revisions, service)
        made = next_revision(service, own)
        if made:
            created = self._write("create", lambda: self._store.create(made, namespace))
            if created:
                self._event(service, "Created", f'Created Revision "{made["metadata"]["name"]}"')
                own.append(created)
        for index, revision in enumerate(own):
            key = (namespace, revision["metadata"]["name"])
            where = str(log_file(self._folder, *key))
            fresh = status.revision_status(revision, pools.get(key), _now(), where)
            own[index] = self._set_status(revision, fresh, status.condition_of({"status": fresh}).message) or revision
            world.revisions[key] = own[index]
        targets = self._targets(service, own)
        for target in targets:
            world.reachable.add((namespace, target.revision))
        if own:
            world.reachable.add((namespace, own[-1]["metadata"]["name"]))
        loggers = {item["metadata"]["name"]: found for item in own if (found := log_target(item))}
        world.routes[namespace, name] = Route(tuple(targets), loggers, status.cluster_local(service))
        world.outcomes.append((service, status.outcome(service, own, targets)))

    def _targets(self, service: Object, revisions: list[Object]) -> list[Target]:
        ready = frozenset(item["metadata"]["name"] for item in revisions if status.condition_of(item).status == "True")
        wanted = knative_targets(service["spec"].get("traffic") or (), status.latest_ready(revisions), ready)
        if wanted:
            return wanted
        kept = [
            Target(
                item["revisionName"], item.get("percent") or 0, item.get("tag", ""), bool(item.get("latestRevision"))
            )
            for item in (service.get("status") or {}).get("traffic") or ()
        ]
        return kept if all(target.revision in ready for target in kept) else []

    def _report(self, deployed: Deployed, pools: Mapping[Key, PoolStatus]) -> None:
        metadata = deployed.isvc["metadata"]
        with suppress(StatusError):
            isvc = self._store.get("InferenceService", metadata["name"], metadata["namespace"])
            service = self._store.get(KNATIVE, metadata["name"] + PREDICTOR, metadata["namespace"])
            found = service.get("status") or {}
            spec_seen = found.get("observedGeneration") == service["metadata"]["generation"]
            rendered = isvc["metadata"]["generation"] == metadata["generation"]
            if not spec_seen or not rendered:
                return
            targets = [
                Target(item["revisionName"], item.get("percent") or 0, item.get("tag", ""), item["latestRevision"])
                for item in found.get("traffic") or ()
            ]
            created, ready = found.get("latestCreatedRevisionName", ""), found.get("latestReadyRevisionName", "")
            before = inference_status.rollout_of(isvc)
            after = rolled_out(before, created, ready, targets)
            if after.latest_rolled_out != before.latest_rolled_out:
                self._event(isvc, "RolledOut", f"{after.latest_rolled_out} has all traffic")
            pool = pools.get((metadata["namespace"], created))
            fresh = inference_status.inference_status(isvc, after, found, pool, deployed.runtime, _now())
            self._set_status(isvc, fresh, status.condition_of({"status": fresh}).message)

    def _set_status(self, item: Object, fresh: dict[str, Any], why: str) -> Object | None:
        """Writes a status that differs, and an event when readiness did; the object as it is then."""
        if item.get("status") == fresh:
            return item
        before, after = status.condition_of(item), status.condition_of({"status": fresh})
        written = self._write("update", lambda: self._store.update_status({**item, "status": fresh}))
        if written and before.status != after.status and after.status != "Unknown":
            if after.status == "True":
                self._event(item, f"{item['kind']}Ready", _ready_message(item))
            else:
                isvc = item["kind"] == "InferenceService"
                reason = "InferenceServiceNotReady" if isvc else after.reason or "InternalError"
                self._event(item, reason, why or after.message, type="Warning")
        return written

    def _write(self, what: str, action: Any) -> Any:
        try:
            done = action()
        except StatusError as error:
            if error.code != 409:  # somebody else wrote first: the next pass sees it
                log.warning("%s refused: %s", what, error.message)
            return None
        self._written = True
        return done

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
