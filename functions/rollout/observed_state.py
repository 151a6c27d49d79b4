"""From the Kubernetes objects to the observed state that decisions use. Pure.

`settled` cannot rest on the InferenceService's status.observedGeneration: KServe copies its Knative Service's there
(PropagateStatus in inference_service_status.go). So the chain is compared link by link: the InferenceService's spec
with the Knative Service's, that one's generation with what it observed, its newest revision's version with the pinned
one, and both statuses with each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.annotations import MODEL_VERSION_ANNOTATION
from functions.rollout.state import ServingState

STORAGE_SCHEME = "mlflow://"

Object = Mapping[str, Any]


def storage_uri(model: str, version: str) -> str:
    return f"{STORAGE_SCHEME}{model}/{version}"


def predictor_status(isvc: Object) -> Mapping[str, Any]:
    """The predictor's part of the status; empty before the controller wrote one."""
    status: Mapping[str, Any] = ((isvc.get("status") or {}).get("components") or {}).get("predictor") or {}
    return status


def observe_serving(
    model: str, isvc: Object, service: Object | None, created: Object | None, stable: Object | None
) -> ServingState:
    """`service` is the InferenceService's Knative Service, `created` its newest and `stable` its rolled out revision.

    None for each that does not exist. A spec whose storageUri and version annotation do not name one version of
    `model` counts as version "": its answers could not be attributed, so it is neither champion nor challenger.
    """
    version, percent = _pinned(model, isvc), isvc["spec"]["predictor"].get("canaryTrafficPercent")
    part = predictor_status(isvc)
    newest, rolled_out = part.get("latestCreatedRevision", ""), part.get("latestRolledoutRevision", "")
    return ServingState(
        version=version,
        percent=percent,
        settled=service is not None and _settled(isvc, service, created, version, percent),
        ready=bool(newest) and part.get("latestReadyRevision", "") == newest,
        rolled_out=bool(newest) and rolled_out == newest,
        stable_version=(_annotated(stable) if stable else "") if rolled_out else None,
        message=_message(isvc, created),
    )


def _pinned(model: str, isvc: Object) -> str:
    predictor = isvc["spec"]["predictor"]
    uri = (predictor.get("model") or {}).get("storageUri") or ""
    version = (predictor.get("annotations") or {}).get(MODEL_VERSION_ANNOTATION, "")
    return version if version and uri == storage_uri(model, version) else ""


def _settled(isvc: Object, service: Object, created: Object | None, version: str, percent: int | None) -> bool:
    part, status = predictor_status(isvc), service.get("status") or {}
    template = service["spec"]["template"].get("metadata") or {}
    wanted = 100 if percent is None or not part.get("latestRolledoutRevision") else percent
    return (
        (template.get("annotations") or {}).get(MODEL_VERSION_ANNOTATION, "") == _version_annotation(isvc)
        and _latest_share(service["spec"].get("traffic") or ()) == wanted
        and status.get("observedGeneration") == service["metadata"].get("generation")
        and part.get("latestCreatedRevision") == status.get("latestCreatedRevisionName")
        and part.get("latestReadyRevision") == status.get("latestReadyRevisionName")
        and (part.get("traffic") or []) == (status.get("traffic") or [])
        # A service reports its old revision until the new one was made.
        and (not version or (created is not None and _annotated(created) == version))
    )


def _latest_share(traffic: Sequence[Mapping[str, Any]]) -> int:
    """The latest revision's share; no traffic targets at all mean 100%."""
    return sum(int(t.get("percent") or 0) for t in traffic if t.get("latestRevision")) if traffic else 100


def _version_annotation(isvc: Object) -> str:
    version: str = (isvc["spec"]["predictor"].get("annotations") or {}).get(MODEL_VERSION_ANNOTATION, "")
    return version


def _annotated(item: Object) -> str:
    version: str = (item["metadata"].get("annotations") or {}).get(MODEL_VERSION_ANNOTATION, "")
    return version


def _message(isvc: Object, created: Object | None) -> str:
    """Why it is not ready, in one line; "" when no condition explains it."""
    for item in (created or {}, isvc):
        for condition in (item.get("status") or {}).get("conditions") or ():
            failing = condition.get("type") == "Ready" and condition.get("status") != "True"
            message = " ".join(str(condition.get("message") or condition.get("reason") or "").split())
            if failing and message:
                return message[:300]
    return ""
