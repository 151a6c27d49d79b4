"""An InferenceService's Knative Service, as KServe's controller renders it from the ServingRuntime. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from local.kube.resources import Object
from local.serving.hosts import PREDICTOR
from local.serving.revisions import owner
from local.serving.traffic import TAG_ROUTING, canary_traffic

INTERNAL = "internal.serving.kserve.io/"
SOURCE_URI = INTERNAL + "storage-initializer-sourceuri"
LOGGER = INTERNAL + "logger"
ISVC_LABEL = "serving.kserve.io/inferenceservice"
MODEL_DIR = "/mnt/models"
CONTAINER = "kserve-container"
# Annotations of an InferenceService that are not copied into the revision template.
_NOT_COPIED = ("kubectl.kubernetes.io/", "autoscaling.knative.dev/min-scale", "autoscaling.knative.dev/max-scale")
_MODEL_ONLY = {"modelFormat", "runtime", "runtimeVersion", "protocolVersion", "storageUri", "storage"}
_POD_ONLY = ("serviceAccountName", "nodeSelector", "tolerations", "affinity", "imagePullSecrets", "volumes")


class RenderError(ValueError):
    """The InferenceService cannot be deployed; `reason` is KServe's reason code."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def runtime_of(isvc: Object, runtimes: Sequence[Object]) -> Object | None:
    """The ServingRuntime of its model, None if it has its own container. `runtimes` lists namespaced ones first.

    RenderError if KServe would report NoSupportingRuntime or RuntimeNotRecognized.
    """
    model = isvc["spec"]["predictor"].get("model")
    return None if model is None else _runtime(model, runtimes)


def render(isvc: Object, runtime: Object | None, rolled_out: str) -> Object:
    """The predictor's Knative Service; RenderError for an invalid template."""
    metadata, predictor = isvc["metadata"], isvc["spec"]["predictor"]
    annotations = metadata.get("annotations") or {}
    pod, extra = _pod(isvc, runtime)
    # The predictor's annotations override the InferenceService's, and those override the runtime's.
    template_annotations = {
        name: value
        for name, value in {**extra["annotations"], **annotations, **(predictor.get("annotations") or {})}.items()
        if not name.startswith(_NOT_COPIED)
    }
    template_annotations |= {**_scaling(predictor), **_logging(predictor.get("logger"))}
    if uri := (predictor.get("model") or {}).get("storageUri"):
        template_annotations[SOURCE_URI] = uri
    labels = {
        **extra["labels"],
        **(metadata.get("labels") or {}),
        **(predictor.get("labels") or {}),
        ISVC_LABEL: metadata["name"],
        "component": "predictor",
    }
    for name, field in (("containerConcurrency", "containerConcurrency"), ("timeoutSeconds", "timeout")):
        if predictor.get(field) is not None:
            pod[name] = predictor[field]
    percent = predictor.get("canaryTrafficPercent")
    tag_routing = annotations.get(TAG_ROUTING) == "true"
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {
            "name": metadata["name"] + PREDICTOR,
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [owner(isvc)],
        },
        "spec": {
            "template": {"metadata": {"annotations": template_annotations, "labels": labels}, "spec": pod},
            "traffic": canary_traffic(percent, rolled_out, tag_routing=tag_routing),
        },
    }


def _pod(isvc: Object, runtime: Object | None) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    predictor, name = isvc["spec"]["predictor"], isvc["metadata"]["name"]
    if runtime is None:
        containers = copy.deepcopy(predictor.get("containers") or [])
        if not containers:
            raise RenderError(
                "InvalidPredictorSpec", f"InferenceService {name}: neither predictor.model nor containers"
            )
        return _named([_filled(containers[0], name), *containers[1:]], name), {"annotations": {}, "labels": {}}
    model, spec = predictor["model"], runtime["spec"]
    containers = [copy.deepcopy(item) for item in spec["containers"] if item.get("name") == CONTAINER]
    if not containers:
        raise RenderError("InvalidServingRuntime", f"the ServingRuntime has no container named {CONTAINER}")
    own = {field: value for field, value in model.items() if field not in _MODEL_ONLY and field != "name"}
    container = _filled(_merged(containers[0], own), name)
    pod = _named([container], name)
    pod |= {field: spec[field] for field in _POD_ONLY if spec.get(field)}
    pod |= {field: predictor[field] for field in _POD_ONLY if predictor.get(field)}
    return pod, {"annotations": spec.get("annotations") or {}, "labels": spec.get("labels") or {}}


