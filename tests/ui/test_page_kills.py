"""What `benchmarks.page_kills` takes for wrong, on pages that only say how they are."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.page_kills import LATE, LIMIT_SECONDS, Look, Seen
from ui.language import t

LONG = LIMIT_SECONDS + 1


class Pages:
    """Looks one after the other."""

    name = "loop"

    def __init__(self, *looks: Look) -> None:
        self.looks = list(looks)

    def look(self) -> Look:
        return self.looks.pop(0)


@pytest.mark.parametrize(
    ("look", "well", "oldest"),
    [
        (Look(False, "", 3.0), True, 3.0),
        (Look(False, "", LONG), False, LONG),
        (Look(True, "last updated 10:00", LONG), False, 0.0),
        (Look(False, "the registry cannot be read", 3.0), False, 3.0),
        (Look(False, "", None), False, 0.0),  # loads itself anew: not updated yet is not fresh
    ],
)
def test_one_look(look: Look, well: bool, oldest: float) -> None:
    pages: Any = [Pages(look)]
    seen = Seen("x")
    assert (seen.observe(pages, 0.0), seen.oldest) == (well, oldest)


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        (Seen("x", away=2.0, right=3.0), ""),
        (Seen("x", away=LONG, said=9.0, right=50.0), ""),
        (Seen("x", away=LONG, right=50.0), f"missing for {LONG:.0f} s, said after –"),
        (Seen("x", away=90.0, said=LONG, right=95.0), f"missing for 90 s, said after {LONG} s"),
        (Seen("x", away=2.0, right=3.0, oldest=LONG), f"silent for {LONG:.0f} s, not marked"),
        (Seen("x", away=2.0, last="drift, 119 s: cannot be read"), "not right again: drift, 119 s: cannot be read"),
    ],
)
def test_what_must_not_be(seen: Seen, problem: str) -> None:
    assert seen.problem() == problem


def test_a_part_that_hangs_is_known_by_its_words() -> None:
    assert LATE in t("app.late", part="the registry")
