"""Questions and answers in the bodies that the payload logger copied: v1 and v2 JSON (Open Inference Protocol).

A v2 body with binary tensors is JSON followed by bytes, and the event does not say where the JSON ends. It is counted
as a request or response, but what its tensors hold is left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from functions.events import BadEventError, parse_json
from predictor.question import LETTERS

QUESTION_FIELDS = ("question", "choices", "code", "id", "subject")


class NoInferenceError(Exception):
    """An exchange with another endpoint (readiness, metadata): the logger copies those too."""


@dataclass(frozen=True, slots=True)
class AnswerFacts:
    """What a response says of one question; None is what the client did not ask for."""

    letter: str | None = None
    confidence: float | None = None
    entropy: float | None = None
    margin: float | None = None
    letter_mass: float | None = None
    prompt_tokens: int | None = None


FEATURES = tuple(f.name for f in fields(AnswerFacts))


def read_questions(body: bytes) -> tuple[dict[str, Any], ...]:
    """A request's questions in their JSON form, without the labels they may carry. NoInferenceError for a GET's."""
    if not body.strip():
        raise NoInferenceError
    payload = _payload(body)
    if isinstance(instances := payload.get("instances"), list):
        rows = instances
    elif isinstance(inputs := payload.get("inputs"), list):
        if (columns := _columns(inputs, "inputs")) is None:
            return ()
        rows = _rows({name: columns[name] for name in QUESTION_FIELDS if name in columns})
        for row in rows:
            while isinstance(row.get("choices"), list) and row["choices"] and not row["choices"][-1]:
                row["choices"].pop()
    else:
        raise BadEventError("the request has neither instances (v1) nor inputs (v2)")
    return tuple(_question(row, place) for place, row in enumerate(rows))


def read_answers(body: bytes) -> tuple[tuple[AnswerFacts, ...], str | None]:
    """A response's answers, and the version it names. NoInferenceError where it is another endpoint's."""
    if not body.lstrip().startswith(b"{"):  # metrics, a page: every answer is an object
        raise NoInferenceError
    payload = _payload(body)
    version = payload.get("model_version")
    for name in ("predictions", "explanations"):
        if isinstance(rows := payload.get(name), list):
            return tuple(_answer(row, place) for place, row in enumerate(rows)), version
    if not isinstance(outputs := payload.get("outputs"), list) or "platform" in payload:
        raise NoInferenceError  # v2's model metadata lists its outputs, too
    if (columns := _columns(outputs, "outputs")) is None:
        return (), version
    rows = _rows({name: columns[name] for name in FEATURES if name in columns})
    return tuple(_answer(row, place) for place, row in enumerate(rows)), version


def _payload(body: bytes) -> dict[str, Any]:
    try:
        # Undecodable bytes can only be those of binary tensors; inside the JSON they would be half a surrogate pair.
        text = body.decode("utf-8", "surrogateescape")
        found, end = json.JSONDecoder().raw_decode(text.lstrip())
    except (ValueError, RecursionError) as error:
        raise BadEventError(f"the body is not JSON: {str(error)[:120]}") from None
    if not isinstance(found, dict):
        raise BadEventError("the body must be a JSON object")
    if text.lstrip()[end:].strip() and not _is_binary(found.get("inputs")) and not _is_binary(found.get("outputs")):
        raise BadEventError("the body has more than its JSON, and no binary tensors")
    if not any(_is_binary(found.get(name)) for name in ("inputs", "outputs")):
        return dict(parse_json(body, "the body"))
    return found


def _is_binary(tensors: Any) -> bool:
    return isinstance(tensors, list) and any(
        isinstance(tensor, dict)
        and isinstance(tensor.get("parameters"), dict)
        and "binary_data_size" in tensor["parameters"]
        for tensor in tensors
    )


def _columns(tensors: Sequence[Any], what: str) -> dict[str, list[Any]] | None:
    """Each tensor's values, one an item; None where any of them is binary."""
    if _is_binary(tensors):
        return None
    columns: dict[str, list[Any]] = {}
    for place, tensor in enumerate(tensors):
        if not isinstance(tensor, dict) or not isinstance(tensor.get("data"), list):
            raise BadEventError(f"{what}[{place}]: must be an object with name, shape and data")
        shape = tensor.get("shape")
        if not isinstance(shape, list) or not shape or not all(type(size) is int and size > 0 for size in shape):
            raise BadEventError(f"{what}[{place}]: shape: must be a list of whole numbers above 0")
        name, data = str(tensor.get("name")), tensor["data"]
        if data and isinstance(data[0], list):
            data = [value for row in data for value in (row if isinstance(row, list) else [row])]
        if len(data) != math.prod(shape):
            raise BadEventError(f"{what}[{place}]: shape {shape} does not fit {len(data)} values"[:200])
        width = len(data) // shape[0]
        if name == "choices":  # [N,K], or [K] for a single question
            width = shape[-1]
            data = [data[i : i + width] for i in range(0, len(data), width)]
        elif width != 1:
            continue  # probabilities: the features say what is needed of them
        columns[name] = data
    return columns


def _rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    if len(lengths := {len(values) for values in columns.values()}) > 1:
        raise BadEventError("the tensors have different numbers of rows")
    count = lengths.pop() if lengths else 0
    return [{name: values[i] for name, values in columns.items()} for i in range(count)]


def _question(row: Any, place: int) -> dict[str, Any]:
    if not isinstance(row, dict) or not isinstance(row.get("question"), str):
        raise BadEventError(f"question {place}: must be an object with question and choices")
    choices = row.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise BadEventError(f"question {place}: choices: must be a list of texts")
    if not 2 <= len(choices) <= len(LETTERS):
        raise BadEventError(f"question {place}: choices: must be 2 to {len(LETTERS)}, found {len(choices)}")
    return {name: row[name] for name in QUESTION_FIELDS if row.get(name) not in (None, "")}


def _answer(row: Any, place: int) -> AnswerFacts:
    if not isinstance(row, dict):
        raise BadEventError(f"answer {place}: must be an object")
    letter = row.get("letter")
    if letter is not None and not (isinstance(letter, str) and len(letter) == 1 and letter in LETTERS):
        raise BadEventError(f"answer {place}: letter: must be {LETTERS[0]} to {LETTERS[-1]}, found {letter!a}"[:200])
    numbers = {name: _number(row.get(name), name, place) for name in FEATURES if name != "letter"}
    tokens = numbers.pop("prompt_tokens")
    return AnswerFacts(letter=letter, prompt_tokens=None if tokens is None else int(tokens), **numbers)


def _number(value: Any, name: str, place: int) -> float | None:
    if value is None:
        return None
    # 1e15: no feature is as large, and a whole number of any size would not fit its column.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e15:
        raise BadEventError(f"answer {place}: {name}: must be a number, found {value!a}"[:200])
    return float(value)
