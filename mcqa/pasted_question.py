"""A whole question from one text that somebody pasted: JSON as the bank writes it, or as people write such questions.

    Q: What does this print?
    ```python
    print(1 + 1)
    ```
    A) 1
    B) 2
    Answer: B

Letters may be in parentheses, with `)`, `.` or `:`, in lower case, bold or in a list; numbers do as well, without
letters. Choices may share a line or continue over several. Pure.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from common.normalise import is_blank
from common.question import LETTERS, MAX_CHOICES, MIN_CHOICES

MAX_CHARACTERS = 200_000
"""Far above the model server's limit, and little enough for the expressions here."""

PasteErrorCode = Literal["empty", "too-long", "not-json", "no-question", "no-choices", "too-many-choices"]


class PasteError(ValueError):
    """The text is not a question; `code` says why, `detail` what a parser found."""

    def __init__(self, code: PasteErrorCode, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code, self.detail = code, detail


@dataclass(frozen=True, slots=True)
class PastedQuestion:
    """What was found. `right` is the index of the right choice where the text names it, `language` what its code fence
    is marked with; `others` counts further questions in the text."""

    stem: str
    choices: tuple[str, ...]
    code: str = ""
    right: int | None = None
    language: str = ""
    others: int = 0


def parse_pasted(text: str) -> PastedQuestion:
    """The question in the text; PasteError."""
    if len(text) > MAX_CHARACTERS:
        raise PasteError("too-long", str(len(text)))
    plain = text.replace("\r\n", "\n").replace("\r", "\n").strip("\ufeff\n ")
    if is_blank(plain):
        raise PasteError("empty")
    if plain[0] in "{[":
        try:
            return _from_json(_values(plain))
        except json.JSONDecodeError as error:
            if plain[0] == "{" or re.match(r'\[\s*[{\]"]', plain):
                raise PasteError("not-json", f"{error.msg}: line {error.lineno}, column {error.colno}") from None
        except RecursionError:
            raise PasteError("not-json", "too deep") from None
    return _from_text(plain)


def _values(text: str) -> list[Any]:
    """The values of a JSON document, or of the first lines of JSON lines."""
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) < 2 or not lines[0].rstrip().endswith("}"):
            raise
        return [json.loads(line) for line in lines]
    return whole if isinstance(whole, list) else [whole]


def _from_json(values: Sequence[Any]) -> PastedQuestion:
    # The body of a request to the model server is what curl's users have at hand.
    if len(values) == 1 and isinstance(values[0], Mapping) and isinstance(values[0].get("instances"), list):
        values = values[0]["instances"]
    if not values or not isinstance(values[0], Mapping):
        raise PasteError("no-question")
    item = values[0]
    stem = item.get("question", item.get("stem", ""))
    choices = item.get("choices", item.get("options"))
    if isinstance(choices, Mapping):  # {"A": "…", "B": "…"}
        choices = [choices[key] for key in sorted(choices)]
    if not isinstance(stem, str) or is_blank(stem):
        raise PasteError("no-question")
    if not isinstance(choices, list) or len(choices) < MIN_CHOICES:
        raise PasteError("no-choices")
    texts = tuple(choice if isinstance(choice, str) else json.dumps(choice, ensure_ascii=False) for choice in choices)
    code = item.get("code")
    return PastedQuestion(
        stem, _checked(texts), code if isinstance(code, str) else "", _right(item.get("answer"), len(texts)),
        others=len(values) - 1,
    )  # fmt: skip


def _right(answer: Any, count: int) -> int | None:
    """An index, or a letter as an index."""
    if isinstance(answer, str) and len(answer.strip()) == 1:
        answer = LETTERS.find(answer.strip().upper())
    return answer if type(answer) is int and 0 <= answer < count else None


