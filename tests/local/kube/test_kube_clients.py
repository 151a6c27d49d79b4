"""KServeClient and the kubernetes client against the API, watches included."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("processes")

pytest.importorskip("kserve", reason="the KServe SDK is not installed")

GROUP, VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"


@pytest.fixture
def custom(platform: Any) -> Iterator[Any]:
    """The kubernetes client's CustomObjectsApi."""
    from kubernetes import client, config

    with config.new_client_from_config(str(platform.kubeconfig)) as api:
        yield client.CustomObjectsApi(api)


@pytest.fixture
def core(platform: Any) -> Iterator[Any]:
    from kubernetes import client, config

    with config.new_client_from_config(str(platform.kubeconfig)) as api:
        yield client.CoreV1Api(api)


def service(uri: str = "mlflow://coding-mcqa/1", **predictor: Any) -> Any:
    from kserve import V1beta1InferenceService, V1beta1InferenceServiceSpec, V1beta1ModelFormat, V1beta1ModelSpec
    from kserve import V1beta1PredictorSpec as PredictorSpec
    from kubernetes.client import V1ObjectMeta

    model = V1beta1ModelSpec(model_format=V1beta1ModelFormat(name="coding-mcqa"), storage_uri=uri)
    return V1beta1InferenceService(
        api_version=f"{GROUP}/{VERSION}",
        kind="InferenceService",
        metadata=V1ObjectMeta(name="coding-mcqa", namespace="default"),
        spec=V1beta1InferenceServiceSpec(predictor=PredictorSpec(model=model, **predictor)),
    )


def test_kserve_client(platform: Any, custom: Any, ready_status: Any) -> None:
    from kserve import KServeClient

    kserve = KServeClient(config_file=str(platform.kubeconfig))
    created = kserve.create(service(min_replicas=0))
    assert created["metadata"]["generation"] == 1
    assert kserve.get("coding-mcqa", namespace="default")["spec"] == created["spec"]
    assert len(kserve.get(namespace="default")["items"]) == 1

    patched = kserve.patch("coding-mcqa", service("mlflow://coding-mcqa/2", canary_traffic_percent=10))
    assert patched["spec"]["predictor"]["canaryTrafficPercent"] == 10
    assert patched["spec"]["predictor"]["minReplicas"] == 0

    replaced = kserve.replace("coding-mcqa", service("mlflow://coding-mcqa/2"))
    assert "canaryTrafficPercent" not in replaced["spec"]["predictor"]
    assert replaced["metadata"]["generation"] == 3

    status = {**replaced, "status": {**ready_status, "observedGeneration": 3}}
    custom.replace_namespaced_custom_object_status(GROUP, VERSION, "default", PLURAL, "coding-mcqa", status)
    assert kserve.is_isvc_ready("coding-mcqa", namespace="default")
    kserve.wait_isvc_ready("coding-mcqa", namespace="default", watch=True, timeout_seconds=10)

    assert kserve.delete("coding-mcqa", namespace="default")["status"] == "Success"
    with pytest.raises(RuntimeError, match="not found"):
        kserve.get("coding-mcqa", namespace="default")


def test_a_stale_replace_is_a_conflict(custom: Any, isvc: Any) -> None:
    from kubernetes.client.rest import ApiException

    created = custom.create_namespaced_custom_object(GROUP, VERSION, "default", PLURAL, isvc)
    created["spec"]["predictor"]["maxReplicas"] = 2
    custom.replace_namespaced_custom_object(GROUP, VERSION, "default", PLURAL, "coding-mcqa", created)
    with pytest.raises(ApiException) as caught:
        custom.replace_namespaced_custom_object(GROUP, VERSION, "default", PLURAL, "coding-mcqa", created)
    assert (caught.value.status, "Conflict" in caught.value.body) == (409, True)


def test_a_merge_patch_with_null_removes(custom: Any, isvc: Any) -> None:
    isvc["spec"]["predictor"]["canaryTrafficPercent"] = 10
    custom.create_namespaced_custom_object(GROUP, VERSION, "default", PLURAL, isvc)
    patch = {"spec": {"predictor": {"canaryTrafficPercent": None}}}
    patched = custom.patch_namespaced_custom_object(GROUP, VERSION, "default", PLURAL, "coding-mcqa", patch)
    assert "canaryTrafficPercent" not in patched["spec"]["predictor"]


def test_watch_sees_every_change_once_and_in_order(custom: Any, isvc: Any) -> None:
    from kubernetes.watch import Watch

    seen: list[tuple[str, Any]] = []
    ready = threading.Event()
    listed = custom.list_namespaced_custom_object(GROUP, VERSION, "default", PLURAL)

    def read() -> None:
        stream = Watch().stream(
            custom.list_namespaced_custom_object,
            GROUP,
            VERSION,
            "default",
            PLURAL,
            resource_version=listed["metadata"]["resourceVersion"],
            timeout_seconds=30,
        )
        ready.set()
        for event in stream:
            seen.append((event["type"], event["object"]["spec"]["predictor"].get("maxReplicas")))
            if event["type"] == "DELETED":
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    ready.wait(10)
    custom.create_namespaced_custom_object(GROUP, VERSION, "default", PLURAL, isvc)
    for replicas in range(1, 6):
        patch = {"spec": {"predictor": {"maxReplicas": replicas}}}
        custom.patch_namespaced_custom_object(GROUP, VERSION, "default", PLURAL, "coding-mcqa", patch)
    custom.delete_namespaced_custom_object(GROUP, VERSION, "default", PLURAL, "coding-mcqa")
    reader.join(20)
    assert seen == [("ADDED", None), *(("MODIFIED", n) for n in range(1, 6)), ("DELETED", 5)]


def test_watch_without_a_version_begins_with_what_is_there(core: Any) -> None:
    from kubernetes.watch import Watch

    core.create_namespaced_config_map("default", {"metadata": {"name": "there"}, "data": {"a": "b"}})
    events = Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=1)
    assert [(event["type"], event["object"].metadata.name) for event in events] == [("ADDED", "there")]


def test_typed_core_objects(core: Any) -> None:
    core.create_namespaced_secret("default", {"metadata": {"name": "loop"}, "stringData": {"a": "b"}})
    assert core.read_namespaced_secret("loop", "default").data == {"a": "Yg=="}
    core.patch_namespaced_secret("loop", "default", {"stringData": {"c": "d"}})
    assert core.read_namespaced_secret("loop", "default").data == {"a": "Yg==", "c": "ZA=="}
    assert [item.metadata.name for item in core.list_namespace().items] == ["default", "kube-system"]
    assert core.delete_namespaced_secret("loop", "default").status == "Success"


def test_the_dynamic_client_discovers(platform: Any, isvc: Any) -> None:
    from kubernetes import config, dynamic

    with config.new_client_from_config(str(platform.kubeconfig)) as api:
        resource = dynamic.DynamicClient(api).resources.get(
            api_version="serving.kserve.io/v1beta1", kind="InferenceService"
        )
        resource.create(body=isvc, namespace="default")
        assert [item.metadata.name for item in resource.get(namespace="default").items] == ["coding-mcqa"]
