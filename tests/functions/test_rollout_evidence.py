from __future__ import annotations

import pytest

from functions.rollout.evidence import Arm, Exchange, bucket, observe, responded, seconds_at

NOW, DEADLINE = 1000.0, 30.0


@pytest.mark.parametrize(
    ("exchange", "arm"),
    [
        (Exchange(990, 991, "A", 0.9, True), Arm()),  # too young: its failure could not be known yet
        (Exchange(970), Arm(requests=1, failures=1)),
        (Exchange(900, 931, "A", 0.9, True), Arm(requests=1, failures=1)),  # after the deadline
        (Exchange(900, 900.0011, "A"), Arm(requests=1, latencies={0: 1}, letters={"A": 1})),
        (Exchange(900, 900.0011), Arm(requests=1, latencies={0: 1})),  # an explanation, say: no letter
        (
            Exchange(900, 900.0011, "B", 0.75, True),
            Arm(1, 0, {0: 1}, {"B": 1}, labelled=1, correct=1, squares=0.0625, fourths=0.00390625),
        ),
        (
            Exchange(900, 900.0011, "B", 0.75, False),
            Arm(1, 0, {0: 1}, {"B": 1}, labelled=1, correct=0, squares=0.5625, fourths=0.31640625),
        ),
        (Exchange(900, 899.9, "B"), Arm(1, 0, {}, {"B": 1})),  # a clock was set in between: nobody knows how long
    ],
)
def test_one_exchange(exchange: Exchange, arm: Arm) -> None:
    assert observe([exchange], NOW, DEADLINE) == arm


@pytest.mark.parametrize(
    ("believed", "sent", "expected"),
    [
        ((10.0, None), (10.0, None), None),
        ((10.0, 10.5), (10.0, 10.5), 10.5),
        ((10.0, 10.5), (None, None), 10.5),
        ((10.0, 10.75), (None, 10.5), 10.75),
        # the logger's clock is wrong, whichever way: its own difference is right, the arrivals' is not as sharp
        ((10.0, 10.75), (4070908800.0, 4070908800.5), 10.5),
        ((10.0, 10.75), (-5.0, -4.5), 10.5),
        ((10.0, 13.0), (8.0, 10.5), 12.5),
        # set forward and back between the two
        ((10.0, 10.75), (10.0, 3610.5), 10.75),
        ((10.0, 10.75), (10.0, -3589.5), 10.75),
        # nothing can be told
        ((10.0, 9.0), (10.0, 9.0), 9.0),
    ],
)
def test_when_a_response_was_there(
    believed: tuple[float, float | None], sent: tuple[float | None, float | None], expected: float | None
) -> None:
    assert responded(*believed, *sent) == expected


def test_many_exchanges_add_up() -> None:
    exchanges = [Exchange(900 + i, 900 + i + 0.1, "AB"[i % 2], 0.5, i % 4 == 0) for i in range(40)]
    arm = observe([*exchanges, Exchange(950)], NOW, DEADLINE)
    assert (arm.requests, arm.failures, arm.responses) == (41, 1, 40)
    assert (arm.labelled, arm.correct, arm.squares) == (40, 10, 10.0)
    assert arm.letters == {"A": 20, "B": 20}
    assert arm.latencies == {bucket(0.1): 40}


@pytest.mark.parametrize("seconds", [0.0005, 0.001, 0.0123, 0.5, 3.0, 60.0])
def test_a_bucket_holds_its_latency(seconds: float) -> None:
    assert seconds_at(bucket(seconds)) <= seconds * (1 + 1e-12)
    assert seconds_at(bucket(seconds) + 1) > seconds
