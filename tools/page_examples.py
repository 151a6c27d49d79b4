"""`python -m tools.page_examples [--write]`: the page's example questions, from the bank's holdout split.

Of the subjects that the tiny demonstration model learned; a test holds the file to this.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from mcqa.defaults import TINY_MODEL
from pipelines import bank
from predictor.model_card import read_card
from ui.ask.examples import FILE

PER_SUBJECT = 4
SEED = 13


def examples() -> dict[str, list[dict[str, Any]]]:
    card = read_card(TINY_MODEL)
    assert card is not None
    return {subject: [_item(labelled) for labelled in _drawn(subject)] for subject in card.subjects}


def _drawn(subject: str) -> list[bank.LabelledQuestion]:
    """Different ones, from short to long."""
    drawn = bank.generate(SEED, 8 * PER_SUBJECT, [subject], split="holdout")
    unique = {(item.question.stem, item.question.code): item for item in drawn}
    ordered = sorted(unique.values(), key=lambda item: len(item.question.code or item.question.stem))
    return ordered[:: max(len(ordered) // PER_SUBJECT, 1)][:PER_SUBJECT]


def _item(labelled: bank.LabelledQuestion) -> dict[str, Any]:
    question = labelled.question
    code = {"code": question.code} if question.code else {}
    return {"question": question.stem, **code, "choices": list(question.choices), "answer": labelled.answer}


def rendered() -> str:
    return json.dumps(examples(), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    if "--write" in sys.argv[1:]:
        FILE.write_text(rendered(), encoding="utf-8")
        return 0
    if FILE.read_text(encoding="utf-8") == rendered():
        return 0
    print(f"{FILE} is not what the bank says: python -m tools.page_examples --write", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
