"""What the v1 and v2 protocols share: strict JSON, and the parameters that both know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from common.question import Debias, Purpose, QuestionError, parse_debias, parse_purpose
from predictor.serving.errors import BadRequestError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def parse_json(body: bytes | memoryview) -> Any:
    """The body's JSON value; a byte order mark is ignored (allowed by RFC 8259, 8.1).

    Like orjson, refuses NaN, Infinity, more than 1,024 levels and anything but UTF-8.
    """
    if body[:3] == BYTE_ORDER_MARK:
        body = body[3:]
    if not len(body):
        raise BadRequestError("the body is empty; send a JSON object")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"the body is not JSON: {error}") from None


def parse_parameters(parameters: Any, known: Sequence[str]) -> dict[str, Any]:
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadRequestError("parameters: must be an object")
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise BadRequestError(
            f"parameters: {str(unknown[0])[:80]!r} is not known; the parameters are {', '.join(known)}"
        )
    return parameters


def debias_parameter(parameters: dict[str, Any]) -> Debias | None:
    try:
        return parse_debias(parameters.get("debias"))
    except (QuestionError, TypeError) as error:
        raise BadRequestError(f"parameters: {error}") from None


def purpose_parameter(parameters: dict[str, Any]) -> Purpose | None:
    try:
        return parse_purpose(parameters.get("purpose"))
    except QuestionError as error:
        raise BadRequestError(f"parameters: {error}") from None


def check_question_count(questions: int, max_questions: int, field: str) -> None:
    if not questions:
        raise BadRequestError(f"{field}: is empty; send at least one question")
    if questions > max_questions:
        raise BadRequestError(f"{field}: {questions} questions, the limit is {max_questions} in one request")


def purpose_field(purpose: Purpose | None) -> dict[str, Any]:
    """What a response says of its request's purpose: so both of its logged events are purpose_field."""
    return {} if purpose is None else {"purpose": purpose}
