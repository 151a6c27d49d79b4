"""Which revision gets how much traffic: Knative's `spec.traffic` and KServe's `canaryTrafficPercent`. Pure.

The canary's rules are those of KServe 0.20's `ksvc_reconciler.go` (targets) and `inference_service_status.go`
(which revision counts as rolled out).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TAG_ROUTING = "serving.kserve.io/enable-tag-routing"


@dataclass(frozen=True, slots=True)
class TrafficTarget:
    """A revision's share in percent; `tag` makes it reachable directly, even with a share of 0."""

    revision: str
    percent: int
    tag: str = ""
    latest: bool = False


@dataclass(frozen=True, slots=True)
class ComponentRevisions:
    """A component's revisions as KServe records them in its status; "" if there is none yet."""

    latest_ready: str = ""
    latest_created: str = ""
    latest_rolled_out: str = ""
    previous_rolled_out: str = ""


def knative_targets(
    traffic: Sequence[Mapping[str, Any]], latest_ready: str, ready: frozenset[str]
) -> list[TrafficTarget]:
    """The targets of a Knative Service's `spec.traffic`; none while any of them is not ready.

    An empty `traffic` means 100% to the latest ready revision. As on a cluster, a route is programmed as a whole: one
    that could only be applied partly is not applied.
    """
    targets = []
    for item in traffic or ({"latestRevision": True, "percent": 100},):
        named = item.get("revisionName") or ""
        revision = named or latest_ready
        if not revision or (named and named not in ready):
            return []
        targets.append(TrafficTarget(revision, int(item.get("percent") or 0), item.get("tag") or "", not named))
    return targets


def canary_traffic(percent: int | None, rolled_out: str, *, tag_routing: bool) -> list[dict[str, Any]]:
    """`spec.traffic` of an InferenceService's Knative Service.

    `percent` (canaryTrafficPercent) only applies once a revision has been fully rolled out.
    """
    latest: dict[str, Any] = {"latestRevision": True, "percent": 100}
    if tag_routing:
        latest["tag"] = "latest"
    if percent is None or not rolled_out:
        return [latest]
    latest["percent"] = percent
    if percent >= 100:
        return [latest]
    return [latest, {"revisionName": rolled_out, "latestRevision": False, "percent": 100 - percent, "tag": "prev"}]


def track_rollout(
    before: ComponentRevisions, created: str, ready: str, targets: Sequence[TrafficTarget]
) -> ComponentRevisions:
    """The component's revisions, updated from its Knative Service's status."""
    latest, previous = before.latest_rolled_out, before.previous_rolled_out
    share: dict[str, int] = {}
    for target in targets:
        share[target.revision] = share.get(target.revision, 0) + target.percent
    for target in targets:
        if not target.latest or target.revision != ready:
            continue
        if latest != ready:
            if target.percent == 100:
                latest, previous = ready, latest
        elif ready == created and target.percent < 100 and share[ready] == 100 and previous:
            # The rolled-out revision is a canary again, and the one before it is `prev`.
            latest = previous
    return ComponentRevisions(ready, created, latest, previous)


def pick_revision(targets: Sequence[TrafficTarget], point: float) -> str:
    """The revision for one request; `point` is uniform in [0, 1). "" if no target has traffic."""
    total = sum(target.percent for target in targets)
    reached = 0.0
    for target in targets:
        reached += target.percent
        if point * total < reached:
            return target.revision
    return ""


def revision_for_tag(targets: Sequence[TrafficTarget], tag: str) -> str:
    """The revision that a tag names, or ""."""
    return next((target.revision for target in targets if tag and target.tag == tag), "")


def status_traffic(targets: Sequence[TrafficTarget], url_of_tag: Mapping[str, str]) -> list[dict[str, Any]]:
    """The targets as `status.traffic` shows them."""
    items = []
    for target in targets:
        item: dict[str, Any] = {"latestRevision": target.latest, "percent": target.percent}
        item["revisionName"] = target.revision
        if target.tag:
            item |= {"tag": target.tag, "url": url_of_tag[target.tag]}
        items.append(item)
    return items
