"""Traffic targets, the canary's split, and which revision counts as rolled out."""

from __future__ import annotations

from typing import Any

import pytest

from local.serving.traffic import (
    ComponentRevisions,
    TrafficTarget,
    canary_traffic,
    knative_targets,
    pick_revision,
    track_rollout,
)

LATEST = {"latestRevision": True, "percent": 100}


@pytest.mark.parametrize(
    ("traffic", "latest", "ready", "expected"),
    [
        ([], "a-2", {"a-1", "a-2"}, [TrafficTarget("a-2", 100, "", True)]),
        ([], "", set(), []),
        ([LATEST], "a-1", {"a-1"}, [TrafficTarget("a-1", 100, "", True)]),
        (
            [{"latestRevision": True, "percent": 10, "tag": "latest"}, {"revisionName": "a-1", "percent": 90}],
            "a-2",
            {"a-1", "a-2"},
            [TrafficTarget("a-2", 10, "latest", True), TrafficTarget("a-1", 90)],
        ),
        ([LATEST, {"revisionName": "a-9", "tag": "t"}], "a-1", {"a-1"}, []),
    ],
)
def test_knative_traffic(traffic: Any, latest: Any, ready: Any, expected: Any) -> None:
    assert knative_targets(traffic, latest, frozenset(ready)) == expected


@pytest.mark.parametrize(
    ("percent", "rolled", "tags", "expected"),
    [
        (10, "", False, [(100, None, None)]),  # the first rollout ignores the canary
        (None, "m-1", True, [(100, None, "latest")]),
        (100, "m-1", True, [(100, None, "latest")]),
        (10, "m-1", True, [(10, None, "latest"), (90, "m-1", "prev")]),
        (10, "m-1", False, [(10, None, None), (90, "m-1", "prev")]),
        (0, "m-1", False, [(0, None, None), (100, "m-1", "prev")]),
    ],
)
def test_canary_traffic(percent: Any, rolled: Any, tags: Any, expected: Any) -> None:
    targets = canary_traffic(percent, rolled, tag_routing=tags)
    assert [(item["percent"], item.get("revisionName"), item.get("tag")) for item in targets] == expected


@pytest.mark.parametrize(
    ("before", "created", "ready", "targets", "latest", "previous"),
    [
        (ComponentRevisions(), "m-1", "m-1", [TrafficTarget("m-1", 100, "", True)], "m-1", ""),
        # A canary, and one that is not ready yet.
        (
            ComponentRevisions("m-1", "m-1", "m-1"),
            "m-2",
            "m-2",
            [TrafficTarget("m-2", 10, "", True), TrafficTarget("m-1", 90)],
            "m-1",
            "",
        ),
        (
            ComponentRevisions("m-1", "m-1", "m-1"),
            "m-2",
            "m-1",
            [TrafficTarget("m-1", 10, "", True), TrafficTarget("m-1", 90)],
            "m-1",
            "",
        ),
        # Promoted.
        (ComponentRevisions("m-2", "m-2", "m-1"), "m-2", "m-2", [TrafficTarget("m-2", 100, "", True)], "m-2", "m-1"),
        # Promoted, then a share below 100 again: what was before is `prev` again.
        (
            ComponentRevisions("m-2", "m-2", "m-2", "m-1"),
            "m-2",
            "m-2",
            [TrafficTarget("m-2", 20, "", True), TrafficTarget("m-2", 80, "prev")],
            "m-1",
            "m-1",
        ),
        # Nothing before the first: it stays.
        (
            ComponentRevisions("m-1", "m-1", "m-1"),
            "m-1",
            "m-1",
            [TrafficTarget("m-1", 5, "", True), TrafficTarget("m-1", 95)],
            "m-1",
            "",
        ),
    ],
)
def test_track_rollout(before: Any, created: Any, ready: Any, targets: Any, latest: Any, previous: Any) -> None:
    after = track_rollout(before, created, ready, targets)
    assert (after.latest_rolled_out, after.previous_rolled_out) == (latest, previous)
    assert (after.latest_created, after.latest_ready) == (created, ready)


@pytest.mark.parametrize(("point", "revision"), [(0.0, "b"), (0.0999, "b"), (0.1, "a"), (0.999, "a")])
def test_choose(point: Any, revision: Any) -> None:
    assert (
        pick_revision([TrafficTarget("b", 10), TrafficTarget("a", 90), TrafficTarget("c", 0, "c")], point) == revision
    )


def test_nothing_is_chosen_without_traffic() -> None:
    assert pick_revision([], 0.5) == pick_revision([TrafficTarget("a", 0, "a")], 0.5) == ""
