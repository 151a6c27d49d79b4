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
    """One active webhook of this name that goes to `url` and is signed with `secret`.

    MLflow never gives a secret back, so whether it is still the same cannot be seen: an existing webhook is always
    written anew. Others of the name, left by two starts at once, are deleted: each would deliver every event again.
    """
    wanted: dict[str, Any] = {
        "name": name,
        "url": url,
        "secret": secret,
        "events": [{"entity": entity, "action": action} for entity, action in EVENTS],
        "status": "ACTIVE",
    }
    found = sorted((h for h in webhooks(registry) if h["name"] == name), key=lambda h: int(h["creation_timestamp"]))
    if not found:
        registry.call("POST", "webhooks", **wanted)
        return "created"
    for extra in found[1:]:
        registry.call("DELETE", f"webhooks/{extra['webhook_id']}")
    if registry.call("PATCH", f"webhooks/{found[0]['webhook_id']}", **wanted) is None:
        raise UnavailableError(f"the webhook {name} was deleted meanwhile; run this again")
    return "updated"


def webhooks(registry: ModelRegistry) -> list[dict[str, Any]]:
    """Every webhook of the registry, as MLflow describes it."""
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        query = {"max_results": str(PAGE)} | ({"page_token": token} if token else {})
        answer = registry.call("GET", "webhooks", **query) or {}
        found += answer.get("webhooks") or ()
        token = answer.get("next_page_token") or ""
        if not token:
            return found
