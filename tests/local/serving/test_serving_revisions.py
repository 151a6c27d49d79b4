"""When a Knative Service's template creates a revision."""

from __future__ import annotations

from typing import Any

from serving_cases import knative_service

from local.serving import revisions

LATEST = {"latestRevision": True, "percent": 100}


def stored(item: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {**item, "metadata": {**item["metadata"], "uid": "u1", **metadata}}


def next_revision(service: dict[str, Any], existing: list[dict[str, Any]]) -> Any:
    return revisions.next_revision(service, existing)


def test_only_the_template_makes_a_revision() -> None:
    service = stored(knative_service("f", VERSION="1"))
    first = next_revision(service, [])
    assert first["metadata"]["name"] == "f-00001"
    assert first["metadata"]["labels"]["serving.knative.dev/configurationGeneration"] == "1"
    assert next_revision(service, [first]) is None
    traffic = {**service, "spec": {**service["spec"], "traffic": [LATEST]}}
    assert next_revision(traffic, [first]) is None
    second = next_revision(stored(knative_service("f", VERSION="2")), [first])
    assert second["metadata"]["name"] == "f-00002"
    back = next_revision(service, [first, second])
    assert back["metadata"]["name"] == "f-00003", "the old template again is a new revision"
    annotated = next_revision(stored(knative_service("f", {"window": "6s"}, VERSION="2")), [first, second])
    assert annotated["metadata"]["name"] == "f-00003"
    assert next_revision({**service, "status": {"latestCreatedRevisionName": "f-00007"}}, [])["metadata"]["name"] == (
        "f-00008"
    )
