"""Questions and answers in the bodies that the payload logger copied: v1 and v2 JSON (Open Inference Protocol).

The logger copies a compressed body as it is, and its event does not mention the coding: the first bytes do.

A v2 body with binary tensors is JSON followed by bytes, and the event does not say where the JSON ends. It counts as a
request or response, but the content of its tensors is left out.

An explanation that is sent while it is written (`stream`) counts for nothing, request and response: its first event
names the version, and its reader can then still decide whether it ends well, breaks off or runs into its deadline.
Counted, a stranger could make one version look worse than another.

A request's body is what a client sent, copied by the logger before the model server has read it: gzip'd or deflated,
and whether the server will refuse it or not. Requests that the model server refuses do not concern the loop.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from common import content_codings
from common.inference_protocol import INPUTS as QUESTION_FIELDS
from common.inference_protocol import V1_EXPLAIN_PARAMETERS, V1_FIELDS, V2_FIELDS, V2_PARAMETERS
from common.question import DEBIAS_MODES, LETTERS, PURPOSES, QuestionError, parse_question
from common.tensor_shapes import choice_count
from functions.events import BadEventError, parse_json

MAX_UNPACKED = 16 * 1024 * 1024
"""Bytes: four times what the model server takes by default, and what fits a function's memory when parsed."""

_FIELDS = {"instances": frozenset(V1_FIELDS), "inputs": frozenset({*V2_FIELDS, "model_name"})}
_PARAMETERS = {"instances": frozenset(V1_EXPLAIN_PARAMETERS), "inputs": frozenset(V2_PARAMETERS)}
"""The parameters that the model server knows in v1 and v2. A request with others is refused by every version alike, and
must not count as a failure of the version that refused it."""


class NoInferenceError(Exception):
    """Nothing to record: another endpoint's exchange (readiness, metadata; the logger copies those too), or a request
    that the model server refuses. The message says which."""


@dataclass(frozen=True, slots=True)
class AnswerFeatures:
    """A response's answer to one question; None where the client did not request the value."""

    letter: str | None = None
    confidence: float | None = None
    entropy: float | None = None
    margin: float | None = None
    letter_mass: float | None = None
    prompt_tokens: int | None = None


FEATURES = tuple(f.name for f in fields(AnswerFeatures))


def read_questions(body: bytes) -> tuple[tuple[dict[str, Any], ...], str | None]:
    """A request's questions in their JSON form, without the labels they may carry, and its purpose.

    NoInferenceError for a GET's, for a streamed explanation's, and for what the model server answers with 400.
    """
    if not body.strip():
        raise NoInferenceError("no inference")
    try:
        payload = _payload(_unpacked(body))
        _require_known(payload)
        if (payload.get("parameters") or {}).get("stream"):
            raise NoInferenceError("a streamed explanation: its reader knows the version, and decides how it ends")
        questions = tuple(_question(row, place) for place, row in enumerate(_question_rows(payload)))
        return questions, _purpose(payload.get("parameters"))
    except BadEventError as error:
        raise NoInferenceError(f"refused by the model server, too: {error}") from None


def _question_rows(payload: dict[str, Any]) -> list[Any]:
    """A request's questions as rows, not checked yet; none where they are binary tensors."""
    if isinstance(instances := payload.get("instances"), list):
        rows = instances
    elif isinstance(inputs := payload.get("inputs"), list):
        if (columns := _columns(inputs, "inputs")) is None:
            return []
        rows = _rows({name: columns[name] for name in QUESTION_FIELDS if name in columns})
        for row in rows:
            while isinstance(row.get("choices"), list) and row["choices"] and not row["choices"][-1]:
                row["choices"].pop()
    else:
        raise BadEventError("the request has neither instances (v1) nor inputs (v2)")
    if not rows:
        raise BadEventError("the request has no questions")
    return rows


