"""An InferenceService's Knative Service: what comes from where."""

from __future__ import annotations

from typing import Any

import pytest
from serving_cases import inference_service

from local.serving.predictor_service import RenderError, render, runtime_of

RUNTIME: dict[str, Any] = {
    "metadata": {"name": "rt", "namespace": "default"},
    "spec": {
        "supportedModelFormats": [{"name": "fmt", "autoSelect": True}],
        "containers": [
            {
                "name": "kserve-container",
                "image": "i",
                "command": ["python"],
                "args": ["--model_name={{.Name}}"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}],
                "readinessProbe": {"httpGet": {"path": "/v2/models/{{.Name}}/ready"}},
            }
        ],
    },
}


def with_model(**model: Any) -> dict[str, Any]:
    item = inference_service("m")
    item["metadata"]["uid"] = "u1"
    item["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "{}"
    item["spec"]["predictor"] = {
        "minReplicas": 0,
        "maxReplicas": 3,
        "scaleTarget": 8,
        "annotations": {"v": "1"},
        "logger": {"mode": "all", "url": "http://b", "metadataAnnotations": ["v"]},
        "model": {"modelFormat": {"name": "fmt"}, "storageUri": "mlflow://m/1", **model},
    }
    return item


def test_an_inference_service_becomes_a_knative_service() -> None:
    made = render(with_model(env=[{"name": "B", "value": "2"}], args=["--more"]), RUNTIME, "")
    assert made["metadata"]["name"] == "m-predictor"
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["--model_name=m", "--more"]
    named = {"name": "INFERENCE_SERVICE_NAME", "value": "m"}
    assert container["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, named]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/models/m/ready"
    internal = "internal.serving.kserve.io/"
    assert made["spec"]["template"]["metadata"]["annotations"] == {
        "serving.kserve.io/enable-tag-routing": "true",
        "v": "1",
        "autoscaling.knative.dev/class": "kpa.autoscaling.knative.dev",
        "autoscaling.knative.dev/min-scale": "0",
        "autoscaling.knative.dev/max-scale": "3",
        "autoscaling.knative.dev/target": "8",
        internal + "logger": "true",
        internal + "logger-mode": "all",
        internal + "logger-sink-url": "http://b",
        internal + "logger-metadata-annotations": "v",
        internal + "storage-initializer-sourceuri": "mlflow://m/1",
    }


def test_labels_and_annotations_of_the_nearest_win() -> None:
    item = with_model()
    item["metadata"]["labels"] = {"team": "isvc", "tier": "isvc"}
    item["metadata"]["annotations"] |= {"v": "isvc", "w": "isvc"}
    item["spec"]["predictor"]["labels"] = {"tier": "predictor"}
    runtime = {**RUNTIME, "spec": {**RUNTIME["spec"], "labels": {"team": "runtime"}, "annotations": {"w": "runtime"}}}
    made = render(item, runtime, "")
    labels = {
        "team": "isvc",
        "tier": "predictor",
        "serving.kserve.io/inferenceservice": "m",
        "component": "predictor",
    }
    assert made["metadata"]["labels"] == made["spec"]["template"]["metadata"]["labels"] == labels
    annotations = made["spec"]["template"]["metadata"]["annotations"]
    assert (annotations["v"], annotations["w"]) == ("1", "isvc")


@pytest.mark.parametrize(
    ("model", "reason"),
    [({"runtime": "other"}, "RuntimeNotRecognized"), ({"modelFormat": {"name": "x"}}, "NoSupportingRuntime")],
)
def test_runtimes_that_do_not_fit(model: Any, reason: Any) -> None:
    with pytest.raises(RenderError) as failed:
        runtime_of(with_model(**model), [RUNTIME])
    assert failed.value.reason == reason
