"""Where a verb's questions come from: the command line, a file, the bank."""

from __future__ import annotations

import json
import random
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common.question import Question, QuestionError, parse_question
from mcqa import given
from mcqa.errors import CommandError

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
    """Questions of a JSON object, a JSON list or JSON lines; `-` is stdin. CommandError names the places."""
    where = "stdin" if name == "-" else name
    items, mistakes = _items(given.questions(name))
    if not items and not mistakes:
        raise CommandError(f"{where} holds no question: give a JSON object with question and choices")
    asked = []
    for place, item in items:
        try:
            asked.append(Asked(parse_question(item), _right(item)))
        except QuestionError as error:
            mistakes.append((place, str(error)))
    if mistakes:
        raise _mistaken(where, mistakes, len(items) > 1)
    return asked


Place = tuple[str, int]
"""What is counted, and which one it is: ("line", 3)."""


def _items(text: str) -> tuple[list[tuple[Place, Any]], list[tuple[Place, str]]]:
    """The text's JSON values and what is none, each with its place."""
    try:
        whole = json.loads(text)
        values = whole if isinstance(whole, list) else [whole]
        return [(("question", number), value) for number, value in enumerate(values)], []
    except (ValueError, RecursionError) as error:
        start = text.split("\n", 1)[0].strip()
        if start[:1] == "[" or start == "{":  # one value over several lines: no line of it would be JSON
            return [], [(("line", getattr(error, "lineno", 1)), f"is not JSON: {_reason(error)}")]
    items: list[tuple[Place, Any]] = []
    mistakes: list[tuple[Place, str]] = []
    # Not splitlines(): it also breaks at U+2028 and its like, which JSON allows inside a text.
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removeprefix("\ufeff")  # files with a byte order mark may have been put together
        if line.strip():
            try:
                items.append((("line", number), json.loads(line)))
            except (ValueError, RecursionError) as error:
                mistakes.append((("line", number), f"is not JSON: {_reason(error)}"))
    return items, mistakes


def _reason(error: Exception) -> str:
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)


def _mistaken(where: str, mistakes: list[tuple[Place, str]], many: bool) -> CommandError:
    ordered = sorted(mistakes)
    if len(ordered) == 1:
        (kind, number), said = ordered[0]
        separator = " " if said.startswith("is not JSON") else ": "
        place = f", {kind} {number}{separator}" if kind == "line" else f": {kind} {number}: " if many else ": "
        return CommandError(f"{where}{place}{said}")
    return CommandError(f"{where} has {len(ordered)} mistakes", [f"{k} {n}: {said}" for (k, n), said in ordered])


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
        if len(error.mistakes) > 1:
            raise CommandError(f"{name} has {len(error.mistakes)} mistakes", error.mistakes) from None
        raise CommandError(str(error)) from None
    raise CommandError(f"there is no bank {name}: give {BANKS}")
