"""The real kubectl against the API: the verbs that people and scripts use, and what they print."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("processes")

BROKER = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": "default"}, "spec": {}}


def apply(platform: Any, body: dict, *flags: str, fails: bool = False) -> str:
    return platform.kubectl("apply", *flags, "-f", "-", body=body, fails=fails)


def test_apply_creates_leaves_and_changes(platform: Any, isvc: Any) -> None:
    assert "coding-mcqa created" in apply(platform, isvc)
    assert "coding-mcqa unchanged" in apply(platform, isvc)
    isvc["spec"]["predictor"]["maxReplicas"] = 3
    assert "coding-mcqa configured" in apply(platform, isvc)
    del isvc["spec"]["predictor"]["maxReplicas"]
    apply(platform, isvc)
    stored = json.loads(platform.kubectl("get", "isvc", "coding-mcqa", "-o", "json"))
    assert stored["spec"] == isvc["spec"]
    assert stored["metadata"]["generation"] == 3


def test_the_table_has_the_crds_columns(platform: Any, isvc: Any, ready_status: Any) -> None:
    apply(platform, isvc)
    patch = json.dumps({"status": ready_status})
    platform.kubectl("patch", "isvc", "coding-mcqa", "--subresource=status", "--type=merge", "-p", patch)
    head, row = platform.kubectl("get", "isvc").splitlines()
    assert head.split() == [
        "NAME",
        "URL",
        "READY",
        "PREV",
        "LATEST",
        "PREVROLLEDOUTREVISION",
        "LATESTREADYREVISION",
        "AGE",
    ]
    assert row.split()[:-1] == [
        "coding-mcqa",
        "http://coding-mcqa.default.localhost",
        "True",
        "90",
        "10",
        "coding-mcqa-predictor-00001",
        "coding-mcqa-predictor-00002",
    ]
    assert row.split()[-1].endswith("s")


def test_wide_tables_show_more(platform: Any) -> None:
    apply(platform, BROKER)
    assert platform.kubectl("get", "broker").split()[:5] == ["NAME", "URL", "AGE", "READY", "REASON"]
    assert "MTChannelBasedBroker" in platform.kubectl("get", "broker", "-o", "wide")


def test_output_forms(platform: Any, isvc: Any) -> None:
    apply(platform, isvc)
    uri = platform.kubectl("get", "isvc", "coding-mcqa", "-o", "jsonpath={.spec.predictor.model.storageUri}")
    assert uri == "mlflow://coding-mcqa/1"
    assert platform.kubectl("get", "isvc", "-o", "name").strip() == "inferenceservice.serving.kserve.io/coding-mcqa"
    text = platform.kubectl("get", "isvc", "coding-mcqa", "-o", "yaml")
    assert "storageUri: mlflow://coding-mcqa/1" in text
    assert "managedFields" not in text
    assert "Storage Uri:  mlflow://coding-mcqa/1" in platform.kubectl("describe", "isvc", "coding-mcqa")


def test_describe_shows_events(platform: Any, isvc: Any) -> None:
    apply(platform, isvc)
    uid = platform.kubectl("get", "isvc", "coding-mcqa", "-o", "jsonpath={.metadata.uid}")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "coding-mcqa."},
        "involvedObject": {"kind": "InferenceService", "name": "coding-mcqa", "namespace": "default", "uid": uid},
        "reason": "InferenceServiceReady",
        "message": "it answers",
        "type": "Normal",
        "count": 1,
    }
    platform.kubectl("create", "-f", "-", body=event)
    assert "InferenceServiceReady" in platform.kubectl("describe", "isvc", "coding-mcqa")
    assert "inferenceservice/coding-mcqa" in platform.kubectl("get", "events")


def test_patches(platform: Any, isvc: Any) -> None:
    apply(platform, isvc)
    canary = '{"spec":{"predictor":{"canaryTrafficPercent":10}}}'
    assert "patched" in platform.kubectl("patch", "isvc", "coding-mcqa", "--type=merge", "-p", canary)
    assert "no change" in platform.kubectl("patch", "isvc", "coding-mcqa", "--type=merge", "-p", canary)
    gone = '[{"op":"remove","path":"/spec/predictor/canaryTrafficPercent"}]'
    platform.kubectl("patch", "isvc", "coding-mcqa", "--type=json", "-p", gone)
    stored = json.loads(platform.kubectl("get", "isvc", "coding-mcqa", "-o", "json"))
    assert "canaryTrafficPercent" not in stored["spec"]["predictor"]
    assert stored["metadata"]["generation"] == 3
    assert "application/merge-patch+json" in platform.kubectl("patch", "isvc", "coding-mcqa", "-p", canary, fails=True)
    assert "BadRequest" in platform.kubectl(
        "patch", "isvc", "coding-mcqa", "--type=merge", "-p", canary.replace("10", "110"), fails=True
    )


def test_a_misspelt_field_is_refused_by_default(platform: Any, isvc: Any) -> None:
    isvc["spec"]["predictor"]["minReplica"] = 1
    assert 'unknown field "spec.predictor.minReplica"' in apply(platform, isvc, fails=True)
    assert 'Warning: unknown field "spec.predictor.minReplica"' in apply(platform, isvc, "--validate=warn")
    stored = json.loads(platform.kubectl("get", "isvc", "coding-mcqa", "-o", "json"))
    assert "minReplica" not in stored["spec"]["predictor"]


def test_server_side_apply_and_its_conflicts(platform: Any, isvc: Any) -> None:
    apply(platform, isvc, "--server-side")
    isvc["spec"]["predictor"]["model"]["storageUri"] = "mlflow://coding-mcqa/2"
    text = apply(platform, isvc, "--server-side", "--field-manager=rollout", fails=True)
    assert 'conflict with "kubectl": .spec.predictor.model.storageUri' in text
    apply(platform, isvc, "--server-side", "--field-manager=rollout", "--force-conflicts")
    uri = platform.kubectl("get", "isvc", "coding-mcqa", "-o", "jsonpath={.spec.predictor.model.storageUri}")
    assert uri == "mlflow://coding-mcqa/2"


def test_an_object_moves_from_client_side_to_server_side_apply(platform: Any, isvc: Any) -> None:
    apply(platform, isvc)
    isvc["spec"]["predictor"]["maxReplicas"] = 3
    apply(platform, isvc, "--server-side")
    isvc["spec"]["predictor"]["maxReplicas"] = 4
    apply(platform, isvc, "--server-side")
    replicas = platform.kubectl("get", "isvc", "coding-mcqa", "-o", "jsonpath={.spec.predictor.maxReplicas}")
    assert replicas == "4"


def test_dry_run_and_diff_change_nothing(platform: Any, isvc: Any) -> None:
    apply(platform, isvc)
    before = platform.kubectl("get", "isvc", "-o", "yaml")
    isvc["spec"]["predictor"]["maxReplicas"] = 7
    assert "(server dry run)" in apply(platform, isvc, "--dry-run=server")
    diff = platform.kubectl("diff", "-f", "-", body=isvc, fails=True)
    added = [line for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert [line.split()[1] for line in added] == ["generation:", "maxReplicas:"]
    assert platform.kubectl("get", "isvc", "-o", "yaml") == before


def test_core_kinds_merge_strategically(platform: Any) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}}
    apply(platform, config)
    config["data"] = {"a": "1", "c": "3"}
    apply(platform, config)
    platform.kubectl("patch", "cm", "c", "-p", '{"data":{"d":"4"}}')
    assert json.loads(platform.kubectl("get", "cm", "c", "-o", "jsonpath={.data}")) == {"a": "1", "c": "3", "d": "4"}


def test_create_by_command(platform: Any) -> None:
    platform.kubectl("create", "secret", "generic", "loop", "--from-literal=password=söcret")
    assert platform.kubectl("get", "secret", "loop", "-o", "jsonpath={.data}") == '{"password":"c8O2Y3JldA=="}'
    platform.kubectl("create", "configmap", "settings", "--from-literal=a=b")
    assert platform.kubectl("get", "cm", "settings", "-o", "jsonpath={.data}") == '{"a":"b"}'
    platform.kubectl("label", "cm", "settings", "stage=canary")
    assert "settings" in platform.kubectl("get", "cm", "-l", "stage in (canary,champion)")
    assert "No resources" in platform.kubectl("get", "cm", "-l", "stage!=canary,!stage")
    assert "settings" in platform.kubectl("get", "cm", "--field-selector", "metadata.name=settings")


def test_watch_and_wait(platform: Any, isvc: Any, ready_status: Any) -> None:
    apply(platform, isvc)
    waiting = platform.background("wait", "--for=condition=Ready", "isvc/coding-mcqa", "--timeout=30s")
    watching = platform.background("get", "isvc", "--watch-only", "-o", "name")
    patch = json.dumps({"status": ready_status})
    platform.kubectl("patch", "isvc", "coding-mcqa", "--subresource=status", "--type=merge", "-p", patch)
    output, _ = waiting.communicate(timeout=40)
    assert "condition met" in output
    platform.kubectl("label", "isvc", "coding-mcqa", "seen=yes")
    assert watching.stdout.readline().strip() == "inferenceservice.serving.kserve.io/coding-mcqa"
    watching.terminate()
    watching.wait(10)
    watching.stdout.close()


def test_delete(platform: Any, isvc: Any) -> None:
    apply(platform, isvc)
    assert "deleted" in platform.kubectl("delete", "isvc", "coding-mcqa")
    text = platform.kubectl("get", "isvc", "coding-mcqa", fails=True)
    assert text.strip() == ('Error from server (NotFound): inferenceservices.serving.kserve.io "coding-mcqa" not found')


def test_a_namespace_goes_with_what_is_in_it(platform: Any) -> None:
    platform.kubectl("create", "namespace", "other")
    apply(platform, BROKER, "-n", "other")
    platform.kubectl("delete", "namespace", "other")
    assert "No resources found" in platform.kubectl("get", "brokers", "-A")
    assert 'namespaces "other" not found' in apply(platform, BROKER, "-n", "other", fails=True)
    assert "may not be deleted" in platform.kubectl("delete", "namespace", "default", fails=True)


def test_discovery(platform: Any) -> None:
    lines = {line.split()[0]: line for line in platform.kubectl("api-resources").splitlines()}
    assert lines["inferenceservices"].split()[1:] == ["isvc", "serving.kserve.io/v1beta1", "true", "InferenceService"]
    assert lines["namespaces"].split()[-2] == "false"
    assert "serving.knative.dev/v1" in platform.kubectl("api-versions")
    assert "Server Version: v1.32" in platform.kubectl("version")
    assert "canaryTrafficPercent\t<integer>" in platform.kubectl("explain", "isvc.spec.predictor")


def test_one_name_in_two_groups(platform: Any) -> None:
    service = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "collect"}}
    service["spec"] = {"template": {"spec": {"containers": [{"image": "x"}]}}}
    apply(platform, service)
    assert "collect" in platform.kubectl("get", "ksvc")
    assert "No resources" in platform.kubectl("get", "services")


def test_an_unknown_token_is_refused(platform: Any) -> None:
    text = platform.kubectl("get", "isvc", "--token=guess", fails=True)
    assert "You must be logged in" in text
