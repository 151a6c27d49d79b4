"""Banks as JSONL: one object per line with `question`, `choices`, `answer` (an index), and `id`, `subject`, `code`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from common.question import QuestionError, parse_question
from pipelines.bank.labelled_question import LabelledQuestion


class BankError(ValueError):
    """A bank that cannot be used; the message says where, what was found and what to do.

    `mistakes` are all of its lines that are wrong, as "line 3: …".
    """

    def __init__(self, message: str, mistakes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.mistakes = tuple(mistakes)


def label(data: Any) -> LabelledQuestion:
    """A labelled question from its JSON object; QuestionError names the field that is wrong."""
    question = parse_question(data)
    answer = data.get("answer")
    if isinstance(answer, bool) or not isinstance(answer, int):
        raise QuestionError("answer", f"must be the index of the right choice, a whole number, found {answer!r}")
    if not 0 <= answer < len(question.choices):
        raise QuestionError(
            "answer", f"must be 0 to {len(question.choices) - 1} with {len(question.choices)} choices, found {answer}"
        )
    return LabelledQuestion(question, answer)


def load_jsonl(path: Path) -> list[LabelledQuestion]:
    """Every line of the file; blank lines are skipped. BankError lists every line that is not valid."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BankError(f"{path}: {error.strerror or error}; give a JSONL file of questions") from None
    except UnicodeDecodeError as error:
        raise BankError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    bank: list[LabelledQuestion] = []
    lines_of: dict[str, int] = {}
    mistakes: list[tuple[int, str]] = []
    # Not splitlines(): it also breaks at U+2028 and its like, which JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removeprefix("\ufeff")  # on any line: files with a byte order mark may have been joined
        if not line.strip():
            continue
        try:
            labelled = label(json.loads(line))
        except QuestionError as error:
            mistakes.append((number, str(error)))
            continue
        except (ValueError, RecursionError) as error:
            mistakes.append((number, f"is not JSON: {_json_reason(error)}"))
            continue
        key = labelled.question.id
        if key is not None and lines_of.setdefault(key, number) != number:
            mistakes.append((number, f"id {key!r} was used on line {lines_of[key]} already"))
        bank.append(labelled)
    if mistakes:
        raise _mistaken(path, mistakes)
    if not bank:
        raise BankError(f"{path}: holds no question")
    return bank


def _json_reason(error: Exception) -> str:
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)


def _mistaken(path: Path, mistakes: Sequence[tuple[int, str]]) -> BankError:
    lines = [f"line {number}: {message}" for number, message in mistakes]
    number, message = mistakes[0]
    more = f"; {len(mistakes) - 1} more lines are wrong" if len(mistakes) > 1 else ""
    return BankError(f"{path}:{number}: {message}{more}", lines)


def dump_jsonl(bank: Iterable[LabelledQuestion], path: Path) -> int:
    """Writes the bank, one question per line; returns the number of lines."""
    lines = [json.dumps(question.to_dict(), ensure_ascii=False) for question in bank]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return len(lines)
