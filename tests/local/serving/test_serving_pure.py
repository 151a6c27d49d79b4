"""Serving's decisions: traffic, revisions, scaling, process specs, hosts."""

from __future__ import annotations

import base64
import sys

import pytest
from serving_cases import knative_service

from local.gateway.control_protocol import Route
from local.gateway.routing import find_service
from local.serving.autoscaler import Sample, ScalingSpec, parse_duration, parse_scaling, scale
from local.serving.hosts import names_this_machine, parse_host, parse_path, to_local_url
from local.serving.process_spec import HostEnvironment, Probe, ProcessSpecError, process_spec
from local.serving.revisions import next_revision
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
def test_knative_traffic(traffic, latest, ready, expected):
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
def test_canary_traffic(percent, rolled, tags, expected):
    found = canary_traffic(percent, rolled, tag_routing=tags)
    assert [(item["percent"], item.get("revisionName"), item.get("tag")) for item in found] == expected


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
def test_track_rollout(before, created, ready, targets, latest, previous):
    after = track_rollout(before, created, ready, targets)
    assert (after.latest_rolled_out, after.previous_rolled_out) == (latest, previous)
    assert (after.latest_created, after.latest_ready) == (created, ready)


@pytest.mark.parametrize(("point", "revision"), [(0.0, "b"), (0.0999, "b"), (0.1, "a"), (0.999, "a")])
def test_choose(point, revision):
    assert (
        pick_revision([TrafficTarget("b", 10), TrafficTarget("a", 90), TrafficTarget("c", 0, "c")], point) == revision
    )


def test_nothing_is_chosen_without_traffic():
    assert pick_revision([], 0.5) == pick_revision([TrafficTarget("a", 0, "a")], 0.5) == ""


def stored(item, **metadata):
    return {**item, "metadata": {**item["metadata"], "uid": "u1", **metadata}}


def test_only_the_template_makes_a_revision():
    service = stored(knative_service("f", VERSION="1"))
    first = next_revision(service, [])
    assert first["metadata"]["name"] == "f-00001"
    assert first["metadata"]["labels"]["serving.knative.dev/configurationGeneration"] == "1"
    assert next_revision(service, [first]) is None
    traffic = {**service, "spec": {**service["spec"], "traffic": [LATEST]}}
    assert next_revision(traffic, [first]) is None
    second = next_revision(stored(knative_service("f", VERSION="2")), [first])
    assert second["metadata"]["name"] == "f-00002"
    back = next_revision(service, [first, second])
    assert back["metadata"]["name"] == "f-00003", "the old template again is a new revision"
    annotated = next_revision(stored(knative_service("f", {"window": "6s"}, VERSION="2")), [first, second])
    assert annotated["metadata"]["name"] == "f-00003"
    assert next_revision({**service, "status": {"latestCreatedRevisionName": "f-00007"}}, [])["metadata"]["name"] == (
        "f-00008"
    )


@pytest.mark.parametrize(
    ("annotations", "concurrency", "expected"),
    [
        ({}, 0, ScalingSpec()),
        ({"min-scale": "1", "max-scale": "3"}, 0, ScalingSpec(min_scale=1, max_scale=3)),
        ({}, 10, ScalingSpec(target=7.0, container_concurrency=10)),
        ({"target": "50"}, 10, ScalingSpec(target=7.0, container_concurrency=10)),
        ({"target": "8", "target-utilization-percentage": "100"}, 0, ScalingSpec(target=8.0)),
        (
            {"window": "6s", "scale-to-zero-pod-retention-period": "1m5s"},
            0,
            ScalingSpec(window=6.0, retention_period=65.0),
        ),
    ],
)
def test_read_scaling(annotations, concurrency, expected):
    found = {f"autoscaling.knative.dev/{key}": value for key, value in annotations.items()}
    assert parse_scaling(found, concurrency) == expected


