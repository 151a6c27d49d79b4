"""What collect reads in logged requests, responses and feedback."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from common.event_types import FEEDBACK, INFERENCE_REQUEST, INFERENCE_RESPONSE
from functions.clocks import EventTimes
from functions.collect.parsing import FeedbackEvent, RequestEvent, ResponseEvent, answer_key, parse_event
from functions.collect.payloads import MAX_UNPACKED, AnswerFeatures, NoInferenceError
from functions.events import BadEventError, Event
from predictor.serving.event_stream import encode_event

ONE = {"question": "1 + 1?", "choices": ["1", "2"]}
TWO = {"question": "2 + 2?", "choices": ["3", "4", "5"], "code": "x", "id": "q2", "subject": "sums"}
ANSWER = {
    "letter": "B",
    "index": 1,
    "choice": "2",
    "probabilities": {"A": 0.1, "B": 0.9},
    "confidence": 0.9,
    "margin": 0.8,
    "entropy": 0.325,
    "letter_mass": 0.99,
    "prompt_tokens": 40,
    "model_version": "7",
}
FACTS = AnswerFeatures("B", 0.9, 0.325, 0.8, 0.99, 40)
AT_60 = EventTimes(60.0, 60.0, 65.0, 65.0)
SEVEN = {"annotations": '{"coding-mcqa/model-version": "7"}'}


def event(type: str, data: Any, extensions: dict[str, str] | None = None, time: str | None = None) -> Event:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return Event("e1", "http://logger", type, time, None, "application/json", extensions or {}, body)


def tensor(name: str, shape: list[int], data: list[Any], datatype: str = "BYTES") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


V2_REQUEST = {
    "inputs": [
        tensor("question", [2], ["1 + 1?", "2 + 2?"]),
        tensor("choices", [2, 3], ["1", "2", "", "3", "4", "5"]),
        tensor("code", [2], ["", "x"]),
        tensor("id", [2], ["", "q2"]),
        tensor("subject", [2], ["", "sums"]),
    ]
}
V2_RESPONSE = {
    "model_name": "coding-mcqa",
    "model_version": "7",
    "id": "r",
    "outputs": [
        tensor("letter", [2], ["B", "B"]),
        tensor("index", [2], [1, 1], "INT32"),
        tensor("probabilities", [2, 2], [0.1, 0.9, 0.1, 0.9], "FP32"),
        tensor("confidence", [2], [0.9, 0.9], "FP32"),
        tensor("margin", [2], [0.8, 0.8], "FP32"),
        tensor("entropy", [2], [0.325, 0.325], "FP32"),
        tensor("letter_mass", [2], [0.99, 0.99], "FP32"),
        tensor("prompt_tokens", [2], [40, 40], "INT32"),
    ],
}


def binary(payload: dict[str, Any], raw: bytes) -> bytes:
    return json.dumps(payload).encode() + raw


BINARY_INPUT = {"name": "question", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}}


def stream(*events: tuple[str, Any]) -> bytes:
    """As the model server sends an explanation while it is written."""
    return b"".join(encode_event(name, data) for name, data in events)  # type: ignore[arg-type]


def column(request: dict[str, Any]) -> dict[str, Any]:
    """The same tensors as MLServer's codecs send them: a dimension of 1 at the end."""
    return {"inputs": [{**item, "shape": [*item["shape"], 1]} for item in request["inputs"]]}


@pytest.mark.parametrize(
    ("body", "questions"),
    [
        ({"instances": [ONE]}, (ONE,)),
        ({"instances": [{**ONE, "answer": 1}, TWO], "parameters": {"debias": "none"}}, (ONE, TWO)),
        (V2_REQUEST, (ONE, TWO)),
        ({"inputs": [tensor("question", [1], ["1 + 1?"]), tensor("choices", [2], ["1", "2"])]}, (ONE,)),
        ({"inputs": [tensor("question", [1], ["1 + 1?"]), tensor("choices", [1, 2], [["1", "2"]])]}, (ONE,)),
        ({"inputs": [tensor("choices", [2, 1], [["1"], ["2"]]), tensor("question", [1, 1], [["1 + 1?"]])]}, (ONE,)),
        (column(V2_REQUEST), (ONE, TWO)),
        (b"\xef\xbb\xbf" + json.dumps({"instances": [ONE]}).encode(), (ONE,)),
        (gzip.compress(json.dumps(V2_REQUEST).encode()), (ONE, TWO)),
        (zlib.compress(json.dumps({"instances": [ONE]}).encode()), (ONE,)),
        (gzip.compress(zlib.compress(json.dumps({"instances": [ONE]}).encode())), (ONE,)),
        (zlib.compress(json.dumps({"instances": [ONE]}).encode())[2:-4], (ONE,)),  # without zlib's header and sum
        (gzip.compress(binary({"inputs": [BINARY_INPUT]}, struct.pack("<I", 2) + b"\xff?")), ()),
        (binary({"inputs": [BINARY_INPUT]}, struct.pack("<I", 2) + b"\xff?"), ()),
    ],
)
def test_questions_of_a_request(body: Any, questions: tuple[Any, ...]) -> None:
    parsed = parse_event(event(INFERENCE_REQUEST, body, SEVEN, "1970-01-01T00:01:00Z"), 65.0)
    assert parsed == RequestEvent("http://logger", "e1", "7", AT_60, questions)


