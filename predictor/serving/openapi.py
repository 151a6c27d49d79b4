"""The server's OpenAPI document, at /openapi.json. KServe's generated one describes neither questions nor errors."""

from __future__ import annotations

from typing import Any

from common.inference_protocol import EVENT_STREAM, INPUT_TYPES, OUTPUTS, V2_CONTENT_TYPES
from common.question import DEBIAS_MODES, LETTERS, MAX_CHOICES, MIN_CHOICES, PURPOSES
from predictor import __version__
from predictor.serving.settings import Settings

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_INTEGER: Schema = {"type": "integer"}
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_PURPOSE: Schema = {"enum": list(PURPOSES), "description": "a test is answered, but does not count"}
_EVENTS: Schema = {
    "type": "string",
    "description": "Server-sent events, their data in JSON: `answer` (the answer), `text` ({text}, several), then "
    "`end` (Explanations) or `error` ({error, status})",
}
_PARAMETERS: Schema = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}


def openapi_document(settings: Settings) -> Schema:
    """OpenAPI 3.1, with the limits this server was started with."""
    predict, explain = _v1(settings)
    model = "/v2/models/{model_name}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "coding-mcqa",
            "version": __version__,
            "description": "Coding multiple-choice questions answered over KServe's v1 and v2 protocols.",
        },
        "paths": {
            "/v1/models": {"get": _get("Names of the models", "ModelList")},
            "/v1/models/{model_name}": {"get": _get("Whether the model answers", "ModelReady", model=True)},
            "/v1/models/{model_name}:predict": {"post": _post("Answers", predict, "Predictions")},
            "/v1/models/{model_name}:explain": {
                "post": _post(
                    "Answers with reasons", explain, "Explanations", other={EVENT_STREAM: {"schema": _EVENTS}}
                )
            },
            "/v2": {"get": _get("The server", "ServerMetadata")},
            "/v2/health/live": {"get": _get("Whether the server runs", "Live")},
            "/v2/health/ready": {"get": _get("Whether the model answers", "Ready")},
            "/v2/models": {"get": _get("Names of the models", "ModelList")},
            model: {"get": _get("The model's inputs and outputs", "ModelMetadata", model=True)},
            f"{model}/ready": {"get": _get("Whether the model answers", "ModelReady", model=True)},
            f"{model}/infer": {"post": _post("Answers as tensors", _v2_request(settings), "InferResponse")},
        },
        "components": {"schemas": _responses()},
    }


def _v1(settings: Settings) -> tuple[Schema, Schema]:
    question = _object(
        {
            "question": {"type": "string", "minLength": 1},
            "choices": {
                "type": "array",
                "items": {"type": "string", "minLength": 1},
                "minItems": MIN_CHOICES,
                "maxItems": MAX_CHOICES,
                "uniqueItems": True,
                "description": "Strings that differ in more than white space",
            },
            "code": {"type": ["string", "null"], "description": "Source code the question is about"},
            "id": {"type": ["string", "null"]},
            "subject": {"type": ["string", "null"]},
            "answer": {"description": "The right choice's index of a labelled question; ignored"},
        },
        required=["question", "choices"],
    )
    instances = {"type": "array", "items": question, "minItems": 1, "maxItems": settings.max_questions}
    debias: Schema = {"enum": list(DEBIAS_MODES)}
    tokens = {"type": "integer", "minimum": 1, "maximum": settings.max_new_tokens}

    def body(parameters: Schema) -> Schema:
        return _object({"instances": instances, "parameters": _object(parameters)}, required=["instances"])

    common = {"debias": debias, "purpose": _PURPOSE}
    stream = {"type": "boolean", "description": f"as {EVENT_STREAM} while it is written; of one question"}
    return body(common), body({**common, "max_new_tokens": tokens, "stream": stream})


def _v2_request(settings: Settings) -> Schema:
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"enum": [item["name"] for item in INPUT_TYPES]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": settings.max_questions}},
            "datatype": {"const": "BYTES"},
            "parameters": _PARAMETERS,
            "data": {"type": "array", "items": {"type": ["string", "array"]}},
        },
    }
    output = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": list(OUTPUTS)}, "parameters": _PARAMETERS},
    }
    parameters = _object(
        {
            "debias": {"enum": list(DEBIAS_MODES)},
            "purpose": _PURPOSE,
            "binary_data_output": {"type": "boolean"},
            "timeout": {"type": "integer", "minimum": 1, "description": "microseconds"},
            "content_type": {"enum": list(V2_CONTENT_TYPES), "description": "as MLServer's codecs say it"},
        }
    )
    return _object(
        {
            "id": _TEXT,
            "parameters": parameters,
            "inputs": {"type": "array", "items": tensor, "minItems": 2, "maxItems": len(INPUT_TYPES)},
            "outputs": {"type": "array", "items": output},
        },
        required=["inputs"],
    )