def read_answers(body: bytes) -> tuple[tuple[AnswerFeatures, ...], str | None, str | None]:
    """A response's answers, the version it names, and its purpose.

    NoInferenceError where it is another endpoint's, or streamed.
    """
    body = _unpacked(body)
    if body.startswith(b"event: "):
        raise NoInferenceError("a streamed explanation: its request is not counted")
    if not body.lstrip().startswith(b"{"):  # metrics, a page: every answer is an object
        raise NoInferenceError("no inference")
    payload = _payload(body)
    version = payload.get("model_version")
    for name in ("predictions", "explanations"):
        if isinstance(rows := payload.get(name), list):
            return tuple(_answer(row, place) for place, row in enumerate(rows)), version, _purpose(payload)
    if not isinstance(outputs := payload.get("outputs"), list) or "platform" in payload:
        raise NoInferenceError("no inference")  # v2's model metadata lists its outputs, too
    purpose = _purpose(payload.get("parameters"))
    if (columns := _columns(outputs, "outputs")) is None:
        return (), version, purpose
    rows = _rows({name: columns[name] for name in FEATURES if name in columns})
    return tuple(_answer(row, place) for place, row in enumerate(rows)), version, purpose


def _require_known(request: dict[str, Any]) -> None:
    """BadEventError for a field or parameter that the model server does not know, and for tensors that it never takes
    as a question's."""
    kind = "instances" if isinstance(request.get("instances"), list) else "inputs"
    parameters = {} if (given := request.get("parameters")) is None else given
    if not isinstance(parameters, dict):
        raise BadEventError("parameters: must be an object")
    for names, known in ((request, _FIELDS[kind]), (parameters, _PARAMETERS[kind])):
        if unknown := sorted(names.keys() - known):
            raise BadEventError(f"{unknown[0][:80]!a} is not known to the model server")
    if parameters.get("debias") is not None and parameters["debias"] not in DEBIAS_MODES:
        raise BadEventError(f"debias: must be one of {', '.join(DEBIAS_MODES)}"[:200])
    stream = parameters.get("stream", False)
    if type(stream) is not bool or (stream and len(request["instances"]) != 1):
        raise BadEventError("stream: must be true, with one question, or false")
    tokens = parameters.get("max_new_tokens", 1)
    if type(tokens) is not int or tokens < 1:  # the most is a setting of the model server, which the event lacks
        raise BadEventError("max_new_tokens: must be a whole number from 1")
    if kind == "inputs" and isinstance(inputs := request.get("inputs"), list):
        tensors = [(tensor.get("name"), tensor.get("datatype")) for tensor in inputs if isinstance(tensor, dict)]
        if any(name not in QUESTION_FIELDS or datatype != "BYTES" for name, datatype in tensors):
            raise BadEventError(f"inputs: must be BYTES tensors called {', '.join(QUESTION_FIELDS)}")
        if len(dict(tensors)) < len(tensors):
            raise BadEventError("inputs: a tensor is given twice")


def _purpose(parameters: Any) -> str | None:
    """What the exchange was for: None for a real question."""
    purpose = parameters.get("purpose") if isinstance(parameters, dict) else None
    if purpose is not None and purpose not in PURPOSES:
        raise BadEventError(f"purpose: must be one of {', '.join(PURPOSES)}, found {purpose!a}"[:200])
    return purpose


def _unpacked(body: bytes) -> bytes:
    for _ in range(content_codings.MOST_CODINGS):
        if not (codings := content_codings.sniff(body)):
            break
        try:
            body = content_codings.decode(body, codings, MAX_UNPACKED)
        except content_codings.CodingError as error:
            raise BadEventError(str(error)) from None
    return body.removeprefix(b"\xef\xbb\xbf")  # a byte order mark, which the model server ignores too


