"""ISO 8601 durations, as Knative's delivery specification writes them (PT0.2S).

Hand-written: `isodate`, the usual library, also accepts signs, years and months, so the checks would remain.
"""

from __future__ import annotations

import re

_DURATION = re.compile(
    r"P(?:(?P<weeks>\d+(?:[.,]\d+)?)W)?(?:(?P<days>\d+(?:[.,]\d+)?)D)?"
    r"(?:T(?:(?P<hours>\d+(?:[.,]\d+)?)H)?(?:(?P<minutes>\d+(?:[.,]\d+)?)M)?(?:(?P<seconds>\d+(?:[.,]\d+)?)S)?)?"
)
_SECONDS = {"weeks": 604800, "days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


def parse_duration(text: str) -> float:
    """Seconds. ValueError for anything else, years and months too: they have no fixed length."""
    match = _DURATION.fullmatch(text)
    parts = {name: value for name, value in match.groupdict().items() if value} if match else {}
    if not parts or text.endswith("T"):
        raise ValueError(f"must be an ISO 8601 duration such as PT0.2S or PT1M, found {text[:40]!r}")
    return sum(float(value.replace(",", ".")) * _SECONDS[name] for name, value in parts.items())
