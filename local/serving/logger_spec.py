"""Where a revision's payloads are logged, read from KServe's annotations on it."""

from __future__ import annotations

from local.gateway.payload_logger import LoggerSpec
from local.kube.resources import Object
from local.serving.predictor_service import ISVC_LABEL, LOGGER


def logger_spec(revision: Object) -> LoggerSpec | None:
    """A revision's logger as its annotations state it; None if nothing is logged."""
    metadata = revision["metadata"]
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    url = annotations.get(LOGGER + "-sink-url", "")
    if annotations.get(LOGGER) != "true" or not url:
        return None

    def names(field: str) -> list[str]:
        return [name for name in annotations.get(f"{LOGGER}-metadata-{field}", "").split(",") if name]

    return LoggerSpec(
        url=url,
        mode=annotations.get(LOGGER + "-mode", "all"),
        service=labels.get(ISVC_LABEL, ""),
        namespace=metadata["namespace"],
        component=labels.get("component", ""),
        endpoint=labels.get("endpoint", ""),
        headers=tuple(names("headers")),
        annotations={name: annotations[name] for name in names("annotations") if name in annotations},
    )
