"""What a server tells of its work: metrics, logs and traces."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from predictor.serving.request_context import TraceParent
from predictor.serving.tracing import tracing_wanted
from tests.servers import EXPLAIN, INFER, PREDICT, QUESTION, RunningServer, running, tensors

pytestmark = pytest.mark.usefixtures("processes")

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def own_server(random_version: Path, processes: None) -> Iterator[RunningServer]:
    with running(random_version, "--revision", "rev-7", "--log-questions") as server:
        yield server


def grpc_infer(server: RunningServer, **metadata: str) -> Any:
    message = pb.ModelInferRequest(model_name="coding-mcqa")
    for tensor in tensors(QUESTION):
        item = message.inputs.add(name=tensor["name"], datatype="BYTES", shape=tensor["shape"])
        item.contents.bytes_contents.extend(text.encode() for text in tensor["data"])
    with grpc.insecure_channel(server.grpc) as channel:
        return channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )(message, timeout=30, metadata=tuple(metadata.items()))


def test_metrics_count_what_happened(own_server: RunningServer) -> None:
    server, metric = own_server, own_server.metric
    letters = [server.ask(QUESTION, QUESTION).json()["predictions"][0]["letter"] for _ in range(3)]
    server.post(INFER, {"inputs": tensors(QUESTION)})
    server.post(EXPLAIN, {"instances": [QUESTION], "parameters": {"max_new_tokens": 2}})
    grpc_infer(server)
    server.ask({"question": "?"})
    server.client.get("/v1/models/none")
    with pytest.raises(grpc.RpcError), grpc.insecure_channel(server.grpc) as channel:
        channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"", timeout=30)

    assert metric("mcqa_requests_total", protocol="v1", method="predict", status="200") == 3
    assert metric("mcqa_requests_total", protocol="v1", method="predict", status="400") == 1
    assert metric("mcqa_requests_total", protocol="v1", method="explain", status="200") == 1
    assert metric("mcqa_requests_total", protocol="v2", method="infer", status="200") == 1
    assert metric("mcqa_requests_total", protocol="grpc", method="infer", status="OK") == 1
    assert metric("mcqa_requests_total", protocol="grpc", method="infer", status="NOT_FOUND") == 1
    assert metric("mcqa_errors_total", cause="bad_request") == 1
    assert metric("mcqa_errors_total", cause="not_found") == 2
    assert metric("mcqa_answers_total", letter=letters[0]) == metric("mcqa_answers_total") == 9
    assert metric("mcqa_answer_confidence_count") == metric("mcqa_answer_letter_mass_count") == 9
    assert metric("mcqa_queue_wait_seconds_count") == 7  # one a request, and the warm-up
    assert metric("mcqa_batch_questions_sum") == 10
    assert metric("mcqa_batch_tokens_sum") > metric("mcqa_tokens_total", kind="prompt") > 9 * 50
    assert metric("mcqa_tokens_total", kind="completion") <= 2
    for stage in ("tokenise", "queue", "forward", "answer", "total"):
        assert metric("mcqa_stage_seconds_count", stage=stage) >= 6
    assert metric("mcqa_requests_in_flight") == 0
    assert metric("mcqa_ready") == 1
    assert metric("mcqa_model_info", version="random-1", name="coding-mcqa", revision="rev-7", device="cpu") == 1
    assert metric("mcqa_build_info") == 1


def test_labels_do_not_grow_with_what_clients_send(server: RunningServer) -> None:
    before = len(server.client.get("/metrics").text.splitlines())
    for number in range(50):
        server.client.request("POST", f"/v1/models/{number}:predict", json={})
        server.client.get(f"/{number}")
    assert len(server.client.get("/metrics").text.splitlines()) - before < 12


def test_one_line_a_request(own_server: RunningServer) -> None:
    server = own_server
    headers = {"x-request-id": "r-1", "traceparent": PARENT}
    server.client.post(PREDICT, json={"instances": [QUESTION] * 3}, headers=headers)
    server.client.post(PREDICT, json={"instances": [{}]}, headers={"x-request-id": "r-2"})
    grpc_infer(server, **{"x-request-id": "r-3", "traceparent": PARENT})
    for _ in range(5):
        server.client.get("/v2/health/ready")
    server.wait_for(lambda: len(server.lines("request")) == 3)
    first, second, third = server.lines("request")
    numbers = {name: first.pop(name) for name in ("duration_ms", "queue_ms", "forward_ms", "tokens", "ts")}
    assert first == {
        "level": "info",
        "logger": "predictor.request",
        "message": "request",
        "request_id": "r-1",
        "trace_id": TRACE,
        "protocol": "v1",
        "method": "predict",
        "path": PREDICT,
        "status": "200",
        "questions": 3,
        "model_version": "random-1",
        "question_texts": [QUESTION["question"]] * 3,
    }
    assert numbers["duration_ms"] > numbers["forward_ms"] > 0
    assert numbers["tokens"] > 100
    assert (second["request_id"], second["status"], second["cause"]) == ("r-2", "400", "bad_request")
    assert (third["request_id"], third["trace_id"], third["protocol"], third["status"]) == ("r-3", TRACE, "grpc", "OK")


def test_the_text_of_questions_is_not_logged(server: RunningServer) -> None:
    secret = {"question": "What is the secret word swordfish?", "choices": ["swordfish", "trout"], "code": "swordfish"}
    server.ask(secret)
    server.ask({**secret, "choices": ["swordfish"]})
    server.post(EXPLAIN, {"instances": [secret], "parameters": {"max_new_tokens": 1}})
    assert "swordfish" not in server.log.read_text()


def test_every_line_of_the_log_is_json(server: RunningServer) -> None:
    assert all(line.startswith("{") for line in server.log.read_text().splitlines())
    assert not server.lines("internal error")


def test_the_start_is_told_by_stage(server: RunningServer) -> None:
    [line] = server.lines("start-up")
    stages = line["stages"]
    assert set(stages) == {
        "settings read",
        "model found",
        "torch imported",
        "kserve imported",
        "model loaded",
        "first question scored",
        "ready",
    }
    assert 0 < stages["settings read"] <= stages["model found"] <= stages["model loaded"]
    assert stages["first question scored"] <= stages["ready"] == max(stages.values())


class Collector(HTTPServer):
    """An OTLP/HTTP receiver that keeps the spans it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []


class Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        import gzip

        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.server.resources.append({item.key: item.value.string_value for item in resource.resource.attributes})
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def collector(processes: None) -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    yield collector
    collector.shutdown()
    thread.join()
    collector.server_close()


def test_traces_join_the_callers(random_version: Path, collector: Collector) -> None:
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    with running(random_version, env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}) as server:
        server.client.post(PREDICT, json={"instances": [QUESTION]}, headers={"traceparent": PARENT})
        grpc_infer(server, traceparent=PARENT)
        unsampled = PARENT[:-1] + "0"
        server.client.post(PREDICT, json={"instances": [QUESTION]}, headers={"traceparent": unsampled})
        server.post(PREDICT, {"instances": [{}]})
        server.wait_for(lambda: len(server.lines("request")) == 4)  # a line follows its answer
        assert server.lines("request")[0]["trace_id"] == TRACE
        fresh = server.lines("request")[-1]["trace_id"]
        assert len(fresh) == 32
        assert fresh != TRACE
    spans = collector.spans
    joined = [span for span in spans if span.trace_id.hex() == TRACE]
    assert sorted(span.name for span in joined) == sorted(
        ["v1 predict", "grpc infer", *["queue", "tokenise", "forward", "answer"] * 2]
    )
    for root in (span for span in joined if span.name in ("v1 predict", "grpc infer")):
        assert root.parent_span_id.hex() == "00f067aa0ba902b7"
        children = [span for span in joined if span.parent_span_id == root.span_id]
        assert {span.name for span in children} == {"queue", "tokenise", "forward", "answer"}
        for child in children:
            assert root.start_time_unix_nano <= child.start_time_unix_nano <= child.end_time_unix_nano
            assert child.end_time_unix_nano <= root.end_time_unix_nano
    assert [span.name for span in spans if span.trace_id.hex() == fresh] == ["v1 predict"]
    assert {resource["service.name"] for resource in collector.resources} == {"coding-mcqa"}


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
    ],
)
def test_tracing_is_on_only_where_it_is_asked_for(env: dict[str, str], wanted: bool) -> None:
    assert tracing_wanted(env) is wanted


@pytest.mark.parametrize(
    ("header", "good"),
    [
        (PARENT, True),
        (f"01-{TRACE}-00f067aa0ba902b7-01-more", True),
        (None, False),
        ("", False),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", False),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE}-00f067aa0ba902b7", False),
    ],
)
def test_traceparent(header: str | None, good: bool) -> None:
    assert (TraceParent.parse(header) is not None) is good
