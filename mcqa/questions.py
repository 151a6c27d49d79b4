"""Where a verb's questions come from: the command line, a file, the bank."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mcqa.errors import CommandError
from predictor.question import Question, QuestionError, parse_question

if TYPE_CHECKING:
    from pipelines.bank import LabelledQuestion

SplitName = Literal["holdout", "validation", "train", "all"]
GENERATED: dict[SplitName, int] = {"all": 10_000, "train": 8_000, "validation": 1_000, "holdout": 1_000}
"""Questions of the generated bank when no limit is given; the generator has no end of its own."""
BANKS = "generated, conceptual, a .jsonl file, hf:codemmlu or hf:mmlu"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to ask, and the index of its right choice where it is known."""

    question: Question
    right: int | None = None


def from_file(name: str) -> list[Asked]:
    """Questions of a JSON object, a JSON list or JSON lines; `-` is stdin. CommandError names the place."""
    where = "stdin" if name == "-" else name
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read {where}: {getattr(error, 'strerror', None) or error}") from None
    items = _items(text, where)
    if not items:
        raise CommandError(f"{where} holds no question: give a JSON object with question and choices")
    asked = []
    for i, item in enumerate(items):
        try:
            asked.append(Asked(parse_question(item), _right(item)))
        except QuestionError as error:
            raise CommandError(f"{where}: {error.at(i) if len(items) > 1 else error}") from None
    return asked


def _items(text: str, where: str) -> list[Any]:
    try:
        whole = json.loads(text)
        return whole if isinstance(whole, list) else [whole]
    except ValueError:
        pass
    items = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                items.append(json.loads(line))
            except ValueError as error:
                raise CommandError(f"{where}, line {number} is not JSON: {error}") from None
    return items


def _right(item: dict[str, Any]) -> int | None:
    answer = item.get("answer")
    if answer is None:
        return None
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(item["choices"]):
        raise QuestionError("answer", f"must be an index from 0 to {len(item['choices']) - 1}, found {answer!r}")
    return answer


def random_one(seed: int | None = None, subject: str | None = None) -> Asked:
    """A generated question of the holdout split, of `subject` or any that the tiny model was trained on.

    CommandError when the bank has no such subject.
    """
    from pipelines import bank

    rng = random.Random(seed)
    if subject is not None and subject not in bank.subjects():
        raise CommandError(f"the bank has no subject {subject}; it has {', '.join(bank.subjects())}")
    learned = [subject] if subject else [one for one in bank.subjects() if one not in bank.HELD_OUT_SUBJECTS]
    one = rng.choice(bank.generate(rng.randrange(2**31), len(learned), learned, split="holdout"))
    return Asked(one.question, one.answer)


def load_bank(
    name: str, *, split: SplitName = "all", subjects: Collection[str] = (), limit: int | None = None, seed: int = 0
) -> list[LabelledQuestion]:
    """A bank's questions of a split and of some subjects, at most `limit` drawn by `seed`, in the bank's order.

    CommandError when there is no such bank, subject, or no question left.
    """
    from pipelines import bank

    if name == "generated":
        known = set(bank.subjects())
        size = min(GENERATED[split], limit or GENERATED[split])
    else:
        questions = _whole(name)
        known = {one.subject for one in questions}
    if unknown := sorted(set(subjects) - known):
        raise CommandError(f"{name} has no subject {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    if name == "generated":
        try:
            return bank.generate(seed, size, subjects or None, split=None if split == "all" else split)
        except ValueError as error:
            raise CommandError(f"cannot generate {size} questions: {error}") from None
    chosen = [
        one
        for one in questions
        if (not subjects or one.subject in subjects) and split in ("all", bank.split_of(one.question))
    ]
    if not chosen:
        raise CommandError(f"{name} has no question in split {split}: try --split all")
    if limit is not None and limit < len(chosen):
        places = sorted(random.Random(seed).sample(range(len(chosen)), limit))
        chosen = [chosen[i] for i in places]
    return chosen


def _whole(name: str) -> list[LabelledQuestion]:
    from pipelines import bank

    if name == "conceptual":
        return bank.conceptual()
    try:
        if name.endswith(".jsonl"):
            return bank.load_jsonl(Path(name))
        if name in ("hf:codemmlu", "hf:mmlu"):
            from pipelines.bank import huggingface

            return huggingface.load_codemmlu() if name == "hf:codemmlu" else huggingface.load_mmlu()
    except bank.BankError as error:
        raise CommandError(str(error)) from None
    raise CommandError(f"there is no bank {name}: give {BANKS}")
