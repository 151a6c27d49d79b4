"""The InferenceService through the Kubernetes API: reading it, and changing version and share in one patch.

Needs `get` on inferenceservices, Knative services and revisions, and `patch` on inferenceservices.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from lightkube import ApiError, Client
from lightkube.core.exceptions import ConfigError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.types import PatchType

from common.annotations import MODEL_VERSION_ANNOTATION
from common.errors import UnavailableError
from functions.rollout.actions import SetPercent, SetSpec
from functions.rollout.observed_state import observe_serving, predictor_status, storage_uri
from functions.rollout.state import ServingState

TIMEOUT = httpx2.Timeout(10.0, connect=3.0)

_INFERENCE_SERVICE: Any = create_namespaced_resource(
    "serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices"
)
_SERVICE: Any = create_namespaced_resource("serving.knative.dev", "v1", "Service", "services")
_REVISION: Any = create_namespaced_resource("serving.knative.dev", "v1", "Revision", "revisions")


class ConflictError(Exception):
    """Somebody else changed the InferenceService since it was read."""


@dataclass(frozen=True, slots=True)
class ObservedInferenceService:
    """`generation` is different for every spec that the InferenceService ever had ("" when there is none)."""

    serving: ServingState | None
    generation: str = ""
    resource_version: str = ""


class InferenceServiceClient:
    """One InferenceService. Every method raises UnavailableError when the API is unavailable or refuses."""

    def __init__(self, namespace: str, service: str, model: str) -> None:
        self._namespace, self._name, self._model = namespace, service, model
        self._client: Client | None = None

    def observe(self) -> ObservedInferenceService:
        """The InferenceService with what its controllers report of it."""
        isvc = self._get(_INFERENCE_SERVICE, self._name)
        if isvc is None:
            return ObservedInferenceService(None)
        part = predictor_status(isvc)
        newest, rolled_out = part.get("latestCreatedRevision"), part.get("latestRolledoutRevision")
        service = self._get(_SERVICE, f"{self._name}-predictor")
        created = self._get(_REVISION, newest) if newest else None
        stable = created if rolled_out == newest else self._get(_REVISION, rolled_out) if rolled_out else None
        metadata = isvc["metadata"]
        return ObservedInferenceService(
            observe_serving(self._model, isvc, service, created, stable),
            f"{metadata['uid']}/{metadata.get('generation', 1)}",
            metadata["resourceVersion"],
        )

    def patch(self, action: SetSpec | SetPercent, resource_version: str) -> None:
        """One merge patch of what was read at `resource_version`. ConflictError when it was changed since."""
        predictor: dict[str, Any] = {"canaryTrafficPercent": action.percent}  # None goes out as null: removed
        if isinstance(action, SetSpec):
            predictor |= {
                "annotations": {MODEL_VERSION_ANNOTATION: action.version},
                "model": {"storageUri": storage_uri(self._model, action.version)},
            }
        patch = {"metadata": {"resourceVersion": resource_version}, "spec": {"predictor": predictor}}
        with self._api() as client:
            client.patch(_INFERENCE_SERVICE, self._name, patch, namespace=self._namespace, patch_type=PatchType.MERGE)

    def _get(self, kind: Any, name: str) -> dict[str, Any] | None:
        with self._api() as client:
            try:
                return dict(client.get(kind, name, namespace=self._namespace))
            except ApiError as error:
                if error.status.code == 404:
                    return None
                raise

    @contextmanager
    def _api(self) -> Iterator[Client]:
        try:
            if self._client is None:
                self._client = Client(timeout=TIMEOUT, field_manager="rollout")
            yield self._client
        except ApiError as error:
            if error.status.code == 409:
                raise ConflictError(str(error)) from None
            self._client = None  # a token may have been renewed
            raise UnavailableError(f"the Kubernetes API refuses: {error.status.code} {error}"[:300]) from None
        except (httpx2.HTTPError, ConfigError, OSError) as error:
            self._client = None
            text = str(error) or type(error).__name__
            raise UnavailableError(f"the Kubernetes API is not available: {text}"[:300]) from None
