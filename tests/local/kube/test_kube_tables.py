"""What `kubectl get` prints."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.kube import tables
from local.kube.resources import RESOURCES


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (3600, "60m"),
        (10_800, "3h"),
        (11_100, "3h5m"),
        (100_000, "27h"),
        (180_000, "2d2h"),
        (800_000, "9d"),
    ],
)
def test_ages_as_kubectl_writes_them(seconds: float, text: str) -> None:
    now = datetime.now(UTC)
    assert tables.age((now - timedelta(seconds=seconds)).isoformat(), now) == text


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: r.qualified)
def test_every_kind_prints_without_a_status(resource: Any) -> None:
    table = tables.table(resource, [{"metadata": {"name": "x"}}], {}, whole=False)
    assert len(table["rows"][0]["cells"]) == len(table["columnDefinitions"]) >= 2
