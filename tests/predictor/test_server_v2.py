"""v2 over REST, JSON and binary tensors, against a real server and the protocol's own OpenAPI document."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

from tests.servers import INFER, QUESTION, ROOT, RunningServer, tensors

pytestmark = pytest.mark.usefixtures("processes")

PROTOCOL = ROOT.parent / "shared" / "reference" / "open-inference-protocol" / "open_inference_rest.yaml"
SECOND = {"question": "Which is a tuple?", "choices": ["()", "[]"]}
TYPES = {
    "letter": ("BYTES", [-1]),
    "index": ("INT32", [-1]),
    "choice": ("BYTES", [-1]),
    "probabilities": ("FP32", [-1, -1]),
    "confidence": ("FP32", [-1]),
    "margin": ("FP32", [-1]),
    "entropy": ("FP32", [-1]),
    "letter_mass": ("FP32", [-1]),
    "prompt_tokens": ("INT32", [-1]),
}


def infer(server: RunningServer, *questions: dict[str, Any], **more: Any) -> dict[str, Any]:
    response = server.post(INFER, {"inputs": tensors(*questions), **more})
    assert response.status_code == 200, response.text
    return response.json()


def outputs(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {output["name"]: output for output in body["outputs"]}


def test_answers_are_those_of_v1(server: RunningServer) -> None:
    body = infer(server, QUESTION, SECOND, id="request-7")
    assert set(body) == {"id", "model_name", "model_version", "outputs", "parameters"}
    assert (body["id"], body["model_name"], body["model_version"]) == ("request-7", "coding-mcqa", "random-1")
    assert body["parameters"] == {"revision": "coding-mcqa-00001"}
    answers = outputs(body)
    assert {name: output["datatype"] for name, output in answers.items()} == {name: t for name, (t, _) in TYPES.items()}
    assert answers["probabilities"]["shape"] == [2, 4]
    v1 = [server.ask(question).json()["predictions"][0] for question in (QUESTION, SECOND)]
    for name in ("letter", "index", "choice", "prompt_tokens"):
        assert answers[name]["shape"] == [2]
        assert answers[name]["data"] == [answer[name] for answer in v1]
    for name in ("confidence", "margin", "entropy", "letter_mass"):
        assert answers[name]["data"] == pytest.approx([answer[name] for answer in v1], abs=1e-2)
    rows = np.array(answers["probabilities"]["data"]).reshape(2, 4)
    assert rows.sum(axis=1) == pytest.approx([1, 1])
    assert list(rows[1][2:]) == [0, 0]


def test_an_id_is_made_when_none_is_given(server: RunningServer) -> None:
    response = server.client.post(INFER, json={"inputs": tensors(QUESTION)}, headers={"x-request-id": "r-1"})
    assert response.json()["id"] == "r-1"
    assert infer(server, QUESTION)["id"] != infer(server, QUESTION)["id"]


def test_one_questions_choices_may_be_flat_and_data_may_be_nested(server: RunningServer) -> None:
    inputs = tensors(QUESTION)
    plain = outputs(infer(server, QUESTION))
    inputs[1]["shape"] = [4]
    assert outputs(server.post(INFER, {"inputs": inputs}).json()) == plain
    inputs[1].update(shape=[1, 4], data=[inputs[1]["data"]])
    assert outputs(server.post(INFER, {"inputs": inputs}).json()) == plain


def reshaped(**shapes: list[int]) -> dict[str, Any]:
    """One question whose tensors have these shapes, their data flat."""
    inputs = [*tensors(QUESTION), tensor("code", ["x = 1"]), tensor("id", ["7"])]
    for item in inputs:
        item["shape"] = shapes.get(item["name"], item["shape"])
    return {"inputs": inputs}


@pytest.mark.parametrize(
    "shapes",
    [
        {"question": [1, 1]},
        {"question": [1, 1], "code": [1, 1], "id": [1, 1, 1]},
        {"choices": [4]},
        {"choices": [4, 1]},
        {"choices": [1, 4, 1]},
        {"question": [1, 1], "choices": [4, 1], "code": [1], "id": [1, 1]},
    ],
)
def test_shapes_that_say_one_thing_only(server: RunningServer, shapes: dict[str, list[int]]) -> None:
    expected = outputs(server.post(INFER, reshaped()).json())
    body = reshaped(**shapes)
    assert outputs(server.post(INFER, body).json()) == expected
    for item in body["inputs"]:
        item["data"] = np.array(item["data"], dtype=object).reshape(item["shape"]).tolist()
    assert outputs(server.post(INFER, body).json()) == expected


@pytest.mark.parametrize("nested", [False, True])
def test_several_questions_with_a_dimension_of_one(server: RunningServer, nested: bool) -> None:
    body = {"inputs": [*tensors(QUESTION, SECOND), tensor("code", ["x = 1", ""])]}
    expected = outputs(server.post(INFER, body).json())
    for item in body["inputs"]:
        item["shape"] = [*item["shape"], 1]
        if nested:
            item["data"] = np.array(item["data"], dtype=object).reshape(item["shape"]).tolist()
    assert outputs(server.post(INFER, body).json()) == expected


def test_content_types_of_codecs(server: RunningServer) -> None:
    """As MLServer's string, NumPy and pandas codecs send them."""
    expected = outputs(infer(server, QUESTION))
    for kind in ("str", "np", "pd"):
        inputs = [{**item, "parameters": {"content_type": kind}} for item in tensors(QUESTION)]
        body = {"inputs": inputs, "parameters": {"content_type": kind}}
        assert outputs(server.post(INFER, body).json()) == expected
        body["outputs"] = [{"name": "letter", "parameters": {"content_type": kind}}]
        assert outputs(server.post(INFER, body).json())["letter"] == expected["letter"]


