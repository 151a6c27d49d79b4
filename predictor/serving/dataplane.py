"""KServe's DataPlane, told the truth about this model and stricter about what it decodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from predictor import __version__
from predictor.serving.bodies import parse_json
from predictor.serving.errors import BadRequest, NotFound, RequestError
from predictor.serving.model import McqaModel
from predictor.serving.sdk import DataPlane, ModelRepository


class McqaDataPlane(DataPlane):
    """Serves the one model it is given."""

    def __init__(self, registry: ModelRepository, model: McqaModel) -> None:
        super().__init__(model_registry=registry)
        self._model = model

    def metadata(self) -> dict[str, Any]:
        return {"name": "coding-mcqa", "version": __version__, "extensions": ["binary_tensor_data"]}

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        found = await super().model_metadata(model_name)
        found |= {"versions": [self._model.version], "platform": "torch"}
        if card := self._model.scorer.card:
            found["properties"] = {"card": orjson.dumps(card.to_dict()).decode()}
        return found

    async def ready(self) -> bool:
        """KServe's own is always true."""
        return self._model.answering

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:
        """KServe sets the flag before it answers a request: while draining, those that are here still are answered."""
        if disable_predictor_health_check and self.get_model_from_registry(model_name):
            return self._model.working
        ready: bool = await super().model_ready(model_name)
        return ready

    def check_version(self, model_name: str, version: str | None) -> None:
        """Raises unless the model and version of a request's path are the ones served."""
        self.get_model_from_registry(model_name)
        if version and version != self._model.version:
            raise NotFound(f"model {model_name} has no version {version[:80]}; it serves {self._model.version}")

    def decode(
        self, body: Any, headers: Any, protocol_version: str = "v1", model_name: str | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """A v1 body or CloudEvent; whatever cannot be decoded is the client's error, never ours."""
        try:
            if isinstance(body, bytes) and not _is_binary_event(headers or {}):
                body = parse_json(body)
                if not isinstance(body, dict):
                    raise BadRequest('the body must be a JSON object like {"instances": […]}')
                decoded, attributes = super().decode_cloudevent(body)
            else:
                decoded, attributes = super().decode(body, headers, protocol_version, model_name)
            return decoded, attributes
        except RequestError:
            raise
        except Exception as error:
            needs = "ce-specversion 1.0, ce-id, ce-source, ce-type and JSON data"
            raise BadRequest(f"the CloudEvent could not be read; it needs {needs}") from error

    async def explain(self, model_name: str, request: Any, headers: Any = None) -> tuple[Any, dict[str, str]]:
        """KServe's own answers with the request's headers, the authorisation among them."""
        response, response_headers = await super().explain(model_name, request, dict(headers or {}))
        for name in headers or {}:
            response_headers.pop(name, None)
        return response, response_headers


def _is_binary_event(headers: Mapping[str, str]) -> bool:
    return all(name in headers for name in ("ce-specversion", "ce-type", "ce-source", "ce-id"))
