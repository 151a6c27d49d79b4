"""Where a verb's questions come from: the command line, a file, the bank."""

from __future__ import annotations

import json
import random
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from common.question import Question, QuestionError, parse_question
from mcqa import input_files
from mcqa.errors import CommandError

if TYPE_CHECKING:
    from pipelines.bank import LabelledQuestion

SplitName = Literal["holdout", "validation", "train", "all"]
GENERATED: dict[SplitName, int] = {"all": 10_000, "train": 8_000, "validation": 1_000, "holdout": 1_000}
"""Questions of the generated bank when no limit is given; the generator itself is endless."""
BANKS = "generated, conceptual, a .jsonl file, hf:codemmlu or hf:mmlu"


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question to ask, and the index of its correct choice where that is known."""

    question: Question
    correct_index: int | None = None


def from_file(name: str) -> list[AskedQuestion]:
    """Questions in a JSON object, a JSON list or JSON lines; `-` is stdin. CommandError says where the mistakes are."""
    where = "stdin" if name == "-" else name
    items, mistakes = _items(input_files.read_questions(name))
    if not items and not mistakes:
        raise CommandError(f"{where} has no question: give a JSON object with question and choices")
    asked = []
    for unit, number, item in items:
        try:
            asked.append(AskedQuestion(parse_question(item), _correct_index(item)))
        except QuestionError as error:
            mistakes.append(Mistake(unit, number, str(error)))
    if mistakes:
        raise _mistakes_error(where, mistakes, len(items) > 1)
    return asked


class Mistake(NamedTuple):
    """What is wrong with the line or question of this number; `message` follows the place without a colon if
    `continues` it, as in "line 3 is not JSON".
    """

    unit: str
    number: int
    message: str
    continues: bool = False


Item = tuple[str, int, Any]
"""A unit and its number, as ("line", 3), and the value."""


def _items(text: str) -> tuple[list[Item], list[Mistake]]:
    """The text's JSON values, and what is not JSON, each with its place."""
    try:
        whole = json.loads(text)
        values = whole if isinstance(whole, list) else [whole]
        return [("question", number, value) for number, value in enumerate(values)], []
    except (ValueError, RecursionError) as error:
        start = text.split("\n", 1)[0].strip()
        if start[:1] == "[" or start == "{":  # one value over several lines: none of them would be JSON
            return [], [_not_json(getattr(error, "lineno", 1), error)]
    items: list[Item] = []
    mistakes: list[Mistake] = []
    # Not splitlines(): it also breaks at U+2028 and the like, which JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removeprefix("\ufeff")  # files with a byte order mark may have been concatenated
        if line.strip():
            try:
                items.append(("line", number, json.loads(line)))
            except (ValueError, RecursionError) as error:
                mistakes.append(_not_json(number, error))
    return items, mistakes


def _not_json(line: int, error: Exception) -> Mistake:
    reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
    return Mistake("line", line, f"is not JSON: {reason}", continues=True)


def _mistakes_error(where: str, mistakes: list[Mistake], many: bool) -> CommandError:
    ordered = sorted(mistakes)
    if len(ordered) > 1:
        details = [f"{mistake.unit} {mistake.number}: {mistake.message}" for mistake in ordered]
        return CommandError(f"{where} has {len(ordered)} mistakes", details)
    (mistake,) = ordered
    if mistake.unit == "line":
        return CommandError(f"{where}, line {mistake.number}{' ' if mistake.continues else ': '}{mistake.message}")
    place = f"{mistake.unit} {mistake.number}: " if many else ""
    return CommandError(f"{where}: {place}{mistake.message}")


def _correct_index(item: dict[str, Any]) -> int | None:
    answer = item.get("answer")
    if answer is None:
        return None
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(item["choices"]):
        raise QuestionError("answer", f"must be an index from 0 to {len(item['choices']) - 1}, found {answer!r}")
    return answer


def random_question(seed: int | None = None, subject: str | None = None) -> AskedQuestion:
    """A generated question of the holdout split, of `subject` or any that the tiny model was trained on.

    CommandError when the bank has no such subject.
    """
    from pipelines import bank

    rng = random.Random(seed)
    if subject is not None and subject not in bank.subjects():
        raise CommandError(f"the bank has no subject {subject}; it has {', '.join(bank.subjects())}")
    subjects = [subject] if subject else [name for name in bank.subjects() if name not in bank.HELD_OUT_SUBJECTS]
    labelled = rng.choice(bank.generate(rng.randrange(2**31), len(subjects), subjects, split="holdout"))
    return AskedQuestion(labelled.question, labelled.answer)


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
        questions = _load_all(name)
        known = {labelled.subject for labelled in questions}
    if unknown := sorted(set(subjects) - known):
        raise CommandError(f"{name} has no subject {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    if name == "generated":
        try:
            return bank.generate(seed, size, subjects or None, split=None if split == "all" else split)
        except ValueError as error:
            raise CommandError(f"cannot generate {size} questions: {error}") from None
    selected = [
        labelled
        for labelled in questions
        if (not subjects or labelled.subject in subjects) and split in ("all", bank.split_of(labelled.question))
    ]
    if not selected:
        raise CommandError(f"{name} has no question in split {split}: try --split all")
    if limit is not None and limit < len(selected):
        indices = sorted(random.Random(seed).sample(range(len(selected)), limit))
        selected = [selected[i] for i in indices]
    return selected


def _load_all(name: str) -> list[LabelledQuestion]:
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
