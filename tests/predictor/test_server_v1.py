"""v1 over a real server: bodies, headers and every way to be refused."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from common.question import LETTERS
from tests.servers import EXPLAIN, PREDICT, QUESTION, RunningServer

pytestmark = pytest.mark.usefixtures("processes")

ANSWER_FIELDS = {
    "letter",
    "index",
    "choice",
    "probabilities",
    "confidence",
    "margin",
    "entropy",
    "letter_mass",
    "prompt_tokens",
    "model_version",
    "revision",
}


def check_answer(answer: dict[str, Any], question: dict[str, Any]) -> None:
    choices = question["choices"]
    probabilities = list(answer["probabilities"].values())
    assert list(answer["probabilities"]) == list(LETTERS[: len(choices)])
    assert sum(probabilities) == pytest.approx(1)
    assert answer["choice"] == choices[answer["index"]]
    assert answer["letter"] == LETTERS[answer["index"]]
    assert answer["confidence"] == max(probabilities) == probabilities[answer["index"]]
    assert answer["margin"] == pytest.approx(answer["confidence"] - sorted(probabilities)[-2])
    assert 0 <= answer["letter_mass"] <= 1
    assert answer["prompt_tokens"] > 0


def test_a_prediction(server: RunningServer) -> None:
    response = server.ask({**QUESTION, "id": "q-1"})
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"predictions", "model_version"}
    assert body["model_version"] == "random-1"
    [answer] = body["predictions"]
    assert set(answer) == ANSWER_FIELDS | {"id"}
    assert (answer["id"], answer["model_version"], answer["revision"]) == ("q-1", "random-1", "coding-mcqa-00001")
    check_answer(answer, QUESTION)


def test_headers_name_request_version_and_revision(server: RunningServer) -> None:
    given = server.client.post(PREDICT, json={"instances": [QUESTION]}, headers={"X-Request-Id": "abc-123"})
    assert given.headers["x-request-id"] == "abc-123"
    assert given.headers["x-model-version"] == "random-1"
    assert given.headers["x-revision"] == "coding-mcqa-00001"
    assert given.headers["content-type"] == "application/json"
    made = server.client.post(PREDICT, json={"instances": [QUESTION]}, headers={"X-Request-Id": 'no "id" at all'})
    assert len(made.headers["x-request-id"]) == 36


def test_several_questions_of_different_sizes_in_order(server: RunningServer) -> None:
    questions = [
        {"id": f"{i}", "question": "Which?" + " Why?" * (i * 7 % 40), "choices": [f"{i}-{c}" for c in range(2 + i % 9)]}
        for i in range(40)
    ]
    answers = server.ask(*questions).json()["predictions"]
    assert [answer["id"] for answer in answers] == [question["id"] for question in questions]
    for answer, question in zip(answers, questions, strict=True):
        check_answer(answer, question)


def test_code_changes_the_prompt_and_a_label_does_not(server: RunningServer) -> None:
    plain, code, labelled = (
        server.ask({**QUESTION, **extra}).json()["predictions"][0]
        for extra in ({}, {"code": "x = 1\nprint(x)"}, {"answer": 1, "subject": "python"})
    )
    assert code["prompt_tokens"] > plain["prompt_tokens"]
    assert labelled == plain


def test_the_same_question_gets_the_same_answer(server: RunningServer) -> None:
    first, second = (server.ask(QUESTION).json() for _ in range(2))
    assert first == second


def test_cyclic_debiasing_is_blind_to_the_choices_order(server: RunningServer) -> None:
    first, *rest = QUESTION["choices"]
    turned = {**QUESTION, "choices": [*rest, first]}
    straight, rotated = (server.ask(q, debias="cyclic").json()["predictions"][0] for q in (QUESTION, turned))
    by_choice = dict(zip(QUESTION["choices"], straight["probabilities"].values(), strict=True))
    turned_by_choice = dict(zip(turned["choices"], rotated["probabilities"].values(), strict=True))
    assert turned_by_choice == pytest.approx(by_choice, abs=0.02)
    assert server.ask(QUESTION, debias="none").json() != server.ask(QUESTION, debias="cyclic").json()


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8", None],
)
def test_content_types_that_mean_json(server: RunningServer, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    response = server.client.post(PREDICT, content=json.dumps({"instances": [QUESTION]}), headers=headers)
    assert response.status_code == 200, response.text


def test_a_binary_cloudevent_is_answered_with_one(server: RunningServer) -> None:
    event = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/test", "ce-type": "ask"}
    response = server.client.post(PREDICT, json={"instances": [QUESTION]}, headers=event)
    assert response.status_code == 200
    assert response.headers["ce-type"] == "io.kserve.inference.response"
    check_answer(response.json()["predictions"][0], QUESTION)


def test_a_cloudevent_that_is_none_is_the_clients_error(server: RunningServer) -> None:
    event = {"ce-specversion": "9", "ce-id": "", "ce-source": "", "ce-type": ""}
    response = server.client.post(PREDICT, content=b"\xff", headers=event)
    assert (response.status_code, list(response.json())) == (400, ["error"])


def ask_with(**changes: Any) -> dict[str, Any]:
    return {"instances": [QUESTION, {**QUESTION, **changes}]}


BAD_BODIES = [
    (b"", "the body is empty"),
    (b"{", "the body is not JSON"),
    (b"[]", "the body must be a JSON object"),
    (b"null", "the body must be a JSON object"),
    (b'"instances"', "the body must be a JSON object"),
    (b"{}", "instances: must be a list"),
    (b'{"instances": {}}', 'Expected "instances" to be a list'),
    (b'{"instances": []}', "instances: is empty"),
    (b'{"instances": [NaN]}', "the body is not JSON"),
    (b'{"instances": [Infinity]}', "the body is not JSON"),
    (b"\xff\xfe{}", "the body is not JSON"),
    (b'{"instances": ["\\ud800"]}', "the body is not JSON"),
    (b"[" * 5000 + b"]" * 5000, "the body is not JSON"),
    ({"instances": [QUESTION], "instance": []}, "'instance' is not a field"),
    ({"instances": [1]}, "question 0: question: must be an object"),
    (ask_with(question=""), "question 1: question: is empty"),
    (ask_with(question=None), "question 1: question: must be a string"),
    (ask_with(choices=["a"]), "question 1: choices: needs 2 to 10 choices, found 1"),
    (ask_with(choices=list("abcdefghijk")), "question 1: choices: needs 2 to 10 choices, found 11"),
    (ask_with(choices=["a", " "]), "question 1: choices[1]: is empty"),
    (ask_with(choices=["a", 7]), "question 1: choices[1]: must be a string, found a number"),
    (ask_with(choices=["a", "b", "a"]), "question 1: choices: A and C are the same"),
    (ask_with(choices="ab"), "question 1: choices: must be a list"),
    (ask_with(coed="x"), "question 1: coed: is not a field"),
    (ask_with(question="x" * 20_000), "question 1: question: has "),
    ({"instances": [QUESTION], "parameters": []}, "parameters: must be an object"),
    ({"instances": [QUESTION], "parameters": {"debais": "none"}}, "parameters: 'debais' is not known"),
    ({"instances": [QUESTION], "parameters": {"debias": "all"}}, "debias: must be one of none, prior, cyclic"),
    ({"instances": [QUESTION], "parameters": {"debias": []}}, "debias: must be one of"),
    ({"instances": [QUESTION] * 257}, "257 questions, the limit is 256"),
]


@pytest.mark.parametrize(("body", "error"), BAD_BODIES)
def test_a_bad_body_is_told_what_is_wrong(server: RunningServer, body: Any, error: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body)
    response = server.client.post(PREDICT, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text
    assert list(response.json()) == ["error"]
    assert error in response.json()["error"]


@pytest.mark.parametrize("field", ["question", "code"])
def test_nothing_of_the_question_is_cut_off(server: RunningServer, field: str) -> None:
    response = server.ask({**QUESTION, field: "word " * 3000})
    assert response.status_code == 400
    assert "the limit is 1024" in response.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "error"),
    [
        ("POST", "/v1/models/other:predict", {}, 404, "other"),
        ("GET", "/v1/models/other", {}, 404, "other"),
        ("GET", "/nothing", {}, 404, "there is nothing here"),
        ("GET", "/docs", {}, 404, "there is nothing here"),
        ("GET", PREDICT, {}, 405, "POST"),
        ("DELETE", "/v1/models", {}, 405, "GET"),
        ("POST", PREDICT, {"content-type": "text/plain"}, 415, "application/json"),
        ("POST", PREDICT, {"content-type": "application/json; charset=latin-1"}, 415, "utf-8"),
        ("POST", PREDICT, {"content-encoding": "br"}, 415, "'br' is not known; send gzip or deflate"),
        ("POST", PREDICT, {"content-encoding": "gzip"}, 400, "the body is not a gzip stream"),
        ("POST", "/v2/repository/models/coding-mcqa/unload", {}, 403, "new revision"),
        ("POST", "/v2/repository/models/coding-mcqa/load", {}, 403, "new revision"),
        ("POST", "/v2/repository/index", {}, 403, "new revision"),
    ],
)
def test_refusals_are_protocol_errors(
    server: RunningServer, method: str, path: str, headers: dict[str, str], status: int, error: str
) -> None:
    content = json.dumps({"instances": [QUESTION]})
    headers = {"content-type": "application/json", **headers}
    response = server.client.request(method, path, content=content, headers=headers)
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert error in response.json()["error"]
    assert server.ask(QUESTION).status_code == 200


def test_the_allowed_method_is_named(server: RunningServer) -> None:
    assert server.client.get(PREDICT).headers["allow"] == "POST"


def test_a_body_is_refused_by_its_announced_size(server: RunningServer) -> None:
    response = server.client.post(PREDICT, content=b" " * (4 * 1024 * 1024 + 1))
    assert response.status_code == 413
    assert "4194304 bytes" in response.json()["error"]


def test_a_body_of_unknown_size_is_cut_off_at_the_limit(server: RunningServer) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        while sent < 2**30:
            sent += 2**16
            yield b" " * 2**16

    try:
        response = server.client.post(PREDICT, content=endless())
        assert response.status_code == 413
    except httpx2.TransportError:
        pass  # the server may close the connection while the body is still being sent
    assert sent < 2**28


def test_an_explanation(server: RunningServer) -> None:
    body = {"instances": [{**QUESTION, "id": "e"}, QUESTION], "parameters": {"max_new_tokens": 4}}
    response = server.client.post(EXPLAIN, json=body, headers={"authorization": "Bearer secret", "x-mine": "1"})
    assert response.status_code == 200
    assert set(response.json()) == {"explanations", "model_version"}
    first, second = response.json()["explanations"]
    assert set(first) == ANSWER_FIELDS | {"id", "explanation", "finish_reason", "completion_tokens"}
    assert first["finish_reason"] in ("stop", "length")
    assert first["completion_tokens"] <= 4
    assert {**second, "id": "e"} == first
    check_answer(first, QUESTION)
    assert not {"authorization", "x-mine"} & set(response.headers)


@pytest.mark.parametrize("tokens", [0, -1, 513, 1.5, "many", True])
def test_the_length_of_an_explanation_is_checked(server: RunningServer, tokens: Any) -> None:
    response = server.post(EXPLAIN, {"instances": [QUESTION], "parameters": {"max_new_tokens": tokens}})
    assert (response.status_code, response.json()) == (
        400,
        {"error": "parameters: max_new_tokens: must be a whole number from 1 to 512"},
    )


def test_discovery(server: RunningServer) -> None:
    assert server.client.get("/").json() == {"status": "alive"}
    assert server.client.get("/v1/models").json() == {"models": ["coding-mcqa"]}
    assert server.client.get("/v1/models/coding-mcqa").json() == {"name": "coding-mcqa", "ready": True}
