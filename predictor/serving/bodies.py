"""JSON bodies: strict parsing, and the v1 protocol's requests and responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from predictor.question import (
    Answer,
    Debias,
    Explanation,
    Purpose,
    Question,
    QuestionError,
    parse_debias,
    parse_purpose,
    parse_questions,
)
from predictor.serving.errors import BadRequest

V1_FIELDS = ("instances", "parameters")
V1_PARAMETERS = ("debias", "purpose")


@dataclass(frozen=True, slots=True)
class V1Request:
    questions: list[Question]
    debias: Debias | None
    max_new_tokens: int
    purpose: Purpose | None


def parse_json(body: bytes | memoryview) -> Any:
    """The body's JSON value. Refuses NaN, Infinity, more than 1,024 levels and anything but UTF-8, as orjson does."""
    if not len(body):
        raise BadRequest("the body is empty; send a JSON object")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None


def parse_v1(payload: Any, max_questions: int, max_new_tokens: int, *, explain: bool) -> V1Request:
    """The questions of a v1 body {"instances": […], "parameters": {…}}; raises BadRequest or QuestionError."""
    if not isinstance(payload, dict):
        raise BadRequest('the body must be a JSON object like {"instances": [{"question": …, "choices": […]}]}')
    unknown = [key for key in payload if key not in V1_FIELDS]
    if unknown:
        raise BadRequest(f"{str(unknown[0])[:80]!r} is not a field of the body; the fields are {', '.join(V1_FIELDS)}")
    instances = payload.get("instances")
    if not isinstance(instances, list):
        raise BadRequest("instances: must be a list of questions")
    check_count(len(instances), max_questions, "instances")
    known = (*V1_PARAMETERS, "max_new_tokens") if explain else V1_PARAMETERS
    parameters = parse_parameters(payload.get("parameters"), known)
    tokens = parameters.get("max_new_tokens", min(256, max_new_tokens))
    if type(tokens) is not int or not 1 <= tokens <= max_new_tokens:
        raise BadRequest(f"parameters: max_new_tokens: must be a whole number from 1 to {max_new_tokens}")
    purpose = checked_purpose(parameters)
    return V1Request(parse_questions(instances), checked_debias(parameters), tokens, purpose)


def parse_parameters(parameters: Any, known: Sequence[str]) -> dict[str, Any]:
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadRequest("parameters: must be an object")
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise BadRequest(f"parameters: {str(unknown[0])[:80]!r} is not known; known are {', '.join(known)}")
    return parameters


def checked_debias(parameters: dict[str, Any]) -> Debias | None:
    try:
        return parse_debias(parameters.get("debias"))
    except (QuestionError, TypeError) as error:
        raise BadRequest(f"parameters: {error}") from None


def checked_purpose(parameters: dict[str, Any]) -> Purpose | None:
    try:
        return parse_purpose(parameters.get("purpose"))
    except QuestionError as error:
        raise BadRequest(f"parameters: {error}") from None


def check_count(questions: int, most: int, field: str) -> None:
    if not questions:
        raise BadRequest(f"{field}: is empty; send at least one question")
    if questions > most:
        raise BadRequest(f"{field}: {questions} questions, the limit is {most} in one request")


def marked(purpose: Purpose | None) -> dict[str, Any]:
    """What a response says of its request's purpose: so both of its logged events are marked."""
    return {} if purpose is None else {"purpose": purpose}


def predictions(answers: Sequence[Answer], model_version: str, purpose: Purpose | None = None) -> dict[str, Any]:
    items = [answer.to_dict() for answer in answers]
    return {"predictions": items, "model_version": model_version, **marked(purpose)}


def explanations(items: Sequence[Explanation], model_version: str, purpose: Purpose | None = None) -> dict[str, Any]:
    return {
        "explanations": [
            {
                **item.answer.to_dict(),
                "explanation": item.text,
                "finish_reason": item.finish_reason,
                "completion_tokens": item.completion_tokens,
            }
            for item in items
        ],
        "model_version": model_version,
        **marked(purpose),
    }
