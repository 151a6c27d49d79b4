"""A version's traffic during one canary step, from the payload log: counts only, so that any volume fits in a row.

A non-200 response is never logged, so a request without a response within the deadline is a failure of its version.
Requests younger than the deadline are left out altogether: their successes are known before their failures.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

BUCKETS_PER_DOUBLING = 4


@dataclass(frozen=True, slots=True)
class Exchange:
    """One logged request with its response and feedback, if any. Times in Unix seconds; a response before its request
    means that a clock was set in between.

    `confidence` (of the chosen letter) and `letter` come with the response, `correct` with feedback.
    """

    requested_at: float
    responded_at: float | None = None
    letter: str | None = None
    confidence: float | None = None
    correct: bool | None = None


@dataclass(frozen=True, slots=True)
class Arm:
    """One version's part of a step.

    `requests` are those older than the deadline, `failures` those of them without a response in time. `latencies`
    counts responses by bucket (see `bucket`) where their duration is known, `letters` by chosen letter. Of the
    `labelled` answers `correct` were right; `squares` and `fourths` sum (confidence - right)^2 and ^4 over them.
    """

    requests: int = 0
    failures: int = 0
    latencies: Mapping[int, int] = field(default_factory=dict)
    letters: Mapping[str, int] = field(default_factory=dict)
    labelled: int = 0
    correct: int = 0
    squares: float = 0.0
    fourths: float = 0.0

    @property
    def responses(self) -> int:
        return self.requests - self.failures


@dataclass(frozen=True, slots=True)
class StepEvidence:
    """Both versions while the challenger's share was `percent`, from `since` (Unix seconds) on."""

    percent: int
    since: float
    champion: Arm
    challenger: Arm


def bucket(seconds: float) -> int:
    """The latency's bucket: four per doubling (19% wide), 0 at 1 ms."""
    return math.floor(BUCKETS_PER_DOUBLING * math.log2(max(seconds, 1e-6) * 1000))


def seconds_at(index: int) -> float:
    """The lower edge of a bucket."""
    return 2 ** (index / BUCKETS_PER_DOUBLING) / 1000


def responded(
    requested_at: float, responded_at: float | None, request_sent: float | None, response_sent: float | None
) -> float | None:
    """When the response arrived, by the clock of `requested_at`; None without one.

    The logger dates both with one clock: the difference of its own times (`…_sent`) is the latency, however wrong the
    clock is. Unless it was set in between: then the difference of the trusted times counts, where it can.
    """
    if responded_at is None:
        return None
    own = None if request_sent is None or response_sent is None else response_sent - request_sent
    trusted = responded_at - requested_at
    return requested_at + min((took for took in (own, trusted) if took is not None and took >= 0), default=trusted)


def observe(exchanges: Iterable[Exchange], now: float, deadline: float) -> Arm:
    """The arm of one version's exchanges; `deadline` in seconds. A response after the deadline is a failure too."""
    requests = failures = labelled = correct = 0
    squares = fourths = 0.0
    latencies: Counter[int] = Counter()
    letters: Counter[str] = Counter()
    for e in exchanges:
        if now - e.requested_at < deadline:
            continue
        requests += 1
        if e.responded_at is None or e.responded_at - e.requested_at > deadline:
            failures += 1
            continue
        if e.responded_at >= e.requested_at:
            latencies[bucket(e.responded_at - e.requested_at)] += 1
        if e.letter is not None:
            letters[e.letter] += 1
        if e.correct is not None and e.confidence is not None:
            labelled += 1
            correct += e.correct
            square = (e.confidence - e.correct) ** 2
            squares += square
            fourths += square * square
    return Arm(requests, failures, dict(latencies), dict(letters), labelled, correct, squares, fourths)