def test_optional_inputs(server: RunningServer) -> None:
    extra = [tensor("code", ["x = 1"]), tensor("id", [""]), tensor("subject", ["python"])]
    body = server.post(INFER, {"inputs": [*tensors(QUESTION), *extra]}).json()
    assert outputs(body)["prompt_tokens"]["data"][0] > outputs(infer(server, QUESTION))["prompt_tokens"]["data"][0]


def test_only_the_outputs_asked_for_in_that_order(server: RunningServer) -> None:
    body = infer(server, QUESTION, outputs=[{"name": "confidence"}, {"name": "letter"}])
    assert [output["name"] for output in body["outputs"]] == ["confidence", "letter"]


def test_debiasing_is_a_request_parameter(server: RunningServer) -> None:
    plain, cyclic = (infer(server, QUESTION, parameters={"debias": mode}) for mode in ("none", "cyclic"))
    assert outputs(plain)["probabilities"] != outputs(cyclic)["probabilities"]


def triton_inputs(*questions: dict[str, Any]) -> list[triton.InferInput]:
    inputs = []
    for tensor in tensors(*questions):
        values = np.array([text.encode() for text in tensor["data"]], dtype=object).reshape(tensor["shape"])
        inputs.append(triton.InferInput(tensor["name"], tensor["shape"], "BYTES"))
        inputs[-1].set_data_from_numpy(values, binary_data=True)
    return inputs


@pytest.fixture
def client(server: RunningServer) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(server.url.removeprefix("http://"))


def test_tritonclient_with_binary_tensors(server: RunningServer, client: triton.InferenceServerClient) -> None:
    question = {**QUESTION, "question": "Was heißt „größer“? 🐍"}
    expected = outputs(infer(server, question, SECOND))
    result = client.infer("coding-mcqa", triton_inputs(question, SECOND), request_id="t-1")
    assert result.get_response()["id"] == "t-1"
    assert result.get_response()["model_version"] == "random-1"
    for name, (datatype, _) in TYPES.items():
        values = result.as_numpy(name)
        assert list(values.shape) == expected[name]["shape"]
        if datatype == "BYTES":
            assert [value.decode() for value in values.flatten()] == expected[name]["data"]
        else:
            assert values.dtype == (np.float32 if datatype == "FP32" else np.int32)
            assert values.flatten().tolist() == pytest.approx(expected[name]["data"])