def test_bad_annotations_are_named():
    with pytest.raises(ValueError, match=r"autoscaling.knative.dev/window: '6' is not a duration"):
        parse_scaling({"autoscaling.knative.dev/window": "6"}, 0)
    assert parse_duration("1h1m1.5s") == 3661.5
    assert parse_scaling({"autoscaling.knative.dev/max-scale": "9"}, 0, cap=2).max_scale == 2


def load(now, seconds, concurrency):
    return [Sample(now - second, concurrency) for second in range(seconds)]


@pytest.mark.parametrize(
    ("scaling", "samples", "facts", "replicas"),
    [
        (ScalingSpec(), [], {"running": 0}, 0),
        (ScalingSpec(), [], {"running": 0, "waiting": 1}, 1),
        (ScalingSpec(min_scale=2), [], {"running": 0}, 2),
        (ScalingSpec(min_scale=2), load(1000, 60, 0), {"running": 2, "reachable": False}, 0),
        (ScalingSpec(), load(1000, 60, 0), {"running": 1}, 0),
        (ScalingSpec(), load(1000, 30, 0), {"running": 1, "active_since": 970}, 1),
        (ScalingSpec(retention_period=60), [*load(1000, 60, 0), Sample(930, 1)], {"running": 1}, 1),
        (ScalingSpec(target=7), load(1000, 60, 14), {"running": 2}, 2),
        (ScalingSpec(target=7), load(1000, 60, 14.1), {"running": 2}, 3),
        (ScalingSpec(target=7, max_scale=2), load(1000, 60, 70), {"running": 2}, 2),
        (ScalingSpec(), load(1000, 60, 0.001), {"running": 1}, 1),
        # A burst: the stable window sees 1 replica, the panic window 5.
        (ScalingSpec(target=7), load(1000, 6, 35) + [Sample(1000 - s, 0) for s in range(6, 60)], {"running": 1}, 5),
        (ScalingSpec(target=7), load(1000, 60, 1), {"running": 5, "panic_until": 1010}, 5),
    ],
)
def test_decide(scaling, samples, facts, replicas):
    facts = {"waiting": 0, "active_since": 0.0, **facts}
    assert scale(scaling, samples, 1000.0, **facts).replicas == replicas


def revision(**container):
    container = {"image": "dev.local/x:1", "command": ["python", "-m", "thing"], **container}
    labels = {"serving.knative.dev/service": "f"}
    metadata = {"name": "f-00001", "namespace": "default", "labels": labels}
    return {"kind": "Revision", "metadata": metadata, "spec": {"containers": [container]}}


OBJECTS = {
    ("ConfigMap", "loop"): {"data": {"A": "1", "URL": "http://mlflow.ns.svc.cluster.local:5000/x"}},
    ("Secret", "keys"): {"data": {"K": base64.b64encode(b"secret").decode()}},
}


def lookup(kind, name):
    return OBJECTS.get((kind, name))