def _named(containers: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The pod, with the InferenceService's name in each container's environment."""
    variable = {"name": "INFERENCE_SERVICE_NAME", "value": name}
    for container in containers:
        others = [item for item in container.get("env") or () if item["name"] != variable["name"]]
        container["env"] = [*others, variable]
    return {"containers": containers}


def _runtime(model: Mapping[str, Any], runtimes: Sequence[Object]) -> Object:
    requested, known = model.get("runtime"), [item for item in runtimes if not (item["spec"].get("disabled"))]
    if requested:
        for item in known:
            if item["metadata"]["name"] == requested:
                return item
        names = ", ".join(sorted(item["metadata"]["name"] for item in known)) or "none"
        raise RenderError("RuntimeNotRecognized", f"there is no ServingRuntime {requested}; found {names}")
    fmt = model["modelFormat"]
    for item in known:
        for supported in item["spec"].get("supportedModelFormats") or ():
            same = supported["name"] == fmt["name"] and fmt.get("version") in (None, supported.get("version"))
            if same and supported.get("autoSelect"):
                return item
    raise RenderError("NoSupportingRuntime", f"no ServingRuntime supports modelFormat {fmt['name']} with autoSelect")


def _merged(base: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A runtime's container merged with the model's fields: env by name, args appended, the rest replaced."""
    merged = dict(base)
    for field, value in own.items():
        if field == "env":
            names = {item["name"] for item in value}
            merged["env"] = [item for item in base.get("env", ()) if item["name"] not in names] + list(value)
        elif field == "args":
            merged["args"] = [*base.get("args", ()), *value]
        elif isinstance(value, dict) and isinstance(base.get(field), dict):
            merged[field] = {**base[field], **value}
        else:
            merged[field] = value
    return merged


def _filled(value: Any, name: str) -> Any:
    """Fills in the runtime's placeholders, in every string."""
    if isinstance(value, str):
        return value.replace("{{.Name}}", name).replace("{{ .Name }}", name)
    if isinstance(value, dict):
        return {key: _filled(inner, name) for key, inner in value.items()}
    return [_filled(inner, name) for inner in value] if isinstance(value, list) else value


def _scaling(predictor: Mapping[str, Any]) -> dict[str, str]:
    annotations = {"autoscaling.knative.dev/class": "kpa.autoscaling.knative.dev"}
    annotations["autoscaling.knative.dev/min-scale"] = str(predictor.get("minReplicas", 1))
    if predictor.get("maxReplicas"):
        annotations["autoscaling.knative.dev/max-scale"] = str(predictor["maxReplicas"])
    if predictor.get("scaleTarget"):
        annotations["autoscaling.knative.dev/target"] = str(predictor["scaleTarget"])
    if predictor.get("scaleMetric"):
        annotations["autoscaling.knative.dev/metric"] = predictor["scaleMetric"]
    return annotations


def _logging(logger: Mapping[str, Any] | None) -> dict[str, str]:
    if not logger:
        return {}
    annotations = {LOGGER: "true", LOGGER + "-mode": logger.get("mode") or "all"}
    if logger.get("url"):
        annotations[LOGGER + "-sink-url"] = logger["url"]
    for field, name in (("metadataHeaders", "-metadata-headers"), ("metadataAnnotations", "-metadata-annotations")):
        if logger.get(field):
            annotations[LOGGER + name] = ",".join(logger[field])
    return annotations
