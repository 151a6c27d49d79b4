"""Where a revision's payloads are logged: KServe's annotations on it."""

from __future__ import annotations

from local.gateway.payloads import LogTarget
from local.kube.resources import Object
from local.serving.predictors import ISVC_LABEL, LOGGER


def log_target(revision: Object) -> LogTarget | None:
    """What a revision's annotations want logged, None for nothing."""
    metadata = revision["metadata"]
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    url = annotations.get(LOGGER + "-sink-url", "")
    if annotations.get(LOGGER) != "true" or not url:
        return None

    def names(field: str) -> list[str]:
        return [name for name in annotations.get(f"{LOGGER}-metadata-{field}", "").split(",") if name]

    return LogTarget(
        url=url,
        mode=annotations.get(LOGGER + "-mode", "all"),
        service=labels.get(ISVC_LABEL, ""),
        namespace=metadata["namespace"],
        component=labels.get("component", ""),
        endpoint=labels.get("endpoint", ""),
        headers=tuple(names("headers")),
        annotations={name: annotations[name] for name in names("annotations") if name in annotations},
    )
