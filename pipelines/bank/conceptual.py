"""The hand-written bank: data structures, HTTP, git, concurrency, databases and security."""

from __future__ import annotations

from pathlib import Path

from pipelines.bank.jsonl import load_jsonl
from pipelines.bank.labelled_question import LabelledQuestion

DATA = Path(__file__).parent / "data" / "conceptual.jsonl"


def conceptual() -> list[LabelledQuestion]:
    """Every hand-written question, in the file's order."""
    return load_jsonl(DATA)
