"""The v2 protocol (Open Inference Protocol): tensors to questions, answers to tensors.

Inputs are BYTES: question [N], choices [N,K] (rows with fewer choices end in ""), and optionally code, id, subject
[N]; common.tensor_shapes says which other shapes are accepted. Binary tensors follow Triton's binary tensor data
extension.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.inference_protocol import (
    INPUTS,
    OPTIONAL_INPUTS,
    OUTPUTS,
    REQUIRED_INPUTS,
    V2_CONTENT_TYPES,
    V2_FIELDS,
    V2_PARAMETERS,
)
from common.question import MAX_CHOICES, Answer, Debias, Purpose, Question, QuestionError, parse_question
from common.tensor_shapes import choice_count, question_count
from predictor.serving.errors import BadRequestError
from predictor.serving.kserve_sdk import (
    InferInput,
    InferOutput,
    InferRequest,
    InferResponse,
    RequestedOutput,
    pb,
)
from predictor.serving.request_parameters import (
    check_question_count,
    debias_parameter,
    parse_json,
    parse_parameters,
    purpose_field,
    purpose_parameter,
)


@dataclass(frozen=True, slots=True)
class V2Request:
    """`timeout` is the client's own limit in seconds (Triton's request parameter, there in microseconds)."""

    questions: list[Question]
    debias: Debias | None
    timeout: float | None
    outputs: list[RequestedOutput]
    purpose: Purpose | None = None


def decode_rest(body: bytes, header_length: str | None, model_name: str) -> InferRequest:
    """A REST body as kserve's InferRequest, its binary tensors still raw; raises BadRequestError naming the field.

    `header_length` is the Inference-Header-Content-Length header: the size of the JSON before the binary tensors.
    """
    size = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit() and int(header_length[:12]) <= size):
            raise BadRequestError(f"Inference-Header-Content-Length: must be a size within the body's {size} bytes")
        size = int(header_length)
    payload = parse_json(memoryview(body)[:size])
    if not isinstance(payload, dict):
        raise BadRequestError('the body must be a JSON object like {"inputs": […]}')
    unknown = [key for key in payload if key not in (*V2_FIELDS, "model_name")]
    if unknown:
        raise BadRequestError(f"{str(unknown[0])[:80]!r} is not a field; the fields are {', '.join(V2_FIELDS)}")
    request_id = payload.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise BadRequestError("id: must be a string")
    inputs = payload.get("inputs")
    if not isinstance(inputs, list):
        raise BadRequestError("inputs: must be a list of tensors")
    decoded, offset = [], size
    for place, item in enumerate(inputs):
        tensor, offset = _decode_input(f"inputs[{place}]", item, body, offset)
        decoded.append(tensor)
    if offset != len(body):
        raise BadRequestError(f"the body has {len(body) - offset} bytes more than its tensors' binary_data_size")
    return InferRequest(
        model_name,
        decoded,
        request_id=request_id or None,
        parameters=_object("parameters", payload.get("parameters")),
        request_outputs=_decode_outputs(payload.get("outputs")),
    )


def parse_v2(request: InferRequest, max_questions: int) -> V2Request:
    """The questions of a v2 request, from REST or gRPC; raises BadRequestError or QuestionError."""
    parameters = parse_parameters(_plain(request.parameters or {}), V2_PARAMETERS)
    _check_content_type("parameters", parameters)
    timeout = parameters.get("timeout")
    if timeout is not None and (type(timeout) is not int or timeout <= 0):
        raise BadRequestError("parameters: timeout: must be a whole number of microseconds above 0")
    debias = debias_parameter(parameters)
    outputs = _requested_outputs(request, parameters)
    questions, purpose = _questions(request.inputs, max_questions), purpose_parameter(parameters)
    return V2Request(questions, debias, timeout and timeout / 1e6, outputs, purpose)


def encode_v2(
    request: InferRequest, parsed: V2Request, answers: Sequence[Answer], request_id: str, version: str, revision: str
) -> InferResponse:
    """The response's tensors: the requested ones, in that order, or all."""
    width = max(len(question.choices) for question in parsed.questions)
    outputs = []
    for name in (output.name for output in parsed.outputs):
        shape, data = [len(answers)], [getattr(answer, name) for answer in answers]
        if name == "probabilities":
            shape.append(width)
            data = [row[i] if i < len(row) else 0.0 for row in data for i in range(width)]
        outputs.append(InferOutput(name, shape, OUTPUTS[name], data))
    return InferResponse(
        response_id=request.id or request_id,
        model_name=request.model_name,
        model_version=version,
        infer_outputs=outputs,
        parameters={**({"revision": revision} if revision else {}), **purpose_field(parsed.purpose)} or None,
        from_grpc=request.from_grpc,
        use_binary_outputs=request.from_grpc and request.use_binary_outputs,
        requested_outputs=None if request.from_grpc else parsed.outputs,
    )


