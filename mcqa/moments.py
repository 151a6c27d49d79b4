"""A moment in the past as people type it: a date and time, or how long ago."""

from __future__ import annotations

import re
from datetime import datetime

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}

FORMS = "a time like 2026-11-30T22:00 (local, or with Z or +07:00), or how long ago, like 90m, 2h or 3d"


def read_moment(text: str, now: float) -> float:
    """The moment in Unix seconds. ValueError, which names the forms, where it is none or not in the past."""
    stripped = text.strip()
    if match := _AGO.fullmatch(stripped):
        moment = now - float(match[1]) * _SECONDS[match[2]]
    else:
        try:
            moment = datetime.fromisoformat(stripped).timestamp()
        except (ValueError, OverflowError, OSError):
            raise ValueError(f"must be {FORMS}, found {text!r}"[:300]) from None
    if not 0 <= moment < now:
        raise ValueError(f"must be in the past, found {text!r}"[:300])
    return moment
