"""What may not be: the webhooks' refusals, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from local.kube import admission
from local.kube.errors import StatusError
from local.kube.resources import by_kind

SINK = {"ref": {"apiVersion": "v1", "kind": "Service", "name": "x"}}
IMAGE = {"containers": [{"image": "x"}]}


def denied(kind: str, spec: dict[str, Any], old: dict[str, Any] | None = None, name: str = "a") -> str:
    """The refusal's message, "" when there is none."""
    item = {"metadata": {"name": name}, "spec": spec}
    try:
        admission.validate(by_kind(kind), item, {"metadata": {"name": name}, "spec": old} if old else None)
    except StatusError as error:
        return f"{error.code} {error.reason}: {error.message}"
    return ""


def isvc(**predictor: Any) -> dict[str, Any]:
    return {"predictor": {"model": {"modelFormat": {"name": "m"}, "storageUri": "mlflow://m/1"}, **predictor}}


def traffic(*percents: int | None, **first: Any) -> dict[str, Any]:
    targets: list[dict[str, Any]] = [{"revisionName": f"a-{i}", "percent": p} for i, p in enumerate(percents)]
    targets[0] |= first
    return {"template": {"spec": IMAGE}, "traffic": targets}


def template(name: str = "", image: str = "x", **annotations: str) -> dict[str, Any]:
    metadata = {"name": name} if name else {}
    scale = {f"autoscaling.knative.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {"template": {"metadata": {**metadata, "annotations": scale}, "spec": {"containers": [{"image": image}]}}}


def trigger(**spec: Any) -> dict[str, Any]:
    return {"broker": "default", "subscriber": SINK, **spec}


def ping(**spec: Any) -> dict[str, Any]:
    return {"schedule": "* * * * *", "sink": SINK, **spec}


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("InferenceService", isvc()),
        ("InferenceService", isvc(canaryTrafficPercent=0)),
        ("InferenceService", isvc(canaryTrafficPercent=100, minReplicas=0, maxReplicas=3)),
        ("InferenceService", isvc(logger={"mode": "all"}, scaleMetric="concurrency")),
        ("Service.serving.knative.dev", traffic(90, 10)),
        ("Service.serving.knative.dev", traffic(100, None)),
        ("Service.serving.knative.dev", template("a-v1", min_scale="0", max_scale="3")),
        ("Service.serving.knative.dev", template(min_scale="2", max_scale="0")),
        ("Broker", {"delivery": {"retry": 0, "backoffDelay": "PT0.5S", "backoffPolicy": "linear"}}),
        ("Trigger", trigger()),
        ("Trigger", trigger(filter={"attributes": {"type": ""}})),
        ("Trigger", trigger(filters=[{"any": [{"exact": {"type": "a"}}, {"not": {"suffix": {"source": "b"}}}]}])),
        ("Trigger", trigger(filters=[{"cesql": "type = 'a'"}])),
        ("PingSource", ping(schedule="@every 90s", timezone="Europe/Berlin")),
        ("PingSource", ping(schedule="*/10 * * * * *")),
        ("PingSource", ping(schedule="CRON_TZ=America/New_York 0 6 * * *")),
        ("PingSource", ping(schedule="TZ=Asia/Tokyo @daily", data="not read as JSON")),
        ("PingSource", ping(dataBase64="eyJuIjogMX0=", contentType="application/json")),
        ("PingSource", {"sink": {"uri": "http://x"}}),
    ],
)
def test_admitted(kind: str, spec: Any) -> None:
    assert denied(kind, spec) == ""