def _responses() -> Schema:
    answer = {
        "letter": {"enum": list(LETTERS)},
        "index": {"type": "integer", "minimum": 0, "maximum": MAX_CHOICES - 1},
        "choice": _TEXT,
        "probabilities": {"type": "object", "propertyNames": {"enum": list(LETTERS)}, "additionalProperties": _SHARE},
        "confidence": _SHARE,
        "margin": _SHARE,
        "entropy": {"type": "number", "minimum": 0},
        "letter_mass": _SHARE,
        "prompt_tokens": _INTEGER,
        "model_version": _TEXT,
        "revision": _TEXT,
        "id": _TEXT,
    }
    needed = [name for name in answer if name not in ("revision", "id")]
    reason = {"explanation": _TEXT, "finish_reason": {"enum": ["stop", "length"]}, "completion_tokens": _INTEGER}
    tensor = {"name": _TEXT, "shape": {"type": "array", "items": _INTEGER}, "datatype": _TEXT}
    data = {"type": "array", "items": {"type": ["string", "number"]}}
    texts = {"type": "array", "items": _TEXT}
    metadata = {"type": "array", "items": _closed(tensor)}
    return {
        "Error": _closed({"error": _TEXT}),
        "Predictions": _answers("predictions", _object(answer, required=needed)),
        "Explanations": _answers("explanations", _object({**answer, **reason}, required=[*needed, *reason])),
        "InferResponse": _object(
            {
                "id": _TEXT,
                "model_name": _TEXT,
                "model_version": _TEXT,
                "parameters": _PARAMETERS,
                "outputs": {
                    "type": "array",
                    "items": _object(
                        {**tensor, "parameters": _PARAMETERS, "data": data}, required=["name", "shape", "datatype"]
                    ),
                },
            },
            required=["id", "model_name", "model_version", "outputs"],
        ),
        "ModelList": _closed({"models": texts}),
        "ModelReady": _closed({"name": _TEXT, "ready": {"const": True}}),
        "Live": _closed({"live": {"const": True}}),
        "Ready": _closed({"ready": {"const": True}}),
        "ServerMetadata": _closed({"name": _TEXT, "version": _TEXT, "extensions": texts}),
        "ModelMetadata": _object(
            {
                "name": _TEXT,
                "versions": texts,
                "platform": _TEXT,
                "inputs": metadata,
                "outputs": metadata,
                "properties": {"type": "object", "additionalProperties": _TEXT},
            },
            required=["name", "versions", "platform", "inputs", "outputs"],
        ),
    }


def _answers(name: str, item: Schema) -> Schema:
    properties = {name: {"type": "array", "items": item}, "model_version": _TEXT, "purpose": _PURPOSE}
    return _object(properties, required=[name, "model_version"])


def _object(properties: Schema, required: list[str] | None = None) -> Schema:
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


def _closed(properties: Schema) -> Schema:
    return _object(properties, required=list(properties))


def _get(summary: str, schema: str, *, model: bool = False) -> Schema:
    parameters = {"parameters": [_MODEL_NAME]} if model else {}
    return {"summary": summary, **parameters, "responses": _replies(schema)}


def _post(summary: str, body: Schema, schema: str, *, other: Schema | None = None) -> Schema:
    """`other` are content types that the answer may have besides JSON."""
    replies = _replies(schema)
    replies["200"]["content"] |= other or {}
    content = {"application/json": {"schema": body}}
    return {
        "summary": summary,
        "parameters": [_MODEL_NAME],
        "requestBody": {"required": True, "content": content, "description": "May be compressed with gzip or deflate"},
        "responses": replies,
    }


def _replies(schema: str) -> Schema:
    def reply(name: str, description: str) -> Schema:
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
        return {"description": description, "content": content}

    return {"200": reply(schema, "OK"), "default": reply("Error", "What failed, what was found, what to do")}


_MODEL_NAME = {"name": "model_name", "in": "path", "required": True, "schema": {"type": "string"}}
