"""The tag `gate`: one codec, and whatever stands in the reason changes no verdict."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.gate_tag import GateTag, Verdict


@given(st.sampled_from(get_args(Verdict)), st.text())
def test_it_survives_its_text(verdict: Verdict, reason: str) -> None:
    assert GateTag.decode(GateTag(verdict, reason).encode()) == GateTag(verdict, reason)


def test_what_releases_before_wrote_is_read() -> None:
    value = "fail: improvement: 3 questions gained, 9 lost; latency: not measured"
    assert GateTag.decode(value) == GateTag("fail", "improvement: 3 questions gained, 9 lost; latency: not measured")


@pytest.mark.parametrize("value", [None, "", "pass", "passed: all", "Pass: all", " pass: all", "fail; pass: all"])
def test_anything_else_is_no_verdict(value: str | None) -> None:
    assert GateTag.decode(value) is None