def test_each_output_may_be_binary_or_json(client: triton.InferenceServerClient) -> None:
    wanted = [triton.InferRequestedOutput("letter", binary_data=False), triton.InferRequestedOutput("probabilities")]
    result = client.infer("coding-mcqa", triton_inputs(QUESTION), outputs=wanted)
    letter, probabilities = result.get_response()["outputs"]
    assert letter["data"][0] in "ABCD"
    assert probabilities["parameters"] == {"binary_data_size": 16}
    assert result.as_numpy("probabilities").shape == (1, 4)


def test_tritonclient_discovers(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("coding-mcqa")
    assert client.is_model_ready("coding-mcqa", "random-1")
    assert not client.is_model_ready("coding-mcqa", "random-2")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]


def test_the_metadata_is_true(server: RunningServer) -> None:
    metadata = server.client.get("/v2/models/coding-mcqa").json()
    assert metadata["versions"] == ["random-1"]
    assert json.loads(metadata["properties"]["card"])["title"] == "model of random weights"
    assert {item["name"]: (item["datatype"], item["shape"]) for item in metadata["outputs"]} == TYPES
    every = [
        {"name": item["name"], "datatype": item["datatype"], "shape": [1, 2] if len(item["shape"]) == 2 else [1]}
        for item in metadata["inputs"]
    ]
    for item in every:
        item["data"] = ["a", "b"] if item["name"] == "choices" else ["text"]
    assert server.post(INFER, {"inputs": every}).status_code == 200
    assert {item["name"] for item in every} == {"question", "choices", "code", "id", "subject"}


def test_versions_in_paths(server: RunningServer) -> None:
    body = {"inputs": tensors(QUESTION)}
    assert server.post("/v2/models/coding-mcqa/versions/random-1/infer", body).status_code == 200
    wrong = server.post("/v2/models/coding-mcqa/versions/2/infer", body)
    assert wrong.status_code == 404
    assert wrong.json() == {"error": "model coding-mcqa has no version 2; it serves random-1"}
    assert server.client.get("/v2/models/coding-mcqa/versions/random-1").status_code == 200
    assert server.client.get("/v2/models/coding-mcqa/versions/random-1/ready").json()["ready"] is True


def edited(**changes: Any) -> dict[str, Any]:
    """A good request whose question tensor, or named other, is changed."""
    target = changes.pop("tensor", 0)
    inputs = tensors(QUESTION)
    inputs[target] = {key: value for key, value in {**inputs[target], **changes}.items() if value != "absent"}
    return {"inputs": inputs}


def good(**more: Any) -> dict[str, Any]:
    return {"inputs": tensors(QUESTION), **more}


