"""The tag `rollout` of a registered model version: the outcome of its canary, for people who read the registry.

    passed over 6
    promoted over 6
    rolled back from 6 (analysis-failed by analysis): failed at 10%: failures 0.5 against 0.0 …

Releases before 0.2.0 wrote the last form without the parentheses. This is the only code that reads the tag; the text
after the colon is for people and is never read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from functions.reasons import InitiatedBy
from functions.rollout.reasons import ReasonCode

ROLLOUT_TAG = "rollout"
LIMIT = 1000
"""Characters kept of a tag; MLflow refuses longer values at 5,000."""

_TAG = re.compile(
    r"(?P<form>passed over|promoted over|rolled back from) (?P<champion>[^\s:()]+)"
    r"(?: \((?P<code>[a-z-]+) by (?P<initiated_by>[a-z-]+)\))?(?:: (?P<text>.*))?",
    re.DOTALL,
)


class Outcome(StrEnum):
    """Each with the words that the tag begins with."""

    PASSED = "passed over"
    PROMOTED = "promoted over"
    ROLLED_BACK = "rolled back from"


@dataclass(frozen=True, slots=True)
class RolloutTag:
    """The outcome of a version's canary against `champion`. The other fields are those of a rollback."""

    outcome: Outcome
    champion: str
    text: str = ""
    reason_code: ReasonCode = ReasonCode.UNKNOWN
    initiated_by: InitiatedBy = InitiatedBy.UNKNOWN

    def __str__(self) -> str:
        return self.encode()

    def encode(self) -> str:
        """The tag's value; a long text is cut."""
        value = f"{self.outcome} {self.champion}"
        if self.outcome is Outcome.ROLLED_BACK:
            if self.reason_code is not ReasonCode.UNKNOWN:
                value += f" ({self.reason_code} by {self.initiated_by})"
            if self.text:
                value += f": {self.text}"
        return value[:LIMIT]

    @classmethod
    def decode(cls, value: str | None) -> RolloutTag | None:
        """The tag of this value; None for none, or one without an outcome.

        A version that somebody marked as rolled back in another form stays rolled back.
        """
        match = _TAG.fullmatch(value or "")
        if match is None:
            marked = (value or "").startswith("rolled back")
            return cls(Outcome.ROLLED_BACK, "", (value or "").removeprefix("rolled back").strip()) if marked else None
        outcome = Outcome(match["form"])
        if outcome is not Outcome.ROLLED_BACK:
            return None if match["code"] or match["text"] is not None else cls(outcome, match["champion"])
        return cls(
            outcome,
            match["champion"],
            match["text"] or "",
            ReasonCode(match["code"] or "unknown"),
            InitiatedBy(match["initiated_by"] or "unknown"),
        )
