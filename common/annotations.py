"""Keys of annotations that code and manifests share."""

from __future__ import annotations

MODEL_VERSION_ANNOTATION = "coding-mcqa/model-version"
"""Of the predictor's pod template: KServe's payload logger copies it into every event, so that each request and each
response, and a request without any, can be attributed to a version."""
