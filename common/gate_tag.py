"""The MLflow tag `gate` of runs and versions: the quality gate's verdict, and behind a colon its reason for people.

    pass: improvement: 75 questions gained, …
    inconclusive: latency: not measured: no times were given

This is the only code that reads the tag. The reason is never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Verdict = Literal["pass", "fail", "inconclusive"]

GATE_TAG = "gate"
_VERDICTS: dict[str, Verdict] = {verdict: verdict for verdict in get_args(Verdict)}


@dataclass(frozen=True, slots=True)
class GateTag:
    verdict: Verdict
    reason: str = ""

    def encode(self) -> str:
        """The tag's value."""
        return f"{self.verdict}: {self.reason}"

    @classmethod
    def decode(cls, value: str | None) -> GateTag | None:
        """The tag of this value; None where the gate has not decided, or another release wrote something else."""
        verdict, separator, reason = (value or "").partition(": ")
        known = _VERDICTS.get(verdict)
        return cls(known, reason) if known and separator else None