@pytest.mark.parametrize(
    ("body", "answers"),
    [
        ({"predictions": [ANSWER], "model_version": "7"}, (FACTS,)),
        ({"predictions": [ANSWER, ANSWER]}, (FACTS, FACTS)),
        ({"explanations": [{**ANSWER, "explanation": "because"}]}, (FACTS,)),
        (V2_RESPONSE, (FACTS, FACTS)),
        ({"outputs": [tensor("letter", [1], ["A"])]}, (AnswerFeatures("A"),)),
        ({"outputs": [tensor("probabilities", [1, 2], [0.1, 0.9])]}, ()),
        (binary({"outputs": [{**BINARY_INPUT, "name": "letter"}]}, b"\x01\x00\x00\x00A"), ()),
    ],
)
def test_answers_of_a_response(body: Any, answers: tuple[Any, ...]) -> None:
    parsed = parse_event(event(INFERENCE_RESPONSE, body, SEVEN, "1970-01-01T00:01:00Z"), 65.0)
    assert parsed == ResponseEvent("http://logger", "e1", "7", AT_60, answers)


@pytest.mark.parametrize(
    ("extensions", "body_version", "version"),
    [
        (SEVEN, "6", "7"),
        ({}, "6", "6"),
        ({"annotations": "{}"}, "6", "6"),
        ({}, None, None),
    ],
)
def test_the_annotation_names_the_version_before_the_body(
    extensions: dict[str, str], body_version: str | None, version: str | None
) -> None:
    body = {"predictions": [ANSWER], **({"model_version": body_version} if body_version else {})}
    parsed = parse_event(event(INFERENCE_RESPONSE, body, extensions), 5.0)
    assert isinstance(parsed, ResponseEvent)
    assert (parsed.version, parsed.times) == (version, EventTimes(5.0, None, 5.0, 5.0))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"answer_id": "abc", "answer": 2}, ("abc", 0, "C")),
        ({"answer_id": "abc/3", "answer": "d"}, ("abc", 3, "D")),
        ({"answer_id": "abc/0", "answer": "A"}, ("abc", 0, "A")),
    ],
)
def test_feedback(data: Any, expected: tuple[str, int, str]) -> None:
    parsed = parse_event(event(FEEDBACK, data, time="1970-01-01T00:01:00Z"), 65.0)
    assert parsed == FeedbackEvent("http://logger", "e1", *expected, AT_60)


@pytest.mark.parametrize(
    ("answer_id", "key"),
    [
        ("a", ("a", 0)),
        ("a/1", ("a", 1)),
        ("a/b", ("a/b", 0)),
        ("a/b/2", ("a/b", 2)),
        ("/2", ("/2", 0)),
        ("a/²", ("a/²", 0)),
    ],
)
def test_answer_ids(answer_id: str, key: tuple[str, int]) -> None:
    assert answer_key(answer_id) == key