_MARK = r"(?:[-*•]\s+)?(?:\*\*)?[(\[]?"
_LETTER = re.compile(rf"^\s{{0,8}}{_MARK}([A-Ja-j])(?:[)\].:]|\*\*[.:)])(?:\*\*)?(?:\s+|$)(.*)$")
_NUMBER = re.compile(r"^\s{0,8}[(\[]?(\d{1,2})[)\].:]\s+(.*)$")
_INLINE = re.compile(r"(?:(?<=\s)|^)[(\[]?([A-J])[)\].:]\s+")
_ANSWER = re.compile(
    r"^\s*(?:\*\*)?(?:the\s+)?(?:(?:correct|right)\s+)?(?:answer|ans|solution|đáp án)(?:\s+is)?"  # codespell:ignore ans
    r"\s*[:.)=]?\s*(?:\*\*)?\s*[(\[]?([A-Ja-j]|\d{1,2})\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"^(?:#+\s*)?(?:\*\*)?(?:(?i:question|q|câu(?:\s+hỏi)?)\s*\d*\s*[:.)](?:\*\*)?\s*|Q\s+)")
_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+#.-]*)[ \t]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)


def _from_text(text: str) -> PastedQuestion:
    body, fences = _without_fences(text)
    lines = body.split("\n")
    found = _blocks(lines, _LETTER, LETTERS.index, str.upper) or _inline(lines)
    found = found or _blocks(lines, _NUMBER, lambda number: int(number) - 1, str)
    if found is None:
        raise PasteError("no-choices")
    head, choices, named = found
    stem, code = _stem(head)
    language = ""
    if fences and not code:
        language, code = fences[0]
    if is_blank(stem):
        raise PasteError("no-question")
    return PastedQuestion(stem, _checked(tuple(choices)), code, _named(named, len(choices)), language)


def _without_fences(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The text without its first code fence, which is the question's, and that fence; those of choices stay."""
    match = _FENCE.search(text)
    before = text[: match.start()].split("\n") if match else []
    if match is None or any(_LETTER.match(line) for line in before):
        return text, []
    code = textwrap.dedent(match[2]).strip("\n")
    return text[: match.start()] + text[match.end() :], [(match[1].lower(), code)]


_Found = tuple[list[str], list[str], str]


def _blocks(
    lines: Sequence[str], pattern: re.Pattern[str], index: Callable[[str], int], fold: Callable[[str], str]
) -> _Found | None:
    """The lines before the choices, the choices, and what an answer line names; None without two choices.

    The choices are the last run that counts from the first: a stem may itself hold "a)" or "1.".
    """
    runs: list[list[tuple[int, str]]] = []
    for number, line in enumerate(lines):
        if (match := pattern.match(line)) is None:
            continue
        place = index(fold(match[1]))
        if place == 0:
            runs.append([(number, match[2])])
        elif runs and place == len(runs[-1]):
            runs[-1].append((number, match[2]))
    run = next((run for run in reversed(runs) if len(run) >= MIN_CHOICES), None)
    if run is None:
        return None
    end, named = _end(lines, run[-1][0] + 1)
    starts = [number for number, _ in run] + [end]
    choices = [
        "\n".join([first, *lines[number + 1 : starts[place + 1]]]).strip().removesuffix("**")
        for place, (number, first) in enumerate(run)
    ]
    return list(lines[: run[0][0]]), [_unfenced(choice) for choice in choices], named


def _end(lines: Sequence[str], start: int) -> tuple[int, str]:
    """Where the last choice ends: at a line that names the answer, or at a blank one after which none of it follows."""
    for number in range(start, len(lines)):
        if match := _ANSWER.match(lines[number]):
            return number, match[1]
    blank = next((number for number in range(start, len(lines)) if not lines[number].strip()), len(lines))
    return blank, ""


def _inline(lines: Sequence[str]) -> _Found | None:
    """Choices on one line: A) 1 B) 2 C) 3."""
    for number, line in enumerate(lines):
        marks = list(_INLINE.finditer(line))
        if len(marks) < MIN_CHOICES or [mark[1] for mark in marks] != list(LETTERS[: len(marks)]):
            continue
        ends = [mark.start() for mark in marks[1:]] + [len(line)]
        choices = [line[mark.end() : end].strip(" \t,;") for mark, end in zip(marks, ends, strict=True)]
        _, named = _end(lines, number + 1)
        return [*lines[:number], line[: marks[0].start()]], choices, named
    return None


def _unfenced(choice: str) -> str:
    match = _FENCE.fullmatch(choice.strip())
    return textwrap.dedent(match[2]).strip("\n") if match else choice


def _stem(lines: Sequence[str]) -> tuple[str, str]:
    """The question and, where its end is indented like a Markdown block, its code."""
    head = list(lines)
    while head and not head[-1].strip():
        head.pop()
    start = len(head)
    while start and (head[start - 1].startswith(("    ", "\t")) or not head[start - 1].strip()):
        start -= 1
    code = textwrap.dedent("\n".join(head[start:])).strip("\n") if 0 < start < len(head) else ""
    text = "\n".join(head[:start] if code else head).strip("\n ")
    stem = _QUESTION.sub("", text, count=1).strip()
    bold = stem.startswith("**") and stem.endswith("**") and stem.count("**") == 2
    return (stem[2:-2].strip() if bold else stem.removesuffix("**")), code


def _named(text: str, count: int) -> int | None:
    if text.isdigit():
        return int(text) - 1 if 1 <= int(text) <= count else None
    return _right(text, count) if text else None


def _checked(choices: tuple[str, ...]) -> tuple[str, ...]:
    if len(choices) > MAX_CHOICES:
        raise PasteError("too-many-choices", str(len(choices)))
    return choices