def test_the_process_of_a_revision():
    env = [
        {"name": "PLAIN", "value": "v-$(A)-$(NONE)-$$"},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "K"}}},
        {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "loop", "key": "Z", "optional": True}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "MCQA_HOST", "value": "0.0.0.0"},
        {"name": "K_SERVICE", "value": "other"},
    ]
    sources = [{"configMapRef": {"name": "loop"}}, {"secretRef": {"name": "none", "optional": True}}]
    probe = {"httpGet": {"path": "/up", "port": 8080}, "timeoutSeconds": 2}
    item = revision(
        env=env,
        envFrom=sources,
        args=["--dir=/mnt/models", "--port=$(PORT)", "--host=0.0.0.0"],
        readinessProbe=probe,
        resources={"limits": {"cpu": "1"}},
    )
    machine = HostEnvironment({"PATH": "/bin", "A": "0"}, {"mlflow.ns.svc.cluster.local:5000": "127.0.0.1:5001"})
    made = process_spec(item, lookup, machine, port=4711, model="/m")
    assert made.argv == (sys.executable, "-m", "thing", "--dir=/m", "--port=4711", "--host=127.0.0.1")
    assert made.env == {
        "PATH": "/bin",
        "A": "1",
        "URL": "http://127.0.0.1:5001/x",
        "PLAIN": "v-1-$(NONE)-$",
        "KEY": "secret",
        "MCQA_HOST": "127.0.0.1",
        "PORT": "4711",
        "HOST": "127.0.0.1",
        "K_REVISION": "f-00001",
        "K_SERVICE": "f",
        "K_CONFIGURATION": "f",
    }
    assert made.probe == Probe("/up", timeout=2.0)
    assert made.notes == ("env NODE: fieldRef only exists in pods and is left out", "resources is not enforced")


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"command": None}, "its container has no command, and images are not run here"),
        ({"envFrom": [{"configMapRef": {"name": "gone"}}]}, "configmap 'gone' not found"),
        (
            {"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "loop", "key": "Z"}}}]},
            "env X: couldn't find key Z in ConfigMap loop",
        ),
    ],
)
def test_processes_that_cannot_start(container, message):
    with pytest.raises(ProcessSpecError, match=message):
        process_spec(revision(**container), lookup, HostEnvironment(), port=1)


def test_images_choose_the_interpreter():
    machine = HostEnvironment(interpreters={"dev.local/": "/a/python", "dev.local/x": "/b/python"})
    assert process_spec(revision(), lookup, machine, port=1).argv[0] == "/b/python"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("a.b.localhost", ("a", "b")),
        ("a.b.localhost:8080", ("a", "b")),
        ("A.B.svc.cluster.local.", ("a", "b")),
        ("a.b.svc", ("a", "b")),
        ("a.b", ("a", "b")),
        ("a.b.evil.example", None),
        ("127.0.0.1:8080", None),
        ("localhost", None),
        ("", None),
    ],
)
def test_hosts(host, expected):
    assert parse_host(host, "localhost:8080") == expected


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("m", (("d", "m-predictor"), "")),
        ("m-predictor", (("d", "m-predictor"), "")),
        ("prev-m", (("d", "m-predictor"), "prev")),
        ("latest-m-predictor", None),
        ("prev-f", None),
        ("f", (("d", "f"), "")),
    ],
)
def test_routes_are_found_by_name_and_tag(label, expected):
    routes = {("d", "m-predictor"): Route((TrafficTarget("m-1", 100, "prev"),)), ("d", "f"): Route()}
    assert find_service(routes, label, "d") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("http://a.b.svc/x?y", "http://127.0.0.1:9/x?y"),
        ("http://a.b.svc:80/", "http://127.0.0.1:9/"),
        ("postgresql://u:p@db.b.svc:5432/x", "postgresql://u:p@127.0.0.1:8/x"),
        ("http://a.b.svc:81/", "http://a.b.svc:81/"),
        ("a.b.svc", "a.b.svc"),
        ("http://[broken", "http://[broken"),
    ],
)
def test_cluster_addresses(value, expected):
    assert to_local_url(value, {"a.b.svc": "127.0.0.1:9", "db.b.svc:5432": "127.0.0.1:8"}) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8080", True),
        ("localhost", True),
        ("[::1]:80", True),
        ("a.b.localhost:80", False),
        ("evil.test", False),
    ],
)
def test_a_host_without_a_name(host, expected):
    assert names_this_machine(host) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/-/services/ns/rollout/mlflow?a=1", (("rollout", "ns"), "/mlflow?a=1")),
        ("/-/services/ns/rollout", (("rollout", "ns"), "/")),
        ("/-/services/ns/rollout?a=1", (("rollout", "ns"), "/?a=1")),
        ("/-/services/ns/rollout/", (("rollout", "ns"), "/")),
        ("/-/services/ns", None),
        ("/-/services//x", None),
        ("/v1/models", None),
    ],
)
def test_a_service_in_the_path(path, expected):
    assert parse_path(path) == expected
