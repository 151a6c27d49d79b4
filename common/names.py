"""Names that code, manifests and servers share: each is written here, and tests hold the YAML to it."""

from __future__ import annotations

MODEL = "coding-mcqa"
"""The registered model in MLflow, unless MCQA_REGISTERED_MODEL says otherwise."""

INFERENCE_SERVICE = "coding-mcqa"
"""The InferenceService, and the name of the model in URLs and requests."""

NAMESPACE = "coding-mcqa"
"""The Kubernetes namespace of everything."""

PIPELINE = "coding-mcqa-retraining"
"""The retraining pipeline at Kubeflow Pipelines."""

EXPERIMENT = "coding-mcqa"
"""The experiment in MLflow and in Kubeflow Pipelines that holds the retraining runs."""

CHAMPION, CHALLENGER, PREVIOUS_CHAMPION = "champion", "challenger", "previous_champion"
"""The registry's aliases: what serves, what is to replace it, and what served before. Only rollout moves the first
and the last."""