def _payload(body: bytes) -> dict[str, Any]:
    try:
        # Undecodable bytes can only be those of binary tensors; inside the JSON they would be half a surrogate pair.
        text = body.decode("utf-8", "surrogateescape")
        payload, end = json.JSONDecoder().raw_decode(text.lstrip())
    except (ValueError, RecursionError) as error:
        raise BadEventError(f"the body is not JSON: {str(error)[:120]}") from None
    if not isinstance(payload, dict):
        raise BadEventError("the body must be a JSON object")
    if text.lstrip()[end:].strip() and not _is_binary(payload.get("inputs")) and not _is_binary(payload.get("outputs")):
        raise BadEventError("the body has more than its JSON, and no binary tensors")
    if not any(_is_binary(payload.get(name)) for name in ("inputs", "outputs")):
        return dict(parse_json(body, "the body"))
    return payload


def _is_binary(tensors: Any) -> bool:
    return isinstance(tensors, list) and any(
        isinstance(tensor, dict)
        and isinstance(tensor.get("parameters"), dict)
        and "binary_data_size" in tensor["parameters"]
        for tensor in tensors
    )


def _columns(tensors: Sequence[Any], what: str) -> dict[str, list[Any]] | None:
    """Each tensor's values, one per item; None where any tensor is binary."""
    if _is_binary(tensors):
        return None
    columns: dict[str, list[Any]] = {}
    choices: list[int] = []
    for place, tensor in enumerate(tensors):
        if not isinstance(tensor, dict) or not isinstance(tensor.get("data"), list):
            raise BadEventError(f"{what}[{place}]: must be an object with name, shape and data")
        shape = tensor.get("shape")
        if not isinstance(shape, list) or not shape or not all(type(size) is int and size > 0 for size in shape):
            raise BadEventError(f"{what}[{place}]: shape: must be a list of whole numbers above 0")
        name, data = str(tensor.get("name")), tensor["data"]
        for _ in shape[1:]:
            if data and isinstance(data[0], list):
                data = [value for row in data for value in (row if isinstance(row, list) else [row])]
        if len(data) != math.prod(shape):
            raise BadEventError(f"{what}[{place}]: shape {shape} does not fit {len(data)} values"[:200])
        if name == "choices":
            choices = shape
        elif len(data) != shape[0]:
            continue  # probabilities: the features hold what is needed of them
        columns[name] = data
    if choices:
        if (width := choice_count(choices, len(columns.get("question", ())))) is None:
            raise BadEventError(f"{what}: choices: shape {choices} does not fit the questions"[:200])
        data = columns["choices"]
        columns["choices"] = [data[i : i + width] for i in range(0, len(data), width)]
    return columns


def _rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    if len(lengths := {len(values) for values in columns.values()}) > 1:
        raise BadEventError("the tensors have different numbers of rows")
    count = lengths.pop() if lengths else 0
    return [{name: values[i] for name, values in columns.items()} for i in range(count)]


def _question(row: Any, place: int) -> dict[str, Any]:
    """The question as sent, without the fields that the model server does not read."""
    try:
        parse_question(row)
    except QuestionError as error:
        raise BadEventError(str(error.at(place))) from None
    return {name: row[name] for name in QUESTION_FIELDS if row.get(name) not in (None, "")}


def _answer(row: Any, place: int) -> AnswerFeatures:
    if not isinstance(row, dict):
        raise BadEventError(f"answer {place}: must be an object")
    letter = row.get("letter")
    if letter is not None and not (isinstance(letter, str) and len(letter) == 1 and letter in LETTERS):
        raise BadEventError(f"answer {place}: letter: must be {LETTERS[0]} to {LETTERS[-1]}, found {letter!a}"[:200])
    numbers = {name: _number(row.get(name), name, place) for name in FEATURES if name != "letter"}
    tokens = numbers.pop("prompt_tokens")
    return AnswerFeatures(letter=letter, prompt_tokens=None if tokens is None else int(tokens), **numbers)


def _number(value: Any, name: str, place: int) -> float | None:
    if value is None:
        return None
    # 1e15: no feature is as large, and a whole number of any size would not fit its column.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e15:
        raise BadEventError(f"answer {place}: {name}: must be a number, found {value!a}"[:200])
    return float(value)