def _decode_input(place: str, item: Any, body: bytes, offset: int) -> tuple[InferInput, int]:
    if not isinstance(item, dict):
        raise BadRequestError(f"{place}: must be an object with name, shape, datatype and data")
    name, shape, datatype = item.get("name"), item.get("shape"), item.get("datatype")
    if not isinstance(name, str):
        raise BadRequestError(f"{place}: name: must be a string")
    if not isinstance(datatype, str):
        raise BadRequestError(f"{place}: datatype: must be a string")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise BadRequestError(f"{place}: shape: must be a list of whole numbers")
    parameters = _object(f"{place}: parameters", item.get("parameters"))
    tensor = InferInput(name, shape, datatype, parameters=parameters)
    if (data := item.get("data")) is not None:
        if not isinstance(data, list):
            raise BadRequestError(f"{place}: data: must be a list")
        tensor.data = data
        return tensor, offset
    size = parameters.get("binary_data_size")
    if type(size) is not int or not 0 <= size <= len(body) - offset:
        raise BadRequestError(f"{place}: has neither data nor a binary_data_size that fits the body")
    tensor._raw_data = body[offset : offset + size]
    return tensor, offset + size


def _decode_outputs(items: Any) -> list[RequestedOutput] | None:
    if items is None:
        return None
    if not isinstance(items, list):
        raise BadRequestError("outputs: must be a list")
    outputs = []
    for place, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise BadRequestError(f"outputs[{place}]: must be an object with a name")
        outputs.append(RequestedOutput(item["name"], _object(f"outputs[{place}]: parameters", item.get("parameters"))))
    return outputs


def _requested_outputs(request: InferRequest, parameters: dict[str, Any]) -> list[RequestedOutput]:
    """The outputs to return, each marked as binary or JSON: its own parameter, else the request's, else JSON."""
    binary = parameters.get("binary_data_output", False)
    if not isinstance(binary, bool):
        raise BadRequestError("parameters: binary_data_output: must be true or false")
    requested = request.request_outputs or [RequestedOutput(name) for name in OUTPUTS]
    outputs: dict[str, RequestedOutput] = {}
    for output in requested:
        if output.name not in OUTPUTS:
            raise BadRequestError(
                f"outputs: {output.name[:80]!r} is not an output; the outputs are {', '.join(OUTPUTS)}"
            )
        _check_content_type(f"outputs: {output.name}", output.parameters)
        own = (output.parameters or {}).get("binary_data", binary)
        if not isinstance(own, bool):
            raise BadRequestError(f"outputs: {output.name}: binary_data must be true or false")
        outputs[output.name] = RequestedOutput(output.name, {"binary_data": own})
    return list(outputs.values())


