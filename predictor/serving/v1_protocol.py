"""KServe's v1 protocol: a JSON body to questions, answers to a JSON body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.inference_protocol import V1_EXPLAIN_PARAMETERS, V1_FIELDS, V1_PARAMETERS
from common.question import (
    Answer,
    Debias,
    Explanation,
    Purpose,
    Question,
    parse_questions,
)
from predictor.serving.errors import BadRequestError
from predictor.serving.request_parameters import (
    check_question_count,
    debias_parameter,
    parse_parameters,
    purpose_field,
    purpose_parameter,
)


@dataclass(frozen=True, slots=True)
class V1Request:
    questions: list[Question]
    debias: Debias | None
    max_new_tokens: int
    purpose: Purpose | None


def parse_v1(payload: Any, max_questions: int, max_new_tokens: int, *, explain: bool) -> V1Request:
    """The questions of a v1 body {"instances": […], "parameters": {…}}; raises BadRequestError or QuestionError."""
    if not isinstance(payload, dict):
        raise BadRequestError('the body must be a JSON object like {"instances": [{"question": …, "choices": […]}]}')
    unknown = [key for key in payload if key not in V1_FIELDS]
    if unknown:
        raise BadRequestError(
            f"{str(unknown[0])[:80]!r} is not a field of the body; the fields are {', '.join(V1_FIELDS)}"
        )
    instances = payload.get("instances")
    if not isinstance(instances, list):
        raise BadRequestError("instances: must be a list of questions")
    check_question_count(len(instances), max_questions, "instances")
    known = V1_EXPLAIN_PARAMETERS if explain else V1_PARAMETERS
    parameters = parse_parameters(payload.get("parameters"), known)
    tokens = parameters.get("max_new_tokens", min(256, max_new_tokens))
    if type(tokens) is not int or not 1 <= tokens <= max_new_tokens:
        raise BadRequestError(f"parameters: max_new_tokens: must be a whole number from 1 to {max_new_tokens}")
    stream = parameters.get("stream", False)
    if type(stream) is not bool:
        raise BadRequestError("parameters: stream: must be true or false")
    if stream and len(instances) != 1:
        raise BadRequestError(f"parameters: stream: explains one question, found {len(instances)} in instances")
    purpose = purpose_parameter(parameters)
    return V1Request(parse_questions(instances), debias_parameter(parameters), tokens, purpose)


def wants_stream(payload: Any) -> bool:
    """Whether the explanation is to be sent while it is written; False where `parse_v1` refuses the body anyway."""
    parameters = payload.get("parameters") if isinstance(payload, dict) else None
    return isinstance(parameters, dict) and parameters.get("stream") is True


def predictions(answers: Sequence[Answer], model_version: str, purpose: Purpose | None = None) -> dict[str, Any]:
    items = [answer.to_dict() for answer in answers]
    return {"predictions": items, "model_version": model_version, **purpose_field(purpose)}


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
        **purpose_field(purpose),
    }
