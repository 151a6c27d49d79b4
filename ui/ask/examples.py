"""Example questions by subject, of the subjects that the tiny demonstration model learned.

`examples/ask.json` is made from the question bank, which is not in the page's image (`python -m tools.page_examples`).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from common.question import Question, parse_question

FILE = Path(__file__).parents[1] / "examples/ask.json"


@cache
def examples() -> dict[str, list[tuple[Question, int]]]:
    """By subject: questions, each with its right choice."""
    stored: dict[str, list[dict[str, Any]]] = json.loads(FILE.read_text("utf-8"))
    return {
        subject: [(parse_question({**item, "subject": subject}), int(item["answer"])) for item in items]
        for subject, items in stored.items()
    }
