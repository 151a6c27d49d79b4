"""Which tests are integration tests: those whose module, or a fixture of it, starts a process or a server of its own.

A pytest plugin; tests/conftest.py takes the hook over. Patterns are of paths below tests/, as in pathlib's `match`.
"""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

TESTS = Path(__file__).resolve().parent
INTEGRATION = (
    "predictor/test_server_*.py",
    "predictor/source_mlflow/test_*.py",
    "predictor/test_docs_protocols.py",
    "predictor/test_source_hf.py",
    "functions/test_*_function.py",
    "functions/test_*_servers.py",
    "functions/test_*_disk.py",
    "functions/test_*_database.py",
    "functions/test_*_loop.py",
    "functions/test_*_cli.py",
    "functions/test_*_store.py",
    "functions/test_*_benchmark.py",
    "functions/test_drift_status.py",
    "functions/test_retrain_manifests.py",
    "functions/test_retrain_requests.py",
    "local/*/test_*.py",
    "local/test_storage.py",
    "pipelines/test_registration*.py",
    "pipelines/test_retraining_*.py",
    "pipelines/test_pipeline_*.py",
    "mcqa/test_*.py",
    "manifests/test_*.py",
    "deploy/test_*.py",
    "images/test_*.py",
    "ci/test_ci_compose.py",
    "ci/test_ci_promote.py",
    "ci/test_ci_setup.py",
    "test_readme.py",
)
UNIT = (
    "local/kube/test_kube_jsonpath.py",
    "local/kube/test_kube_managed_fields.py",
    "local/kube/test_kube_patches.py",
    "local/kube/test_kube_protobuf.py",
    "local/kube/test_kube_schema_validation.py",
    "local/kube/test_kube_selectors.py",
    "local/kube/test_kube_tables.py",
    "local/serving/test_serving_traffic.py",
    "local/serving/test_serving_revisions.py",
    "local/serving/test_serving_autoscaler.py",
    "local/serving/test_serving_process_spec.py",
    "local/serving/test_serving_hosts.py",
    "local/serving/test_serving_status.py",
    "local/serving/test_serving_predictor_service.py",
    "local/broker/test_broker_cesql*.py",
    "local/broker/test_broker_cloudevent.py",
    "local/broker/test_broker_filters.py",
    "local/broker/test_broker_durations.py",
    "local/broker/test_broker_retry.py",
    "local/broker/test_broker_extensions.py",
    "local/broker/test_broker_replies.py",
    "local/broker/test_broker_delivery_requests.py",
    "local/broker/test_broker_sender.py",
    "local/broker/test_broker_resources.py",
    "local/kube/test_kube_cron.py",
    "local/access/test_origins.py",
    "local/access/test_tokens.py",
    "pipelines/test_retraining_data.py",
    "pipelines/test_retraining_reference.py",
)
"""Exceptions to the patterns above."""


def is_integration(path: PurePath) -> bool:
    """Of a path below tests/. What matches nothing is a unit test."""
    return any(path.match(one) for one in INTEGRATION) and not any(path.match(one) for one in UNIT)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(TESTS) and is_integration(item.path.relative_to(TESTS)):
            item.add_marker(pytest.mark.integration)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "integration: starts processes, servers or clients; the others are unit tests")
