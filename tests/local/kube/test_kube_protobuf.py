"""Kubernetes' protobuf bodies."""

from __future__ import annotations

from typing import Any

import pytest

from local.kube import protobuf
from local.kube.errors import StatusError


@pytest.mark.parametrize(
    "body",
    [b"", b"k8s\x00", b"k8s\x00\x0a\x7f", b"k8s\x00" + b"\xff" * 40, b"{}", b"k8s\x00\x0a\x04\x12\x02Po\x12\x00"],
)
def test_protobuf_that_is_none(body: Any) -> None:
    with pytest.raises(StatusError) as caught:
        protobuf.decode(body)
    assert caught.value.code == 415
