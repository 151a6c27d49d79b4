"""KServe's DataPlane, with this model's own metadata and readiness, and with stricter decoding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from predictor import __version__
from predictor.serving.errors import BadRequestError, NotFoundError, RequestError
from predictor.serving.event_stream import ExplanationStream
from predictor.serving.kserve_sdk import DataPlane, ModelRepository
from predictor.serving.model import McqaModel
from predictor.serving.request_parameters import parse_json


class McqaDataPlane(DataPlane):  # type: ignore[misc]  # untyped
    """Serves one model."""

    def __init__(self, registry: ModelRepository, model: McqaModel) -> None:
        super().__init__(model_registry=registry)
        self._model = model

    def metadata(self) -> dict[str, Any]:
        return {"name": "coding-mcqa", "version": __version__, "extensions": ["binary_tensor_data"]}

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        metadata: dict[str, Any] = await super().model_metadata(model_name)
        metadata |= {"versions": [self._model.version], "platform": "torch"}
        if card := self._model.scorer.card:
            metadata["properties"] = {"card": orjson.dumps(card.to_dict()).decode()}
        return metadata

    async def ready(self) -> bool:
        """Unlike KServe's own, which is always true."""
        return self._model.answering

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:
        """KServe sets the flag for a request that it has accepted: those are answered while draining, too."""
        if disable_predictor_health_check and self.get_model_from_registry(model_name):
            return self._model.working
        ready: bool = await super().model_ready(model_name)
        return ready

    def check_version(self, model_name: str, version: str | None) -> None:
        """Raises unless the model and version in a request's path are the ones served."""
        self.get_model_from_registry(model_name)
        if version and version != self._model.version:
            raise NotFoundError(f"model {model_name} has no version {version[:80]}; it serves {self._model.version}")

    def decode(
        self, body: Any, headers: Any, protocol_version: str = "v1", model_name: str | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """A v1 body or CloudEvent; what cannot be decoded is the client's error, never the server's."""
        try:
            if isinstance(body, bytes) and not _is_binary_event(headers or {}):
                decoded, attributes = super().decode_cloudevent(_parse_object(body))
            else:
                decoded, attributes = super().decode(body, headers, protocol_version, model_name)
        except RequestError:
            raise
        except Exception as error:
            needs = "ce-specversion 1.0, ce-id, ce-source, ce-type and JSON data"
            raise BadRequestError(f"the CloudEvent could not be read; it needs {needs}") from error
        return decoded, attributes

    async def explain(self, model_name: str, request: Any, headers: Any = None) -> tuple[Any, dict[str, str]]:
        """Unlike KServe's own, which answers with the request's headers, Authorization among them."""
        response, response_headers = await super().explain(model_name, request, dict(headers or {}))
        for name in headers or {}:
            response_headers.pop(name, None)
        return response, response_headers

    async def explain_stream(self, request: Any) -> ExplanationStream:
        return await self._model.explain_stream(request)


def _parse_object(body: bytes) -> dict[str, Any]:
    value = parse_json(body)
    if not isinstance(value, dict):
        raise BadRequestError('the body must be a JSON object like {"instances": […]}')
    return value


def _is_binary_event(headers: Mapping[str, str]) -> bool:
    return all(name in headers for name in ("ce-specversion", "ce-type", "ce-source", "ce-id"))
