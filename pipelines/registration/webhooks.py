"""The registry's webhook to the rollout function."""

from __future__ import annotations

from typing import Any, Literal

from common.errors import UnavailableError
from common.mlflow.registry import ModelRegistry

EVENTS = (
    ("MODEL_VERSION", "CREATED"),
    ("MODEL_VERSION_TAG", "SET"),
    ("MODEL_VERSION_TAG", "DELETED"),
    ("MODEL_VERSION_ALIAS", "CREATED"),
    ("MODEL_VERSION_ALIAS", "DELETED"),
)
PAGE = 100


def ensure(registry: ModelRegistry, name: str, url: str, secret: str) -> Literal["created", "updated"]:
    """Makes sure of one active webhook of this name that calls `url` and signs with `secret`.

    MLflow never returns a secret, so one cannot see whether it is still the same: an existing webhook is always
    rewritten. Others of the name, left by two simultaneous starts, are deleted: each would deliver every event again.
    """
    wanted: dict[str, Any] = {
        "name": name,
        "url": url,
        "secret": secret,
        "events": [{"entity": entity, "action": action} for entity, action in EVENTS],
        "status": "ACTIVE",
    }
    existing = [hook for hook in list_webhooks(registry) if hook["name"] == name]
    existing.sort(key=lambda hook: int(hook["creation_timestamp"]))
    if not existing:
        registry.call("POST", "webhooks", **wanted)
        return "created"
    for extra in existing[1:]:
        registry.call("DELETE", f"webhooks/{extra['webhook_id']}")
    if registry.call("PATCH", f"webhooks/{existing[0]['webhook_id']}", **wanted) is None:
        raise UnavailableError(f"the webhook {name} was deleted in the meantime; run this again")
    return "updated"


def list_webhooks(registry: ModelRegistry) -> list[dict[str, Any]]:
    """Every webhook of the registry, as MLflow describes it."""
    hooks: list[dict[str, Any]] = []
    token = ""
    while True:
        query = {"max_results": str(PAGE)} | ({"page_token": token} if token else {})
        answer = registry.call("GET", "webhooks", **query) or {}
        hooks += answer.get("webhooks") or ()
        token = answer.get("next_page_token") or ""
        if not token:
            return hooks
