"""The domain: a multiple-choice question, its answer, and how a question is checked.

Pure data. Nothing here imports torch, KServe or a transport, so a client, a function or a test can use it freely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from predictor.normalise import is_blank, normalise_choice, normalise_code, normalise_stem

LETTERS = "ABCDEFGHIJ"
MIN_CHOICES = 2
MAX_CHOICES = len(LETTERS)

Debias = Literal["none", "prior", "cyclic"]
DEBIAS_MODES: tuple[str, ...] = get_args(Debias)

Purpose = Literal["test"]
PURPOSES: tuple[str, ...] = get_args(Purpose)
"""What a request may say it is for. A real question says nothing; the loop counts a test for nothing."""

QUESTION_FIELDS = ("question", "choices", "code", "id", "subject", "answer")


class QuestionError(ValueError):
    """One field of a question is not usable. `field` names it; `index` is its place in a batch, once known."""

    def __init__(self, field: str, message: str, index: int | None = None) -> None:
        self.field = field
        self.message = message
        self.index = index
        super().__init__(f"{field}: {message}" if index is None else f"question {index}: {field}: {message}")

    def at(self, index: int) -> QuestionError:
        return QuestionError(self.field, self.message, index)


@dataclass(frozen=True, slots=True)
class Question:
    """A coding question with 2 to 10 choices, in its sender's own text. On the wire `stem` is called `question`."""

    stem: str
    choices: tuple[str, ...]
    code: str | None = None
    id: str | None = None
    subject: str | None = None

    @property
    def letters(self) -> str:
        return LETTERS[: len(self.choices)]

    def rotated(self, by: int) -> Question:
        """The same question with choice i moved to place (i - by) mod K."""
        k = by % len(self.choices)
        return Question(self.stem, self.choices[k:] + self.choices[:k], self.code, self.id, self.subject)

    def normalised(self) -> Question:
        """The question as the model reads it and as questions are compared: see predictor.normalise."""
        code = normalise_code(self.code) if self.code else None
        choices = tuple(map(normalise_choice, self.choices))
        return Question(normalise_stem(self.stem), choices, code or None, self.id, self.subject)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of one question.

    `probabilities` has one entry a choice, in the choices' order, and sums to 1. `confidence` is the largest of
    them, `margin` its distance to the second, `entropy` theirs in nats. `letter_mass` is the share of the whole
    vocabulary's probability that the valid letters held before renormalising: near 0, the model did not want to
    answer with a letter at all.
    """

    letter: str
    index: int
    choice: str
    probabilities: tuple[float, ...]
    confidence: float
    margin: float
    entropy: float
    letter_mass: float
    prompt_tokens: int
    model_version: str
    revision: str | None = None
    id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: probabilities by letter, absent fields left out."""
        out: dict[str, Any] = {
            "letter": self.letter,
            "index": self.index,
            "choice": self.choice,
            "probabilities": dict(zip(LETTERS, self.probabilities, strict=False)),
            "confidence": self.confidence,
            "margin": self.margin,
            "entropy": self.entropy,
            "letter_mass": self.letter_mass,
            "prompt_tokens": self.prompt_tokens,
            "model_version": self.model_version,
        }
        if self.revision is not None:
            out["revision"] = self.revision
        if self.id is not None:
            out["id"] = self.id
        return out


@dataclass(frozen=True, slots=True)
class Explanation:
    """A reasoned text for the answer that was chosen. `finish_reason` is 'stop' or 'length'."""

    answer: Answer
    text: str
    completion_tokens: int
    finish_reason: Literal["stop", "length"] = field(default="stop")


def parse_question(data: Any) -> Question:
    """A Question from its JSON object; raises QuestionError naming the field.

    `question` (text) and `choices` (2 to 10 texts that differ in more than white space) are required; `code`, `id` and
    `subject` are optional texts; `answer` (a labelled question's right index) is accepted and ignored, so that a bank's
    line can be sent as it stands. Any other field is refused: a misspelt `code` must not be silently dropped.
    """
    if not isinstance(data, Mapping):
        raise QuestionError("question", f"must be an object with question and choices, found {_kind(data)}")
    unknown = sorted(str(k) for k in data if k not in QUESTION_FIELDS)
    if unknown:
        raise QuestionError(unknown[0], f"is not a field; the fields are {', '.join(QUESTION_FIELDS)}")
    stem = _text("question", data.get("question"))
    raw = data.get("choices")
    if not isinstance(raw, Sequence) or isinstance(raw, str | bytes):
        raise QuestionError("choices", f"must be a list of {MIN_CHOICES} to {MAX_CHOICES} texts, found {_kind(raw)}")
    if not MIN_CHOICES <= len(raw) <= MAX_CHOICES:
        raise QuestionError("choices", f"needs {MIN_CHOICES} to {MAX_CHOICES} choices, found {len(raw)}")
    choices = tuple(_text(f"choices[{i}]", choice) for i, choice in enumerate(raw))
    _check_different(choices)
    optional = {name: _optional_text(name, data.get(name)) for name in ("code", "id", "subject")}
    return Question(stem, choices, **optional)


def parse_questions(items: Sequence[Any]) -> list[Question]:
    """Every item parsed; the first bad one raises a QuestionError with its index."""
    questions = []
    for index, item in enumerate(items):
        try:
            questions.append(parse_question(item))
        except QuestionError as error:
            raise error.at(index) from None
    return questions


def parse_debias(value: Any) -> Debias | None:
    """The `debias` parameter: none, prior or cyclic; None when it is not given."""
    if value is None:
        return None
    if value not in DEBIAS_MODES:
        raise QuestionError("debias", f"must be one of {', '.join(DEBIAS_MODES)}, found {value!r}"[:200])
    return value


def _check_different(choices: Sequence[str]) -> None:
    """A reader must be able to tell the choices apart; the letters of the first that are the same are named."""
    letters_of: dict[str, str] = {}
    for letter, choice in zip(LETTERS, map(normalise_choice, choices), strict=False):
        letters_of[choice] = letters_of.get(choice, "") + letter
    for letters in letters_of.values():
        if len(letters) > 1:
            exactly = len({choices[LETTERS.index(letter)] for letter in letters}) == 1
            raise QuestionError(
                "choices",
                f"{', '.join(letters[:-1])} and {letters[-1]} are the same text"
                + ("" if exactly else ", but for white space or the encoding of characters"),
            )


def parse_purpose(value: Any) -> Purpose | None:
    """The `purpose` parameter: test; None when it is not given."""
    if value is None:
        return None
    if value not in PURPOSES:
        raise QuestionError("purpose", f"must be one of {', '.join(PURPOSES)}, found {value!r}"[:200])
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise QuestionError(name, f"must be a text, found {_kind(value)}")
    if is_blank(value):
        raise QuestionError(name, "is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise QuestionError(name, "holds half of a surrogate pair, which is no text") from None
    return value


def _optional_text(name: str, value: Any) -> str | None:
    if value is None or (isinstance(value, str) and is_blank(value)):
        return None
    return _text(name, value)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    return {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }.get(type(value), type(value).__name__)