def tensor(name: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": "BYTES", "data": data}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ([], "the body must be a JSON object"),
        ({}, "inputs: must be a list"),
        ({"inputs": []}, "inputs: question is missing"),
        ({"inputs": {}}, "inputs: must be a list"),
        ({"inputs": [7]}, "inputs[0]: must be an object"),
        ({"inputs": tensors(QUESTION)[:1]}, "inputs: choices is missing"),
        ({"inputs": [*tensors(QUESTION), tensor("question", ["again"])]}, "question appears twice"),
        ({"inputs": [*tensors(QUESTION), tensor("hint", ["x"])]}, "'hint' is not an input"),
        ({"inputs": [*tensors(QUESTION), tensor("code", ["x", "y"])]}, "code: shape must be [1], found [2]"),
        (edited(name="absent"), "inputs[0]: name: must be a string"),
        (edited(shape="absent"), "inputs[0]: shape: must be a list"),
        (edited(datatype=5), "inputs[0]: datatype: must be a string"),
        (edited(data="absent"), "inputs[0]: has neither data nor"),
        (edited(data="text"), "inputs[0]: data: must be a list"),
        (edited(data=[1]), "question: element 0 must be a string"),
        (edited(data=[]), "question: shape [1] has 1 elements, found 0"),
        (edited(data=["a", "b"]), "question: shape [1] has 1 elements, found 2"),
        (edited(shape=[-1]), "inputs[0]: shape: must be a list of whole numbers"),
        (edited(shape=[1.0]), "inputs[0]: shape: must be a list of whole numbers"),
        (edited(shape=[0], data=[]), "question: is empty"),
        (edited(shape=[1, 2]), "question: shape must be [N]"),
        (edited(shape=[1, 2], data=["a", "b"]), "question: shape must be [N]"),
        (edited(shape=[]), "question: shape must be [N]"),
        (edited(tensor=1, shape=[1, 1, 4]), "choices: shape must be [1, 2 to 10]"),
        (edited(tensor=1, shape=[2, 2]), "choices: shape must be [1, 2 to 10]"),
        (edited(tensor=1, shape=[1, 1], data=["a"]), "choices: needs 2 to 10 choices, found 1"),
        (edited(tensor=1, shape=[4, 1], data=[["a", "b"]] * 4), "choices: every row must have 1 elements"),
        ({"inputs": [*tensors(QUESTION, QUESTION)[:1], tensor("choices", list("abcd"))]}, "choices: shape must be [2,"),
        ({"inputs": [*tensors(QUESTION), {**tensor("code", ["x"]), "shape": [1, 2]}]}, "code: shape must be [1]"),
        (edited(parameters={"content_type": "base64"}), "inputs: question: content_type must be one of str, np, pd"),
        (good(parameters={"content_type": "datetime"}), "parameters: content_type must be one of str, np, pd"),
        (good(parameters={"content_type": ["str"]}), "parameters: content_type must be one of str, np, pd"),
        (
            good(outputs=[{"name": "letter", "parameters": {"content_type": "base64"}}]),
            "outputs: letter: content_type must be one of str, np, pd",
        ),
        (edited(shape=[10**30]), "inputs[0]: shape: must be a list of whole numbers"),
        (edited(shape=[10**15]), "the limit is 256"),
        (edited(datatype="INT32"), "question: datatype must be BYTES"),
        (edited(data=[" "]), "question 0: question: is empty"),
        (edited(parameters=[]), "inputs[0]: parameters: must be an object"),
        (edited(data="absent", parameters={"binary_data_size": -1}), "inputs[0]: has neither data nor"),
        (edited(tensor=1, shape=[2, 4]), "choices: shape must be [1, 2 to 10]"),
        (edited(tensor=1, shape=[1, 11]), "choices: shape must be [1, 2 to 10]"),
        (edited(tensor=1, shape=[1, 3]), "choices: shape [1, 3] has 3 elements, found 4"),
        (edited(tensor=1, data=["a", "", "b", ""]), "question 0: choices[1]: is empty"),
        (edited(tensor=1, data=["a", "", "", ""]), "question 0: choices: needs 2 to 10 choices, found 1"),
        (good(outputs={}), "outputs: must be a list"),
        (good(outputs=[{}]), "outputs[0]: must be an object with a name"),
        (good(outputs=[{"name": "logits"}]), "'logits' is not an output"),
        (good(outputs=[{"name": "letter", "parameters": {"binary_data": 1}}]), "binary_data must be true or false"),
        (good(id=7), "id: must be a string"),
        (good(parameters={"debias": "most"}), "debias: must be one of"),
        (good(parameters={"priority": 1}), "parameters: 'priority' is not known"),
        (good(parameters={"binary_data_output": "yes"}), "binary_data_output: must be true or false"),
        (good(parameters={"timeout": 0}), "timeout: must be a whole number of microseconds"),
        (good(inptus=[]), "'inptus' is not a field"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(server: RunningServer, body: Any, error: str) -> None:
    response = server.post(INFER, body)
    assert response.status_code == 400, response.text
    assert list(response.json()) == ["error"]
    assert error in response.json()["error"]


def binary(*elements: bytes, raw: bytes | None = None) -> tuple[bytes, dict[str, str]]:
    """A binary request whose question tensor is raw, or these elements."""
    data = b"".join(struct.pack("<I", len(element)) + element for element in elements) if raw is None else raw
    question, choices = tensors(QUESTION)
    del question["data"]
    question["parameters"] = {"binary_data_size": len(data)}
    header = json.dumps({"inputs": [question, choices]}).encode()
    return header + data, {
        "inference-header-content-length": str(len(header)),
        "content-type": "application/octet-stream",
    }


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (binary(b"\xff\xfe"), "question: element 0 is not valid UTF-8"),
        (binary(b"one", b"two"), "question: shape [1] has 1 elements, found 2"),
        (binary(raw=b"\x01\x00"), "question: the binary data ends within a length"),
        (binary(raw=b"\xff\xff\xff\xff"), "question: the binary data ends within element 0"),
        (binary(raw=b"\x00" * 400_000), "question: shape [1] has 1 elements"),
        ((binary(b"x")[0] + b"rest", binary(b"x")[1]), "4 bytes more than"),
        ((binary(b"x")[0][:-1], binary(b"x")[1]), "has neither data nor a binary_data_size that fits"),
        ((binary(b"x")[0], {"inference-header-content-length": "1e9"}), "Inference-Header-Content-Length"),
        ((binary(b"x")[0], {"inference-header-content-length": "9" * 5000}), "Inference-Header-Content-Length"),
        ((binary(b"x")[0], {"inference-header-content-length": "-1"}), "Inference-Header-Content-Length"),
        ((binary(b"x")[0], {"inference-header-content-length": "0"}), "the body is empty"),
        ((binary(b"x")[0], {}), "the body is not JSON"),
    ],
)
def test_a_bad_binary_request(server: RunningServer, request_: tuple[bytes, dict[str, str]], error: str) -> None:
    body, headers = request_
    response = server.client.post(INFER, content=body, headers=headers)
    assert response.status_code == 400, response.text
    assert error in response.json()["error"]


