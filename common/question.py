"""The domain: a multiple-choice question, its answer, and how a question is validated.

Pure data: nothing here imports torch, KServe or a transport.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from common.normalise import is_blank, normalise_choice, normalise_code, normalise_stem

LETTERS = "ABCDEFGHIJ"
MIN_CHOICES = 2
MAX_CHOICES = len(LETTERS)

Debias = Literal["none", "prior", "cyclic"]
DEBIAS_MODES: tuple[str, ...] = get_args(Debias)

Purpose = Literal["test"]
PURPOSES: tuple[str, ...] = get_args(Purpose)
"""What a request may be marked as. A real question is not marked; the loop ignores tests."""

QUESTION_FIELDS = ("question", "choices", "code", "id", "subject", "answer")


class QuestionError(ValueError):
    """One field of a question is invalid. `field` names it; `index` is the question's place in its batch, if known."""

    def __init__(self, field: str, message: str, index: int | None = None) -> None:
        self.field = field
        self.message = message
        self.index = index
        super().__init__(f"{field}: {message}" if index is None else f"question {index}: {field}: {message}")

    def at(self, index: int) -> QuestionError:
        return QuestionError(self.field, self.message, index)


@dataclass(frozen=True, slots=True)
class Question:
    """A coding question with 2 to 10 choices, in its sender's own text. In JSON, `stem` is called `question`."""

    stem: str
    choices: tuple[str, ...]
    code: str | None = None
    id: str | None = None
    subject: str | None = None

    @property
    def letters(self) -> str:
        return LETTERS[: len(self.choices)]

    def rotated(self, by: int) -> Question:
        """The same question with choice i moved to position (i - by) mod K."""
        k = by % len(self.choices)
        return Question(self.stem, self.choices[k:] + self.choices[:k], self.code, self.id, self.subject)

    def normalised(self) -> Question:
        """The form in which the model reads the question and questions are compared: see common.normalise."""
        code = normalise_code(self.code) if self.code else None
        choices = tuple(map(normalise_choice, self.choices))
        return Question(normalise_stem(self.stem), choices, code or None, self.id, self.subject)


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer to one question.

    `probabilities` has one entry per choice, in the choices' order, and sums to 1. `confidence` is the largest of
    them, `margin` its distance to the second largest, `entropy` their entropy in nats. `letter_mass` is the share of
    the whole vocabulary's probability that the valid letters had before renormalising: near 0, the model did not
    want to answer with a letter at all.
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
    """A text that argues for the chosen answer. `finish_reason` is 'stop' or 'length'."""

    answer: Answer
    text: str
    completion_tokens: int
    finish_reason: Literal["stop", "length"] = field(default="stop")


def parse_question(data: Any) -> Question:
    """A Question from its JSON object; raises QuestionError naming the field.

    `question` (a string) and `choices` (2 to 10 strings that differ in more than white space) are required; `code`,
    `id` and `subject` are optional strings; `answer` (a labelled question's right index) is accepted and ignored, so
    that a bank's line can be sent unchanged. Any other field is refused: a misspelt `code` must not be dropped.
    """
    if not isinstance(data, Mapping):
        raise QuestionError("question", f"must be an object with question and choices, found {_kind(data)}")
    unknown = sorted(str(k) for k in data if k not in QUESTION_FIELDS)
    if unknown:
        raise QuestionError(unknown[0], f"is not a field; the fields are {', '.join(QUESTION_FIELDS)}")
    stem = _text("question", data.get("question"))
    raw = data.get("choices")
    if not isinstance(raw, Sequence) or isinstance(raw, str | bytes):
        raise QuestionError("choices", f"must be a list of {MIN_CHOICES} to {MAX_CHOICES} strings, found {_kind(raw)}")
    if not MIN_CHOICES <= len(raw) <= MAX_CHOICES:
        raise QuestionError("choices", f"needs {MIN_CHOICES} to {MAX_CHOICES} choices, found {len(raw)}")
    choices = tuple(_text(f"choices[{i}]", choice) for i, choice in enumerate(raw))
    _check_different(choices)
    optional = {name: _optional_text(name, data.get(name)) for name in ("code", "id", "subject")}
    return Question(stem, choices, **optional)


def parse_questions(items: Sequence[Any]) -> list[Question]:
    """Every item parsed; the first invalid one raises a QuestionError with its index."""
    questions = []
    for index, item in enumerate(items):
        try:
            questions.append(parse_question(item))
        except QuestionError as error:
            raise error.at(index) from None
    return questions


def parse_debias(value: Any) -> Debias | None:
    """The `debias` parameter: none, prior or cyclic; None if it is absent."""
    if value is None:
        return None
    if value not in DEBIAS_MODES:
        raise QuestionError("debias", f"must be one of {', '.join(DEBIAS_MODES)}, found {value!r}"[:200])
    mode: Debias = value
    return mode


def _check_different(choices: Sequence[str]) -> None:
    """QuestionError, with their letters, if a reader cannot tell two choices apart."""
    letters_of: dict[str, str] = {}
    for letter, choice in zip(LETTERS, map(normalise_choice, choices), strict=False):
        letters_of[choice] = letters_of.get(choice, "") + letter
    for letters in letters_of.values():
        if len(letters) > 1:
            exactly = len({choices[LETTERS.index(letter)] for letter in letters}) == 1
            raise QuestionError(
                "choices",
                f"{', '.join(letters[:-1])} and {letters[-1]} are the same text"
                + ("" if exactly else ", except for white space or the encoding of characters"),
            )


def parse_purpose(value: Any) -> Purpose | None:
    """The `purpose` parameter: test; None if it is absent."""
    if value is None:
        return None
    if value not in PURPOSES:
        raise QuestionError("purpose", f"must be one of {', '.join(PURPOSES)}, found {value!r}"[:200])
    purpose: Purpose = value
    return purpose


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise QuestionError(name, f"must be a string, found {_kind(value)}")
    if is_blank(value):
        raise QuestionError(name, "is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise QuestionError(name, "contains half of a surrogate pair, which is not valid Unicode") from None
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
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }.get(type(value), type(value).__name__)