@pytest.mark.parametrize(
    ("kind", "spec", "why"),
    [
        (
            "InferenceService",
            isvc(canaryTrafficPercent=110),
            "canaryTrafficPercent must be between 0 and 100, found 110",
        ),
        ("InferenceService", isvc(canaryTrafficPercent=-1), "between 0 and 100"),
        ("InferenceService", isvc(minReplicas=4, maxReplicas=3), "cannot be greater than maxReplicas 3"),
        ("InferenceService", isvc(minReplicas=-1), "minReplicas cannot be less than 0"),
        ("InferenceService", isvc(scaleMetric="latency"), "scaleMetric must be one of"),
        ("InferenceService", isvc(logger={"mode": "some"}), "logger.mode must be one of"),
        ("InferenceService", isvc(model={"storageUri": "models:/m@champion"}), "pin a version as mlflow://name/7"),
        ("Service.serving.knative.dev", traffic(90, 20), "Traffic targets sum to 110, want 100"),
        ("Service.serving.knative.dev", traffic(120, -20), "expected 0 <= 120 <= 100"),
        ("Service.serving.knative.dev", traffic(100, latestRevision=True), "may not set revisionName"),
        ("Service.serving.knative.dev", {"template": {"spec": {}}}, "missing field(s): spec.template.spec.containers"),
        ("Service.serving.knative.dev", template("b-1"), 'must have prefix "a-"'),
        ("Service.serving.knative.dev", template(min_scale="none"), "invalid value: none"),
        ("Service.serving.knative.dev", template(min_scale="3", max_scale="2"), "max-scale=2 is less than min-scale=3"),
        ("Broker", {"delivery": {"backoffPolicy": "random"}}, "invalid value: random"),
        ("Broker", {"delivery": {"backoffDelay": "5s"}}, "spec.delivery.backoffDelay: must be an ISO 8601 duration"),
        ("Broker", {"delivery": {"deadLetterSink": {}}}, "expected at least one, got none"),
        ("Trigger", {"subscriber": SINK}, "missing field(s): spec.broker"),
        ("Trigger", trigger(subscriber={}), "expected at least one, got none: spec.subscriber.ref"),
        ("Trigger", trigger(filter={"attributes": {"Type": "a"}}), "spec.filter.attributes.Type: must start with"),
        ("Trigger", trigger(filters=[{"exact": {"Type": "a"}}]), "spec.filters[0].exact.Type: must start with"),
        ("Trigger", trigger(filters=[{"all": [{"not": {"prefix": {"ty-pe": "a"}}}]}]), "prefix.ty-pe: must start with"),
        ("Trigger", trigger(filters=[{"exact": {"type": "a"}, "prefix": {"type": "a"}}]), "exactly one dialect"),
        ("Trigger", trigger(filters=[{"regex": {"type": "a"}}]), "spec.filters[0].regex: is not a filter dialect"),
        ("Trigger", trigger(filters=[{"cesql": "type = "}]), "spec.filters[0].cesql"),
        ("Trigger", trigger(filters=[{}]), "exactly one dialect"),
        ("Trigger", trigger(filters=[{"exact": {"type": "a"}}], filter={"attributes": {"T": "a"}}), "attributes.T"),
        ("PingSource", ping(schedule="every minute"), "expected 5 to 6 fields, found 2"),
        ("PingSource", ping(schedule="61 * * * *"), "is not within 0-59"),
        ("PingSource", ping(timezone="Mars/Olympus"), "unknown time zone Mars/Olympus: spec.timezone"),
        ("PingSource", ping(timezone="Europe"), "unknown time zone Europe: spec.timezone"),
        ("PingSource", ping(schedule="TZ=Mars/Olympus @daily"), "unknown time zone Mars/Olympus: spec.schedule"),
        ("PingSource", ping(schedule="TZ=UTC * * * * *", timezone="UTC"), "spec.schedule"),
        ("PingSource", ping(schedule="0 0 * * 7"), "'7' is not within 0-6: spec.schedule"),
        ("PingSource", ping(data="{", contentType="application/json"), "spec.data"),
        ("PingSource", ping(data="[1]", contentType="application/json"), "not a JSON object: spec.data"),
        ("PingSource", ping(dataBase64="?"), "spec.dataBase64"),
        ("PingSource", ping(data="a", dataBase64="YQ=="), "expected exactly one, got both"),
        ("PingSource", {"schedule": "* * * * *"}, "spec.sink"),
    ],
)
def test_denied(kind: str, spec: Any, why: Any) -> None:
    message = denied(kind, spec)
    assert why in message
    assert message.startswith("400 BadRequest: admission webhook")


def test_what_may_not_change() -> None:
    assert "spec.broker" in denied("Trigger", trigger(broker="b"), trigger())
    old = template("a-1", image="x")
    assert "without a name change" in denied("Service.serving.knative.dev", template("a-1", image="y"), old)
    assert denied("Service.serving.knative.dev", template("a-2", image="y"), old) == ""
    assert denied("Service.serving.knative.dev", template("a-1", image="x"), old) == ""


@pytest.mark.parametrize("name", ["1st", "a" * 64, "a.b"])
def test_names_of_inference_services(name: str) -> None:
    assert "is invalid" in denied("InferenceService", isvc(), name=name)
