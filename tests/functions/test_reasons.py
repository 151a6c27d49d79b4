"""Codes, the sentences they render, and what is stored of both; the tag that a version keeps of its canary."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.drift.reasons import ReasonCode as DriftCode
from functions.reasons import Code, InitiatedBy, Reason, read_reason, reason_lines
from functions.retrain.reasons import ReasonCode as RetrainCode
from functions.rollout.reasons import ReasonCode
from functions.rollout.version_tag import LIMIT, Outcome, RolloutTag

FIGURES = {"hours", "minutes", "seconds"}


def params(code: Code) -> dict[str, object]:
    """A value for each name in the code's headline."""
    names = {name for _, name, _, _ in string.Formatter().parse(code.template) if name}
    return {name: 1.5 if name in FIGURES else "7" for name in names}


CODES: list[Code] = [code for codes in (ReasonCode, DriftCode, RetrainCode) for code in codes]


@pytest.mark.parametrize("code", CODES, ids=lambda code: f"{type(code).__module__}.{code}")
def test_a_reason_is_read_as_it_was_stored(code: Code) -> None:
    cause = Reason(type(code)("unknown"), {})
    reason = Reason(code, params(code), ("first", "second"), initiated_by=InitiatedBy.OPERATOR)
    stored = json.loads(json.dumps(reason.to_columns()))
    assert len(stored["reason_code"]) <= 32
    assert len(stored["initiated_by"]) <= 16
    if code == "unknown":
        assert read_reason(type(code), stored) is None
        assert reason_lines(type(code), stored) == [stored["reason"]]
    else:
        assert read_reason(type(code), stored) == reason
        assert reason_lines(type(code), stored)[1:] == ["second"]
        assert reason.lines[0].endswith("first")
    assert cause.code is type(code)["UNKNOWN"]


def test_a_cause_follows_the_headline() -> None:
    cause = Reason(ReasonCode.NO_CHALLENGER)
    reason = Reason(ReasonCode.CHAMPION_SERVES, {"version": "6"}, cause=cause)
    assert str(reason) == "version 6 serves: there is no challenger"
    assert reason.to_params() == {"version": "6", "cause": {"code": "no-challenger"}}
    assert read_reason(ReasonCode, reason.to_columns()) == reason


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"reason_code": "unknown", "reason_params": {}},
        {"reason_code": "a code of a later release", "reason_params": {}},
        {"reason_code": None, "reason_params": None},
        {"reason_code": "held", "reason_params": None},
        {"reason_code": "held", "reason_params": {}},
        {"reason_code": "held", "reason_params": []},
        {"reason_code": "step-inconclusive", "reason_params": {"percent": 10, "hours": "many"}},
        {"reason_code": "held", "reason_params": {"percent": 10, "details": "x"}},
        {"reason_code": "champion-serves", "reason_params": {"version": "6", "cause": {"code": "no"}}},
        {"reason_code": "champion-serves", "reason_params": {"version": "6", "cause": "x"}},
    ],
)
def test_what_another_release_wrote_is_shown_as_it_is(stored: dict[str, object]) -> None:
    assert read_reason(ReasonCode, stored) is None
    assert reason_lines(ReasonCode, {**stored, "reason": "one; two"}) == ["one; two"]


@given(st.text(max_size=300), st.sampled_from(list(ReasonCode)), st.sampled_from(list(InitiatedBy)))
def test_a_tag_is_read_as_it_was_written(text: str, code: ReasonCode, by: InitiatedBy) -> None:
    if code is ReasonCode.UNKNOWN:
        by = InitiatedBy.UNKNOWN
    tag = RolloutTag(Outcome.ROLLED_BACK, "6", text, code, by)
    assert RolloutTag.decode(tag.encode()) == tag
    for outcome in (Outcome.PASSED, Outcome.PROMOTED):
        assert RolloutTag.decode(RolloutTag(outcome, "6").encode()) == RolloutTag(outcome, "6")


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        (None, None),
        ("", None),
        ("anything else", None),
        ("passed", None),
        ("passed over 6", RolloutTag(Outcome.PASSED, "6")),
        ("passed over 6: but", None),
        ("passed over 6 (held by operator)", None),
        ("promoted over 6", RolloutTag(Outcome.PROMOTED, "6")),
        ("rolled back from 6: failed at 10 %: slow", RolloutTag(Outcome.ROLLED_BACK, "6", "failed at 10 %: slow")),
        ("rolled back from 6", RolloutTag(Outcome.ROLLED_BACK, "6")),
        # a later release's code; a person's words, which keep the version from being tried again as ever
        ("rolled back from 6 (moon by wizard): x", RolloutTag(Outcome.ROLLED_BACK, "6", "x")),
        ("rolled back by hand, see ticket 5", RolloutTag(Outcome.ROLLED_BACK, "", "by hand, see ticket 5")),
        (
            "rolled back from 6 (aborted by operator): aborted by the operator",
            RolloutTag(Outcome.ROLLED_BACK, "6", "aborted by the operator", ReasonCode.ABORTED, InitiatedBy.OPERATOR),
        ),
    ],
)
def test_tags_that_other_releases_and_people_wrote(value: str | None, tag: RolloutTag | None) -> None:
    assert RolloutTag.decode(value) == tag


def test_a_long_tag_is_cut_and_still_read() -> None:
    tag = RolloutTag(Outcome.ROLLED_BACK, "6", "x" * 9000, ReasonCode.ABORTED, InitiatedBy.OPERATOR)
    value = tag.encode()
    assert len(value) == LIMIT
    read = RolloutTag.decode(value)
    assert read is not None
    assert (read.outcome, read.reason_code) == (Outcome.ROLLED_BACK, ReasonCode.ABORTED)