class TestTheProtocolsOwnSchemas:
    """Every JSON response against the Open Inference Protocol's OpenAPI document."""

    @pytest.fixture
    def validate(self) -> Any:
        if not PROTOCOL.is_file():
            pytest.skip("the Open Inference Protocol's document is not beside this checkout")
        import yaml
        from jsonschema import Draft4Validator
        from referencing import Registry
        from referencing.jsonschema import DRAFT4

        document = yaml.safe_load(Path(PROTOCOL).read_text())
        registry = Registry().with_resource("urn:oip", DRAFT4.create_resource(document))

        def check(name: str, value: Any) -> None:
            reference = {"$ref": f"urn:oip#/components/schemas/{name}"}
            Draft4Validator(reference, registry=registry).validate(value)

        return check

    def test_the_schemas_refuse_a_null(self, validate: Any) -> None:
        with pytest.raises(Exception, match="None is not of type 'string'"):
            validate("inference_response", {"model_name": "m", "outputs": [], "id": None})

    def test_responses(self, server: RunningServer, validate: Any) -> None:
        get = server.client.get
        validate("metadata_server_response", get("/v2").json())
        validate("metadata_server_response", get("/v2/").json())
        validate("metadata_model_response", get("/v2/models/coding-mcqa").json())
        validate("metadata_model_response", get("/v2/models/coding-mcqa/versions/random-1").json())
        validate("metadata_model_error_response", get("/v2/models/none").json())
        request = {"id": "42", "inputs": tensors(QUESTION, SECOND), "outputs": [{"name": "letter"}]}
        validate("inference_request", request)
        for body in (request, {"inputs": tensors(QUESTION)}, {**request, "parameters": {"debias": "cyclic"}}):
            validate("inference_response", server.post(INFER, body).json())
        error = server.post(INFER, {"inputs": []}).json()
        assert error
        validate("inference_error_response", error)