@pytest.mark.parametrize(
    ("type", "data", "message"),
    [
        ("org.example", {}, "type: collect knows"),
        (INFERENCE_RESPONSE, {"predictions": [{"letter": "Z"}]}, "letter: must be A to J"),
        (INFERENCE_RESPONSE, {"predictions": [{**ANSWER, "confidence": "high"}]}, "confidence: must be a number"),
        (INFERENCE_RESPONSE, {"predictions": [{**ANSWER, "entropy": True}]}, "entropy: must be a number"),
        (INFERENCE_RESPONSE, b'{"predictions": [{"letter": "A", "confidence": NaN}]}', "not JSON"),
        (INFERENCE_RESPONSE, b'{"predictions": [{"letter": "A", "confidence": 1e999}]}', "must be a number"),
        (INFERENCE_RESPONSE, {"predictions": [], "model_version": 7}, "model version"),
        (FEEDBACK, [], "must be an object"),
        (FEEDBACK, {"answer": 1}, "answer_id"),
        (FEEDBACK, {"answer_id": "a"}, "answer: must be"),
        (FEEDBACK, {"answer_id": "a", "answer": 10}, "answer: must be"),
        (FEEDBACK, {"answer_id": "a", "answer": True}, "answer: must be"),
        (FEEDBACK, {"answer_id": "a", "answer": "AB"}, "answer: must be"),
    ],
)
def test_poison_is_refused_with_the_reason(type: str, data: Any, message: str) -> None:
    with pytest.raises(BadEventError, match=message):
        parse_event(event(type, data), 5.0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "the body is not JSON"),
        (b'{"instances": []} and more', "more than its JSON"),
        (b'{"instances": [{"question": "\xff"}]}', "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        ([], "must be a JSON object"),
        ({}, "neither instances"),
        ({"instances": [5]}, "question 0"),
        ({"instances": [ONE, {"question": "?", "choices": ["1"]}]}, "question 1: choices"),
        ({"instances": [{"question": "?", "choices": "ab"}]}, "question 0: choices"),
        ({"inputs": [tensor("question", [2], ["?"])]}, "does not fit"),
        ({"inputs": [{"name": "question", "datatype": "BYTES"}]}, r"inputs\[0\]"),
        ({"inputs": [tensor("question", [0], [])]}, "shape"),
        (
            {"inputs": [tensor("question", [2], ["?", "?"]), tensor("code", [1], ["x"])]},
            "different numbers of rows",
        ),
        (
            {"inputs": [tensor("question", [2], ["?", "?"]), tensor("choices", [1, 2], ["1", "2"])]},
            r"choices: shape \[1, 2\] does not fit the questions",
        ),
        ({"instances": []}, "no questions"),
        ({"inputs": []}, "no questions"),
        ({"instances": [{"question": "?", "choices": ["a", "a"]}]}, "question 0: choices: A and B are the same text"),
        ({"instances": [{**ONE, "cod": "x"}]}, "question 0: cod: is not a field"),
        ({"instances": [{**ONE, "code": 5}]}, "question 0: code: must be a string"),
        ({"instances": [ONE], "parameters": {"purpose": "fun"}}, "purpose: must be one of test, found 'fun'"),
        ({"instances": [ONE], "parameters": {"purpose": ["test"]}}, "purpose: must be one of test"),
        ({"instances": [ONE], "user": "me"}, "'user' is not known to the model server"),
        ({"instances": [ONE], "inputs": []}, "'inputs' is not known"),
        ({"instances": [ONE], "parameters": []}, "parameters: must be an object"),
        ({"instances": [ONE], "parameters": {"temperature": 0}}, "'temperature' is not known"),
        ({"instances": [ONE], "parameters": {"debias": "x"}}, "debias: must be one of none, prior, cyclic"),
        ({"instances": [ONE], "parameters": {"debias": []}}, "debias: must be one of"),
        ({"instances": [ONE], "parameters": {"stream": "yes"}}, "stream: must be true"),
        ({"instances": [ONE, ONE], "parameters": {"stream": True}}, "stream: must be true, with one question"),
        *(
            ({"instances": [ONE], "parameters": {"max_new_tokens": tokens}}, "max_new_tokens: must be a whole number")
            for tokens in (0, -1, 8.0, True, "8", None)
        ),
        ({**V2_REQUEST, "user": "me"}, "'user' is not known"),
        ({**V2_REQUEST, "parameters": {"priority": 1}}, "'priority' is not known"),
        ({"inputs": [*V2_REQUEST["inputs"], tensor("extra", [2], ["a", "b"])]}, "inputs: must be BYTES tensors"),
        ({"inputs": [tensor("question", [1], ["?"], "STRING"), V2_REQUEST["inputs"][1]]}, "inputs: must be BYTES"),
        ({"inputs": [*V2_REQUEST["inputs"], V2_REQUEST["inputs"][0]]}, "inputs: a tensor is given twice"),
        (b"plain text", "the body is not JSON"),
        (gzip.compress(b"{"), "the body is not JSON"),
        (gzip.compress(json.dumps({"instances": [ONE]}).encode())[:-9], "ends within its gzip stream"),
        (b"\x1f\x8bgarbage", "gzip"),
        (gzip.compress(b" " * (MAX_UNPACKED + 1)), "exceeds the limit"),
    ],
)
def test_what_the_model_server_refuses_is_no_dead_letter(data: Any, message: str) -> None:
    with pytest.raises(NoInferenceError, match=message):
        parse_event(event(INFERENCE_REQUEST, data, SEVEN), 5.0)


