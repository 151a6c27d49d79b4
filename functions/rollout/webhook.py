"""MLflow's registry webhooks: which calls ask for a reconciliation. Pure; the caller brings the clock.

What a webhook says is never believed: a genuine one only means "reconcile". Signature (MLflow's security notes):
`v1,` + base64 of HMAC-SHA256 over `<delivery id>.<timestamp>.<body>`.

Written by hand: MLflow signs (mlflow.webhooks.delivery), but has no check to import.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.event_types import ROLLOUT_REQUESTED, SOURCE_WEBHOOK
from functions.events import BadEventError, Event, parse_json
from functions.sink import digest, loop_event, traceparent

MAX_BYTES = 64 * 1024
CLOCK_SKEW = 60.0
"""Seconds by which MLflow's clock may run ahead of ours."""

TEST_MODEL = "example_model"
"""What MLflow's `test_webhook` sends as the name, whatever the webhook is for."""

ENTITIES = frozenset({"registered_model", "model_version", "model_version_tag", "model_version_alias"})
_DELIVERY = re.compile(r"[\x21-\x7e]{1,64}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The HTTP answer. `reconcile` only for a genuine call about our model: 202 once a reconciliation is requested."""

    status: int
    message: str
    delivery: str = ""
    reconcile: bool = False


def verify(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[str], model: str, max_age: float, now: float
) -> Verdict:
    """The verdict on a POST; header names in any case. Whether it is a replay is for the caller to find out.

    Any of the `secrets` will do: while one is rotated, calls signed with the old one are still on their way.
    """
    values = {name.lower(): value for name, value in headers.items()}
    if len(body) > MAX_BYTES:
        return Verdict(413, f"the body has more than {MAX_BYTES} bytes")
    if not secrets:
        return Verdict(503, "MCQA_WEBHOOK_SECRET is not set, so a forged webhook could not be recognised")
    delivery, timestamp = values.get("x-mlflow-delivery-id", ""), values.get("x-mlflow-timestamp", "")
    if not _DELIVERY.fullmatch(delivery) or not re.fullmatch(r"[0-9]{1,12}", timestamp):
        return Verdict(401, "X-MLflow-Delivery-Id or X-MLflow-Timestamp is missing or malformed")
    signed = f"{delivery}.{timestamp}.".encode() + body
    if not any(_genuine(values.get("x-mlflow-signature", ""), signed, secret) for secret in secrets):
        return Verdict(401, "X-MLflow-Signature is missing or does not match")
    age = now - int(timestamp)
    if age > max_age:
        return Verdict(401, f"the timestamp is {age:.0f} s old, {max_age:.0f} s are allowed")
    if age < -CLOCK_SKEW:
        return Verdict(401, f"the timestamp is {-age:.0f} s in the future")
    return _content(body, model, delivery)


def reconcile_request(delivery: str, now: float) -> Event:
    """The event that requests a reconciliation; the same for a repeated delivery."""
    key = digest(ROLLOUT_REQUESTED, delivery)
    return loop_event(ROLLOUT_REQUESTED, SOURCE_WEBHOOK, key, {"delivery": delivery}, now, traceparent(key))


def signature(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """The header's value as MLflow makes it."""
    signed = _hmac(secret, f"{delivery}.{timestamp}.".encode() + body)
    return f"v1,{base64.b64encode(signed).decode()}"


def _hmac(secret: str, signed: bytes) -> bytes:
    # As the environment gives it: a byte that is not UTF-8 is half of a surrogate pair there.
    return hmac.new(secret.encode("utf-8", "surrogateescape"), signed, hashlib.sha256).digest()


def _genuine(header: str, signed: bytes, secret: str) -> bool:
    version, _, text = header.partition(",")
    try:
        given = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(given, _hmac(secret, signed)) and version == "v1"


def _content(body: bytes, model: str, delivery: str) -> Verdict:
    try:
        data: Any = parse_json(body, "the body")
    except BadEventError as error:
        return Verdict(400, str(error))
    payload = data.get("data") if isinstance(data, dict) else None
    if not isinstance(payload, dict) or not isinstance(name := payload.get("name"), str):
        return Verdict(400, "the body is not an MLflow webhook: data.name is missing or not a string")
    if name == TEST_MODEL != model:
        return Verdict(200, "MLflow's test; nothing to do", delivery)
    if name != model:
        return Verdict(404, f"this function rolls out {model}, the webhook is about {_shown(name)}")
    entity, action = data.get("entity"), data.get("action")
    for what, value in (("entity", entity), ("action", action)):
        if not isinstance(value, str):
            return Verdict(400, f"the body is not an MLflow webhook: {what} must be a string, found {_shown(value)}")
    if entity not in ENTITIES:
        return Verdict(200, f"{_shown(entity)} needs no reconciliation", delivery)
    return Verdict(202, f"{entity} {_shown(action)}", delivery, reconcile=True)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
