"""Unknown fields and types."""

from __future__ import annotations

from local.kube import schema_validation
from local.kube.schemas import SCHEMAS


def test_unknown_fields_are_pruned_and_types_named() -> None:
    schema = SCHEMAS["serving.knative.dev", "Service"]
    body = {"spec": {"template": {"spec": {"containers": [{"image": "x", "imge": 1}]}}}, "oops": 1}
    assert schema_validation.prune(body, schema) == ["spec.template.spec.containers[0].imge", "oops"]
    assert body == {"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}
    wrong = {"spec": {"template": {"spec": {"containerConcurrency": True, "containers": {}}}}}
    assert [path for path, _ in schema_validation.type_errors(wrong, schema)] == [
        "spec.template.spec.containerConcurrency",
        "spec.template.spec.containers",
    ]