STREAMS = (
    (("answer", ANSWER), ("text", {"text": "be"}), ("end", {"explanations": [ANSWER], "model_version": "7"})),
    (("answer", ANSWER), ("text", {"text": "event: end"})),
    (("answer", ANSWER), ("error", {"error": "the deadline has passed", "status": 504})),
)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda body: body])
@pytest.mark.parametrize("purpose", [{}, {"purpose": "test"}])
def test_how_a_streamed_explanation_ends_counts_for_nothing(
    pack: Callable[[bytes], bytes], purpose: dict[str, str]
) -> None:
    """Its reader knows the version from the first event, and could make only that version's requests fail."""
    request = {"instances": [ONE], "parameters": {"stream": True, "max_new_tokens": 8, **purpose}}
    with pytest.raises(NoInferenceError, match="a streamed explanation: its reader knows the version"):
        parse_event(event(INFERENCE_REQUEST, pack(json.dumps(request).encode()), SEVEN), 5.0)
    for events in STREAMS:
        with pytest.raises(NoInferenceError, match="a streamed explanation"):
            parse_event(event(INFERENCE_RESPONSE, pack(stream(*events)), SEVEN), 5.0)


@pytest.mark.parametrize("parameters", [{"max_new_tokens": 1}, {"max_new_tokens": 512, "stream": False}])
def test_an_explanation_that_is_sent_whole_counts(parameters: dict[str, Any]) -> None:
    parsed = parse_event(event(INFERENCE_REQUEST, {"instances": [ONE], "parameters": parameters}, SEVEN), 5.0)
    assert isinstance(parsed, RequestEvent)
    assert (parsed.questions, parsed.purpose) == ((ONE,), None)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda body: body])
def test_a_packed_body_is_read_as_the_model_server_reads_it(pack: Callable[[bytes], bytes]) -> None:
    """KServe's logger copies the body as it came; what it was packed with is in none of the event's attributes."""
    parsed = parse_event(event(INFERENCE_REQUEST, pack(json.dumps({"instances": [ONE, TWO]}).encode()), SEVEN), 5.0)
    assert isinstance(parsed, RequestEvent)
    assert parsed.questions == (ONE, TWO)


TEST = {"parameters": {"purpose": "test"}}


@pytest.mark.parametrize(
    ("type", "body", "purpose"),
    [
        (INFERENCE_REQUEST, {"instances": [ONE]}, None),
        (INFERENCE_REQUEST, {"instances": [ONE], "parameters": {"debias": "none"}}, None),
        (INFERENCE_REQUEST, {"instances": [ONE], **TEST}, "test"),
        (INFERENCE_REQUEST, {"instances": [ONE], "parameters": {"purpose": "test", "stream": False}}, "test"),
        (INFERENCE_REQUEST, {**V2_REQUEST, **TEST}, "test"),
        (INFERENCE_REQUEST, binary({"inputs": [BINARY_INPUT], **TEST}, b"\x02\x00\x00\x00\xff?"), "test"),
        (INFERENCE_RESPONSE, {"predictions": [ANSWER]}, None),
        (INFERENCE_RESPONSE, {"predictions": [ANSWER], "purpose": "test"}, "test"),
        (INFERENCE_RESPONSE, {"explanations": [ANSWER], "purpose": "test"}, "test"),
        (INFERENCE_RESPONSE, V2_RESPONSE, None),
        (INFERENCE_RESPONSE, {**V2_RESPONSE, **TEST}, "test"),
        (INFERENCE_RESPONSE, binary({"outputs": [BINARY_INPUT], **TEST}, b"\x01\x00\x00\x00A\x00"), "test"),
    ],
)
def test_test_traffic_is_marked_in_both_bodies(type: str, body: Any, purpose: str | None) -> None:
    parsed = parse_event(event(type, body, SEVEN), 5.0)
    assert isinstance(parsed, RequestEvent | ResponseEvent)
    assert parsed.purpose == purpose


@pytest.mark.parametrize(
    "annotations", ["7", "{", '{"coding-mcqa/model-version": 7}', '{"coding-mcqa/model-version": ""}']
)
def test_unreadable_annotations_are_poison(annotations: str) -> None:
    with pytest.raises(BadEventError, match=r"annotations|model version"):
        parse_event(event(INFERENCE_REQUEST, {"instances": [ONE]}, {"annotations": annotations}), 5.0)


@pytest.mark.parametrize(
    ("type", "data"),
    [
        (INFERENCE_REQUEST, b""),
        (INFERENCE_RESPONSE, b'{"name": "coding-mcqa", "ready": true}'),
        (
            INFERENCE_RESPONSE,
            b'{"name": "m", "platform": "torch", "outputs": [{"name": "letter", "datatype": "BYTES", "shape": [-1]}]}',
        ),
        (INFERENCE_RESPONSE, b"# HELP process_cpu_seconds_total\n"),
    ],
)
def test_other_endpoints_are_not_inference(type: str, data: bytes) -> None:
    """KServe's logger copies a GET's empty body and its answer too."""
    with pytest.raises(NoInferenceError, match="no inference"):
        parse_event(Event("1", "http://localhost:9081/", type, data=data), 1.0)
