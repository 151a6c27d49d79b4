"""Validating admission: what the clusters' webhooks refuse, and the values that they let through and choke on later.

The messages are in the webhooks' form (knative/serving and knative/eventing `*_validation.go`, kserve
`inference_service_validation.go`). `canaryTrafficPercent` outside 0..100 and MLflow's `models:`
URIs pass a cluster's admission; they are refused here because they can only fail later. A PingSource's `@every`, which
a cluster refuses, is accepted: `mcqa demo` and `mcqa up --schedule` fire every few seconds.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from local.broker.durations import parse_duration
from local.broker.errors import FieldError
from local.broker.filters import parse_filters
from local.kube import cron
from local.kube.errors import denied
from local.kube.resources import Object, Resource

Validator = Callable[[Object, Object | None], Iterator[str]]
_LABEL_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def validate(resource: Resource, item: Object, old: Object | None) -> None:
    """Raises StatusError 400 for an object that is not valid; `old` is what it replaces."""
    registered = _VALIDATORS.get((resource.group, resource.kind))
    if registered is None:
        return
    webhook, validate = registered
    problems = list(validate(item, old))
    if problems:
        raise denied(webhook, "; ".join(problems))


def _inference_service(item: Object, _old: Object | None) -> Iterator[str]:
    name = item["metadata"]["name"]
    if not _LABEL_NAME.fullmatch(name) or len(name) > 63:
        yield f'the InferenceService "{name}" is invalid: a name starts with a letter: a-z, 0-9 and -, at most 63'
    spec = item.get("spec") or {}
    for component in ("predictor", "transformer", "explainer"):
        part = spec.get(component) or {}
        where = f"spec.{component}"
        percent = part.get("canaryTrafficPercent")
        if percent is not None and not 0 <= percent <= 100:
            yield f"{where}.canaryTrafficPercent must be between 0 and 100, found {percent}"
        low, high = part.get("minReplicas"), part.get("maxReplicas")
        if low is not None and low < 0:
            yield f"{where}.minReplicas cannot be less than 0, found {low}"
        if high is not None and high < 0:
            yield f"{where}.maxReplicas cannot be less than 0, found {high}"
        if low and high and low > high:
            yield f"{where}.minReplicas {low} cannot be greater than maxReplicas {high}"
        if (part.get("containerConcurrency") or 0) < 0:
            yield f"{where}.containerConcurrency cannot be less than 0"
        metric = part.get("scaleMetric")
        if metric not in (None, "cpu", "memory", "concurrency", "rps"):
            yield f"{where}.scaleMetric must be one of cpu, memory, concurrency, rps, found {metric}"
        mode = (part.get("logger") or {}).get("mode")
        if mode not in (None, "all", "request", "response"):
            yield f"{where}.logger.mode must be one of all, request, response, found {mode}"
        uri = (part.get("model") or {}).get("storageUri") or ""
        if re.match(r"models:", uri):
            yield f"{where}.model.storageUri {uri}: an alias moves: pin a version as mlflow://name/7"


def _knative_service(item: Object, old: Object | None) -> Iterator[str]:
    spec = item.get("spec") or {}
    yield from _template(item, old)
    yield from _traffic(spec)


def _template(item: Object, old: Object | None) -> Iterator[str]:
    template = (item.get("spec") or {}).get("template") or {}
    yield from _containers(template.get("spec") or {}, "spec.template.spec")
    yield from _autoscaling((template.get("metadata") or {}).get("annotations") or {})
    revision = (template.get("metadata") or {}).get("name")
    name = item["metadata"]["name"]
    if not revision:
        return
    if not revision.startswith(f"{name}-"):
        yield (
            f'validation failed: invalid value: {revision}: spec.template.metadata.name\n"{revision}" must have '
            f'prefix "{name}-"'
        )
    before = (old or {}).get("spec", {}).get("template") or {}
    if (before.get("metadata") or {}).get("name") == revision and before != template:
        yield (
            "validation failed: Saw the following changes without a name change: spec.template.metadata.name; "
            f"name the new revision other than {revision}"
        )


def _containers(pod: dict[str, Any], where: str) -> Iterator[str]:
    containers = pod.get("containers") or []
    if not containers:
        yield f"validation failed: missing field(s): {where}.containers"
    for index, container in enumerate(containers):
        if not container.get("image"):
            yield f"validation failed: missing field(s): {where}.containers[{index}].image"
    concurrency = pod.get("containerConcurrency")
    if concurrency is not None and not 0 <= concurrency <= 1000:
        yield f"validation failed: expected 0 <= {concurrency} <= 1000: {where}.containerConcurrency"


def _autoscaling(annotations: dict[str, str]) -> Iterator[str]:
    bounds: dict[str, int] = {}
    for side in ("min-scale", "max-scale"):
        text = annotations.get(f"autoscaling.knative.dev/{side}")
        if text is None:
            continue
        if not text.isdecimal():
            yield f"validation failed: invalid value: {text}: autoscaling.knative.dev/{side}"
        else:
            bounds[side] = int(text)
    if bounds.get("max-scale") and bounds.get("min-scale", 0) > bounds["max-scale"]:
        yield (
            f"validation failed: max-scale={bounds['max-scale']} is less than min-scale={bounds['min-scale']}: "
            "autoscaling.knative.dev/max-scale, autoscaling.knative.dev/min-scale"
        )


def _traffic(spec: dict[str, Any]) -> Iterator[str]:
    targets = spec.get("traffic") or []
    if not targets:
        return
    tags: set[str] = set()
    for index, target in enumerate(targets):
        if target.get("revisionName") and target.get("latestRevision"):
            yield f'validation failed: may not set revisionName "{target["revisionName"]}" when latestRevision is true'
        if not target.get("revisionName") and target.get("latestRevision") is False:
            yield f"validation failed: missing field(s): spec.traffic[{index}].revisionName"
        percent = target.get("percent")
        if percent is not None and not 0 <= percent <= 100:
            yield f"validation failed: expected 0 <= {percent} <= 100: spec.traffic[{index}].percent"
        tag = target.get("tag")
        if tag in tags:
            yield f"validation failed: Multiple definitions for {tag}: spec.traffic[{index}].tag"
        if tag:
            tags.add(tag)
    total = sum(target.get("percent") or 0 for target in targets)
    if total != 100:
        yield f"validation failed: Traffic targets sum to {total}, want 100: spec.traffic"


def _broker(item: Object, old: Object | None) -> Iterator[str]:
    spec = item.get("spec") or {}
    yield from _delivery(spec.get("delivery"), "spec.delivery")
    name = "eventing.knative.dev/broker.class"
    if old and old["metadata"].get("annotations", {}).get(name) != item["metadata"].get("annotations", {}).get(name):
        yield f"validation failed: Immutable fields changed (-old +new): annotations {name}"


def _trigger(item: Object, old: Object | None) -> Iterator[str]:
    spec = item.get("spec") or {}
    broker = spec.get("broker")
    if not broker:
        yield "validation failed: missing field(s): spec.broker"
    if old and broker and (old.get("spec") or {}).get("broker") != broker:
        yield "validation failed: Immutable fields changed (-old +new): spec.broker"
    try:
        parse_filters(spec)
        if spec.get("filters"):  # they win, but an invalid `filter` is refused all the same
            parse_filters({"filter": spec.get("filter")})
    except FieldError as error:
        yield f"validation failed: invalid value: spec.{error}"
    yield from _destination(spec.get("subscriber"), "spec.subscriber")
    yield from _delivery(spec.get("delivery"), "spec.delivery")


def _ping_source(item: Object, _old: Object | None) -> Iterator[str]:
    spec = item.get("spec") or {}
    schedule, zone = str(spec.get("schedule") or "* * * * *"), spec.get("timezone")
    try:
        # As one string: a schedule with a zone of its own is not allowed beside `timezone`.
        cron.parse(f"CRON_TZ={zone} {schedule}" if zone else schedule)
    except cron.UnknownTimeZoneError as error:
        field = "timezone" if error.zone == zone else "schedule"
        yield f"validation failed: invalid value: {error}: spec.{field}"
    except ValueError as error:
        yield f"validation failed: invalid value: {error}: spec.schedule"
    yield from _ping_payload(spec)
    yield from _destination(spec.get("sink"), "spec.sink")


def _ping_payload(spec: dict[str, Any]) -> Iterator[str]:
    text, encoded = spec.get("data") or "", spec.get("dataBase64") or ""
    if text and encoded:
        yield "validation failed: expected exactly one, got both: spec.data, spec.dataBase64"
        return
    field = "dataBase64" if encoded else "data"
    try:
        data = base64.b64decode(encoded, validate=True) if encoded else text.encode()
        is_json = bool(data) and spec.get("contentType") == "application/json"
        value = json.loads(data) if is_json else None
    except (ValueError, RecursionError) as error:
        yield f"validation failed: invalid value: {error}: spec.{field}"
        return
    if value is not None and not isinstance(value, dict):
        yield f"validation failed: invalid value: not a JSON object: spec.{field}"


def _destination(destination: Any, where: str) -> Iterator[str]:
    destination = destination or {}
    ref = destination.get("ref")
    if not ref and not destination.get("uri"):
        yield f"validation failed: expected at least one, got none: {where}.ref, {where}.uri"
    if ref:
        missing = [name for name in ("kind", "name", "apiVersion") if not ref.get(name)]
        if missing:
            yield "validation failed: missing field(s): " + ", ".join(f"{where}.ref.{name}" for name in missing)


def _delivery(delivery: Any, where: str) -> Iterator[str]:
    if not delivery:
        return
    if delivery.get("deadLetterSink") is not None:
        yield from _destination(delivery["deadLetterSink"], f"{where}.deadLetterSink")
    if (delivery.get("retry") or 0) < 0:
        yield f"validation failed: invalid value: {delivery['retry']}: {where}.retry"
    policy = delivery.get("backoffPolicy")
    if policy not in (None, "linear", "exponential"):
        yield f"validation failed: invalid value: {policy}: {where}.backoffPolicy"
    for field in ("backoffDelay", "timeout"):
        text = delivery.get(field)
        if text is None:
            continue
        try:
            parse_duration(text)
        except ValueError as error:
            yield f"validation failed: invalid value: {where}.{field}: {error}"


_SERVING = "validation.webhook.serving.knative.dev"
_EVENTING = "validation.webhook.eventing.knative.dev"
_VALIDATORS: dict[tuple[str, str], tuple[str, Validator]] = {
    ("serving.kserve.io", "InferenceService"): (
        "inferenceservice.kserve-webhook-server.validator",
        _inference_service,
    ),
    ("serving.knative.dev", "Service"): (_SERVING, _knative_service),
    ("serving.knative.dev", "Configuration"): (_SERVING, _template),
    ("serving.knative.dev", "Route"): (_SERVING, lambda item, _old: _traffic(item.get("spec") or {})),
    ("eventing.knative.dev", "Broker"): (_EVENTING, _broker),
    ("eventing.knative.dev", "Trigger"): (_EVENTING, _trigger),
    ("sources.knative.dev", "PingSource"): (_EVENTING, _ping_source),
}
