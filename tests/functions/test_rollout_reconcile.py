"""Which decisions are one row of the log. The reconciler itself: test_rollout_loop.py."""

from __future__ import annotations

import pytest

from functions.rollout.reconcile import identity

ROW = {"phase": "step", "action": "wait", "champion": "6", "challenger": "7", "generation": "u/1"}
ROW |= {"reason_code": "step-analysing", "reason": "3 min at 10%: 5 of 100"}


def test_reasons_that_differ_in_numbers_are_one() -> None:
    assert identity(ROW) == identity({**ROW, "reason": "4 min at 10%: other words"})


def test_that_nothing_is_deployed_yet_is_one_decision() -> None:
    """The first version gets its alias a moment after it is registered."""
    new = {**ROW, "reason_code": "nothing-deployed", "champion": None}
    assert identity(new) == identity({**new, "champion": "1"})
    assert identity(new) != identity({**new, "reason_code": "no-inference-service"})


@pytest.mark.parametrize(
    "other",
    [{"generation": "u/2"}, {"reason_code": "held"}, {"challenger": "8"}, {"action": "hold"}, {"phase": "starting"}],
)
def test_decisions_that_differ_are_two(other: dict[str, str]) -> None:
    assert identity(ROW) != identity({**ROW, **other})
