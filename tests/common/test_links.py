"""Addresses of pages for people."""

from __future__ import annotations

import pytest

from common import links


@pytest.mark.parametrize(
    ("uri", "page"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000/#/experiments/7/runs/ab12"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000/#/experiments/7/runs/ab12"),
        ("https://somebody:secret@host/mlflow/", "https://host/mlflow/#/experiments/7/runs/ab12"),
        ("sqlite:///mlflow.db", ""),
        ("", ""),
    ],
)
def test_a_run_in_mlflow(uri: str, page: str) -> None:
    assert links.mlflow_run({"MLFLOW_TRACKING_URI": uri}, "7", "ab12") == page


def test_other_pages() -> None:
    environ = {"MLFLOW_TRACKING_URI": "http://m:1", "KFP_ENDPOINT": "http://k:2"}
    assert links.mlflow_version(environ, "a b/c", "3") == "http://m:1/#/models/a%20b%2Fc/versions/3"
    assert links.pipeline_run(environ, "x-1") == "http://k:2/#/runs/details/x-1"
    assert links.pipeline_run({}, "x-1") == ""
