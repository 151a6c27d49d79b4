"""Asks a running server questions over KServe's v1 and v2 (Open Inference Protocol) REST; `grpc_client` has v2 gRPC."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from common.inference_protocol import EVENT_STREAM
from common.links import without_password
from common.model_card import ModelCard
from common.question import Answer, Debias, Purpose, Question
from common.trace_context import request_id, root_traceparent
from mcqa import defaults
from mcqa.errors import CommandError, ServerError, ServerTimeoutError, ServerUnreachableError
from mcqa.event_stream import ServerSentEvent, read_events
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

    def as_test(self) -> Self:
        """The same connection; what is asked over it counts for nothing."""
        other = copy(self)
        other.purpose = "test"
        return other

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
        values = {"debias": debias, "purpose": self.purpose}
        return {name: value for name, value in values.items() if value is not None}

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        with self._errors():
            response = self._http.post(path, json=body, headers=self._headers())
        if response.status_code != 200:
            raise _refusal(response)
        try:
            return response.json()
        except ValueError:
            raise CommandError(f"{self.address}{path} did not answer with JSON: is this a model server?") from None

    def _headers(self) -> dict[str, str]:
        """A new request's; its id is `last_id` from now on."""
        trace = uuid.uuid4().hex
        self.last_id = request_id(trace)
        return {"ce-id": self.last_id, "traceparent": root_traceparent(trace)}

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What can happen to a connection, as errors of ours."""
        import httpx2

        try:
            yield
        except httpx2.ConnectTimeout:
            raise ServerUnreachableError.at(self.address) from None
        except httpx2.TimeoutException:
            raise ServerTimeoutError(f"{self.address} did not answer within {self._http.timeout.read:.0f} s") from None
        except httpx2.ConnectError:
            raise ServerUnreachableError.at(self.address) from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ServerUnreachableError(f"{self.address}: {error or type(error).__name__}") from None


class V1Client(RestClient):
    def ask(self, questions: Sequence[Question], debias: Debias | None = None) -> list[Answer]:
        reply = self._post(f"/v1/models/{self.model_name}:predict", self._body(questions, debias))
        return [answer_from_dict(item) for item in _field(reply, "predictions", self.address)]

    def explain(
        self, questions: Sequence[Question], debias: Debias | None = None, *, max_new_tokens: int | None = None
    ) -> list[dict[str, Any]]:
        """One explanation per question: the answer's fields, `explanation`, `finish_reason` and `completion_tokens`."""
        reply = self._post(self._explain_path, self._body(questions, debias, max_new_tokens=max_new_tokens))
        return list(_field(reply, "explanations", self.address))

    def explain_stream(
        self,
        question: Question,
        debias: Debias | None = None,
        *,
        max_new_tokens: int | None = None,
        seconds: float = math.inf,
    ) -> Generator[Answer | str | dict[str, Any]]:
        """The answer, the text in pieces while it is written, and at the end what `explain` gives.

        A piece is "" where the server only says that it is still at it, which it does every few seconds. Closing the
        iterator closes the connection, and the server writes no further. Raises what `explain` raises, in the middle
        too, and ServerTimeoutError for one that is not finished so many `seconds` after it began.
        """
        body = self._body([question], debias, max_new_tokens=max_new_tokens, stream=True)
        with self._errors(), self._http.stream("POST", self._explain_path, json=body, headers=self._headers()) as reply:
            if reply.status_code != 200:
                reply.read()
                raise _refusal(reply)
            if not reply.headers.get("content-type", "").startswith(EVENT_STREAM):
                raise CommandError(f"{self.address}{self._explain_path} did not answer with a stream of events")
            try:
                chunks = _within(seconds, reply.iter_bytes(), self.address)
                yield from _explanation_parts(read_events(chunks), self.address)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise CommandError(f"{self.address}: the explanation could not be read: {error}"[:300]) from None

    @property
    def _explain_path(self) -> str:
        return f"/v1/models/{self.model_name}:explain"

    def _body(self, questions: Sequence[Question], debias: Debias | None, **others: Any) -> dict[str, Any]:
        parameters = {**self._parameters(debias), **{name: it for name, it in others.items() if it is not None}}
        body: dict[str, Any] = {"instances": [question_to_dict(q) for q in questions]}
        return {**body, "parameters": parameters} if parameters else body


class V2Client(RestClient):
    def ask(self, questions: Sequence[Question], debias: Debias | None = None) -> list[Answer]:
        body: dict[str, Any] = {
            "inputs": [
                {"name": name, "shape": shape, "datatype": "BYTES", "data": data}
                for name, shape, data in question_tensors(questions)
            ],
        }
        if parameters := self._parameters(debias):
            body["parameters"] = parameters
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


def _within(seconds: float, chunks: Iterator[bytes], address: str) -> Iterator[bytes]:
    """A server that sends something now and then is never too late for the connection."""
    end = time.monotonic() + seconds
    for chunk in chunks:
        if time.monotonic() > end:
            raise ServerTimeoutError(f"{address} did not finish an explanation within {seconds:.0f} s")
        yield chunk


def _explanation_parts(events: Iterator[ServerSentEvent], address: str) -> Iterator[Answer | str | dict[str, Any]]:
    for event in events:
        data = json.loads(event.data) if event.data else {}
        match event.name:
            case "answer":
                yield answer_from_dict(data)
            case "text":
                yield str(data["text"])
            case "end":
                (item,) = _field(data, "explanations", address)
                yield dict(item)
                return
            case "error":
                raise ServerError(f"the server could not go on: {str(data['error'])[:500]}", int(data["status"]))
            case "":
                yield ""
    raise ServerUnreachableError(f"{address} closed the connection before the explanation was finished")


def _refusal(response: httpx2.Response) -> ServerError:
    return ServerError(_reason(response), response.status_code, _seconds(response.headers.get("retry-after")))


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
