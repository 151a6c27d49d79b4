"""Asks a running server questions over KServe's v1 and v2 (Open Inference Protocol) REST; `grpc_client` has v2 gRPC."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from common.links import without_password
from common.model_card import ModelCard
from common.question import Answer, Debias, Purpose, Question
from common.trace_context import request_id, root_traceparent
from mcqa import defaults
from mcqa.errors import CommandError, ServerError, ServerTimeoutError, ServerUnreachableError
from mcqa.tensors import answers_from_tensors, question_tensors

if TYPE_CHECKING:
    import httpx2

WireProtocol = Literal["v1", "v2", "grpc"]


class Client(Protocol):
    """One protocol of one server."""

    address: str

    def ask(self, questions: Sequence[Question], debias: Debias | None = None) -> list[Answer]:
        """One answer per question, in order; ServerUnreachableError or ServerError."""
        ...


def connect(
    protocol: WireProtocol,
    url: str | None = None,
    *,
    model_name: str = defaults.MODEL_NAME,
    timeout: float = defaults.REQUEST_TIMEOUT,
    purpose: Purpose | None = None,
) -> Client:
    """The client of a protocol; `url` defaults to this machine's default port for it.

    With the purpose `test`, what it asks does not count for drift or a canary, and nothing is learned from it.
    """
    if protocol == "grpc":
        from mcqa.grpc_client import GrpcClient

        return GrpcClient(url or defaults.GRPC_TARGET, model_name=model_name, timeout=timeout, purpose=purpose)
    rest = V1Client if protocol == "v1" else V2Client
    return rest(url or defaults.URL, model_name=model_name, timeout=timeout, purpose=purpose)


class RestClient:
    """What both REST protocols share: the connection, readiness, and errors as ServerError."""

    def __init__(
        self,
        url: str,
        *,
        model_name: str = defaults.MODEL_NAME,
        timeout: float = defaults.REQUEST_TIMEOUT,
        purpose: Purpose | None = None,
    ) -> None:
        import httpx2

        base = (url if "://" in url else f"http://{url}").rstrip("/")
        self.address = without_password(base)
        self.model_name = model_name
        self.purpose = purpose
        self.last_id = ""
        """The last request's id in KServe's payload log, to which feedback on its answers refers, and its trace's."""
        self._http = httpx2.Client(base_url=base, timeout=timeout)

    def ready(self) -> bool:
        """Whether the model is ready here; False when nothing listens."""
        import httpx2

        try:
            return self._http.get(f"/v2/models/{self.model_name}/ready", timeout=2).status_code == 200
        except (httpx2.HTTPError, httpx2.InvalidURL):
            return False

    def card(self, version: str) -> ModelCard | None:
        """The card of that version, where it is a demonstration model; None where it has no card or another answers."""
        import httpx2

        for _ in range(3):  # while a canary runs, the split may ask the other version
            try:
                metadata = self._http.get(f"/v2/models/{self.model_name}", timeout=2).json()
                if version in metadata["versions"]:
                    return ModelCard.parse(json.loads(metadata["properties"]["card"]))
            except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError, AttributeError):
                return None
        return None

    def _parameters(self, debias: Debias | None) -> dict[str, Any]:
        """The request's `parameters`, where it has any."""
        values = {"debias": debias, "purpose": self.purpose}
        parameters = {name: value for name, value in values.items() if value is not None}
        return {"parameters": parameters} if parameters else {}

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        import httpx2

        try:
            trace = uuid.uuid4().hex
            self.last_id = request_id(trace)
            headers = {"ce-id": self.last_id, "traceparent": root_traceparent(trace)}
            response = self._http.post(path, json=body, headers=headers)
        except httpx2.ConnectTimeout:
            raise ServerUnreachableError.at(self.address) from None
        except httpx2.TimeoutException:
            raise ServerTimeoutError(f"{self.address} did not answer within {self._http.timeout.read:.0f} s") from None
        except httpx2.ConnectError:
            raise ServerUnreachableError.at(self.address) from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ServerUnreachableError(f"{self.address}: {error or type(error).__name__}") from None
        if response.status_code != 200:
            raise ServerError(_reason(response), response.status_code, _seconds(response.headers.get("retry-after")))
        try:
            return response.json()
        except ValueError:
            raise CommandError(f"{self.address}{path} did not answer with JSON: is this a model server?") from None


class V1Client(RestClient):
    def ask(self, questions: Sequence[Question], debias: Debias | None = None) -> list[Answer]:
        reply = self._post(f"/v1/models/{self.model_name}:predict", self._body(questions, debias))
        return [answer_from_dict(item) for item in _field(reply, "predictions", self.address)]

    def explain(
        self, questions: Sequence[Question], debias: Debias | None = None, *, max_new_tokens: int | None = None
    ) -> list[dict[str, Any]]:
        """One explanation per question: the answer's fields, `explanation`, `finish_reason` and `completion_tokens`."""
        body = self._body(questions, debias)
        if max_new_tokens is not None:
            body["parameters"] = {**body.get("parameters", {}), "max_new_tokens": max_new_tokens}
        reply = self._post(f"/v1/models/{self.model_name}:explain", body)
        return list(_field(reply, "explanations", self.address))

    def _body(self, questions: Sequence[Question], debias: Debias | None) -> dict[str, Any]:
        return {"instances": [question_to_dict(q) for q in questions], **self._parameters(debias)}


class V2Client(RestClient):
    def ask(self, questions: Sequence[Question], debias: Debias | None = None) -> list[Answer]:
        body: dict[str, Any] = {
            "inputs": [
                {"name": name, "shape": shape, "datatype": "BYTES", "data": data}
                for name, shape, data in question_tensors(questions)
            ],
            **self._parameters(debias),
        }
        reply = self._post(f"/v2/models/{self.model_name}/infer", body)
        outputs = {output["name"]: output.get("data", []) for output in _field(reply, "outputs", self.address)}
        revision = reply.get("parameters", {}).get("revision")
        return answers_from_tensors(questions, outputs, reply.get("model_version", ""), revision)


def question_to_dict(question: Question) -> dict[str, Any]:
    """The JSON form that common.question.parse_question reads."""
    fields = {
        "question": question.stem,
        "choices": list(question.choices),
        "code": question.code,
        "id": question.id,
        "subject": question.subject,
    }
    return {name: value for name, value in fields.items() if value is not None}


def answer_from_dict(data: Mapping[str, Any]) -> Answer:
    """The inverse of Answer.to_dict."""
    fields = dict(data)
    fields["probabilities"] = tuple(fields["probabilities"].values())
    known = {name: fields[name] for name in Answer.__dataclass_fields__ if name in fields}
    return Answer(**known)


def _field(reply: Any, name: str, address: str) -> Any:
    if not isinstance(reply, dict) or name not in reply:
        raise CommandError(f"{address} answered without `{name}`: is this a coding-mcqa server?")
    return reply[name]


def _reason(response: httpx2.Response) -> str:
    try:
        body = response.json()
        message = body.get("error") or body.get("detail") or body
    except (ValueError, AttributeError):
        message = response.text
    return f"the server answered {response.status_code}: {str(message)[:500] or response.reason_phrase}"


def _seconds(header: str | None) -> float | None:
    """Retry-After in seconds; its date form is not used by model servers."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
