"""The process that stands in for a Revision's pod."""

from __future__ import annotations

import base64
import sys
from typing import Any

import pytest

from local.serving.process_spec import HostEnvironment, Probe, ProcessSpecError, process_spec


def revision(**container: Any) -> dict[str, Any]:
    container = {"image": "dev.local/x:1", "command": ["python", "-m", "thing"], **container}
    labels = {"serving.knative.dev/service": "f"}
    metadata = {"name": "f-00001", "namespace": "default", "labels": labels}
    return {"kind": "Revision", "metadata": metadata, "spec": {"containers": [container]}}


OBJECTS = {
    ("ConfigMap", "loop"): {"data": {"A": "1", "URL": "http://mlflow.ns.svc.cluster.local:5000/x"}},
    ("Secret", "keys"): {"data": {"K": base64.b64encode(b"secret").decode()}},
}


def lookup(kind: str, name: str) -> Any:
    return OBJECTS.get((kind, name))


def test_the_process_of_a_revision() -> None:
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
def test_processes_that_cannot_start(container: Any, message: Any) -> None:
    with pytest.raises(ProcessSpecError, match=message):
        process_spec(revision(**container), lookup, HostEnvironment(), port=1)


def test_images_choose_the_interpreter() -> None:
    machine = HostEnvironment(interpreters={"dev.local/": "/a/python", "dev.local/x": "/b/python"})
    assert process_spec(revision(), lookup, machine, port=1).argv[0] == "/b/python"