def _questions(inputs: Sequence[InferInput], max_questions: int) -> list[Question]:
    tensors: dict[str, InferInput] = {}
    for tensor in inputs:
        if tensor.name not in INPUTS:
            names = ", ".join(INPUTS)
            raise BadRequestError(f"inputs: {tensor.name[:80]!r} is not an input; the inputs are {names}")
        if tensor.name in tensors:
            raise BadRequestError(f"inputs: {tensor.name} appears twice")
        _check_content_type(f"inputs: {tensor.name}", tensor.parameters)
        tensors[tensor.name] = tensor
    for name in REQUIRED_INPUTS:
        if name not in tensors:
            raise BadRequestError(f"inputs: {name} is missing")
    shape = tensors["question"].shape
    if (count := question_count(shape)) is None:
        raise BadRequestError(f"question: shape must be [N], found {list(shape)}"[:200])
    check_question_count(count, max_questions, "question")
    texts = {}
    for name in ("question", *OPTIONAL_INPUTS):
        if name in tensors:
            if question_count(shape := tensors[name].shape) != count:
                raise BadRequestError(f"{name}: shape must be [{count}], found {list(shape)}"[:200])
            texts[name] = _texts(tensors[name], count)
    shape = tensors["choices"].shape
    if (width := choice_count(shape, count)) is None or not 0 < width <= MAX_CHOICES:
        raise BadRequestError(f"choices: shape must be [{count}, 2 to {MAX_CHOICES}], found {list(shape)}"[:200])
    choices = _texts(tensors["choices"], count * width)
    questions = []
    for index in range(count):
        row = choices[index * width : (index + 1) * width]
        while row and not row[-1]:
            row.pop()
        try:
            questions.append(parse_question({**{n: t[index] for n, t in texts.items()}, "choices": row}))
        except QuestionError as error:
            raise error.at(index) from None
    return questions


def _texts(tensor: InferInput, count: int) -> list[str]:
    """The strings of a BYTES tensor whose shape has `count` elements, in row-major order."""
    name, shape = tensor.name, list(tensor.shape)
    if tensor.datatype != "BYTES":
        raise BadRequestError(f"{name}: datatype must be BYTES, found {tensor.datatype[:80]}")
    raw = tensor._raw_data
    elements = _flatten(name, tensor.data, shape) if raw is None else _unpack(name, bytes(raw), count)
    if len(elements) != count:
        raise BadRequestError(f"{name}: shape {shape} has {count} elements, found {len(elements)}"[:200])
    return [_text(name, place, element) for place, element in enumerate(elements)]


def _flatten(name: str, values: Any, shape: Sequence[int]) -> list[Any]:
    """A flat list, or one nested to the tensor's shape."""
    data: list[Any] = list(values or [])
    for size in shape[1:]:
        if not data or not all(isinstance(row, list) for row in data):
            break
        if any(len(row) != size for row in data):
            raise BadRequestError(f"{name}: every row must have {size} elements")
        data = [element for row in data for element in row]
    return data


def _unpack(name: str, raw: bytes, count: int) -> list[bytes]:
    """Length-prefixed elements: each a little-endian uint32 and that many bytes."""
    elements: list[bytes] = []
    offset = 0
    while offset < len(raw) and len(elements) <= count:
        if offset + 4 > len(raw):
            raise BadRequestError(f"{name}: the binary data ends within a length")
        (length,) = struct.unpack_from("<I", raw, offset)
        offset += 4
        if offset + length > len(raw):
            raise BadRequestError(f"{name}: the binary data ends within element {len(elements)}")
        elements.append(raw[offset : offset + length])
        offset += length
    return elements


def _text(name: str, place: int, element: Any) -> str:
    if isinstance(element, bytes):
        try:
            return element.decode("utf-8")
        except UnicodeDecodeError:
            raise BadRequestError(f"{name}: element {place} is not valid UTF-8") from None
    if not isinstance(element, str):
        raise BadRequestError(f"{name}: element {place} must be a string")
    return element


def _check_content_type(place: str, parameters: Mapping[str, Any] | None) -> None:
    """Refuses any other content type (base64, datetime …), whose elements would have to be decoded first."""
    given = _plain({"content_type": parameters["content_type"]} if parameters and "content_type" in parameters else {})
    value = given.get("content_type")
    if value is not None and value not in V2_CONTENT_TYPES:
        raise BadRequestError(
            f"{place}: content_type must be one of {', '.join(V2_CONTENT_TYPES)}, found {value!r}"[:200]
        )


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """gRPC's parameter messages as values; an unknown kind becomes None."""
    plain = {}
    for key, value in parameters.items():
        if isinstance(value, pb.InferParameter):
            kind = value.WhichOneof("parameter_choice")
            value = getattr(value, kind) if kind else None
        plain[key] = value
    return plain


def _object(place: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequestError(f"{place}: must be an object")
    return value
