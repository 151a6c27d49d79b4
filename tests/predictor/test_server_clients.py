"""Many clients at once: nothing is lost, and every response belongs to its request."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import httpx2
import psutil
import pytest
from tritonclient.grpc import service_pb2 as pb

from common.question import LETTERS
from tests.servers import EXPLAIN, INFER, PREDICT, RunningServer, running, tensors

pytestmark = pytest.mark.usefixtures("processes")

CLIENTS = 32
REQUESTS = 2000


def make_question(name: str, chance: random.Random) -> dict[str, Any]:
    size = chance.randint(2, 10)
    return {
        "question": f"Which one is {name}?" + " Think." * chance.choice([0, 0, 5, 40]),
        "choices": [f"{name}/{place}" for place in range(size)],
        "id": name,
    }


class Client(threading.Thread):
    """Sends its share of requests over all protocols and checks each response against its request."""

    def __init__(self, server: RunningServer, number: int) -> None:
        super().__init__(name=f"client-{number}")
        self.server = server
        self.chance = random.Random(number)
        self.seconds: list[float] = []
        self.kinds: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run(self) -> None:
        address = self.server.grpc
        with httpx2.Client(base_url=self.server.url, timeout=120) as rest, grpc.insecure_channel(address) as channel:
            self.rest = rest
            self.call = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer",
                request_serializer=pb.ModelInferRequest.SerializeToString,
                response_deserializer=pb.ModelInferResponse.FromString,
            )
            for turn in range(REQUESTS // CLIENTS + 1):
                name = f"{self.name}-{turn}"
                kind = self.chance.choice(["v1", "v1", "v2", "v2", "grpc", "grpc", "cyclic", "bad", "explain"])
                self.kinds[kind] += 1
                began = time.perf_counter()
                try:
                    getattr(self, kind)(name)
                except Exception as error:  # noqa: BLE001 - collected, whatever it is
                    self.wrong.append(f"{name} {kind}: {type(error).__name__}: {error}")
                self.seconds.append(time.perf_counter() - began)

    def questions(self, name: str) -> list[dict[str, Any]]:
        return [make_question(f"{name}.{i}", self.chance) for i in range(self.chance.choice([1, 1, 1, 2, 5]))]

    def v1(self, name: str, **parameters: Any) -> None:
        questions = self.questions(name)
        response = self.rest.post(
            PREDICT, json={"instances": questions, "parameters": parameters}, headers={"x-request-id": name}
        )
        assert response.headers["x-request-id"] == name
        answers = response.json()["predictions"]
        assert [answer["id"] for answer in answers] == [question["id"] for question in questions]
        for answer, question in zip(answers, questions, strict=True):
            assert answer["choice"] == question["choices"][LETTERS.index(answer["letter"])]

    def cyclic(self, name: str) -> None:
        self.v1(name, debias="cyclic")

    def v2(self, name: str) -> None:
        questions = self.questions(name)
        body = self.rest.post(INFER, json={"id": name, "inputs": tensors(*questions)}).json()
        assert body["id"] == name
        outputs = {output["name"]: output["data"] for output in body["outputs"]}
        assert outputs["choice"] == [q["choices"][i] for q, i in zip(questions, outputs["index"], strict=True)]

    def grpc(self, name: str) -> None:
        questions = self.questions(name)
        message = pb.ModelInferRequest(model_name="coding-mcqa", id=name)
        for tensor in tensors(*questions):
            item = message.inputs.add(name=tensor["name"], datatype="BYTES", shape=tensor["shape"])
            item.contents.bytes_contents.extend(text.encode() for text in tensor["data"])
        response = self.call(message, timeout=120)
        assert response.id == name
        outputs = {output.name: output.contents for output in response.outputs}
        choices = [choice.decode() for choice in outputs["choice"].bytes_contents]
        assert choices == [q["choices"][i] for q, i in zip(questions, outputs["index"].int_contents, strict=True)]

    def bad(self, name: str) -> None:
        questions = [*self.questions(name), {"question": name, "choices": [name]}]
        response = self.rest.post(PREDICT, json={"instances": questions})
        assert response.status_code == 400
        assert f"question {len(questions) - 1}: choices" in response.json()["error"]

    def explain(self, name: str) -> None:
        body = {"instances": [make_question(name, self.chance)], "parameters": {"max_new_tokens": 3}}
        [item] = self.rest.post(EXPLAIN, json=body).json()["explanations"]
        assert item["id"] == name


def load(server: RunningServer) -> list[Client]:
    """Every client's requests, all at once."""
    clients = [Client(server, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert [problem for client in clients for problem in client.wrong] == []
    return clients


def test_two_thousand_mixed_requests_from_32_clients(server: RunningServer, record_property: Any, capsys: Any) -> None:
    before = server.metric("mcqa_requests_total")
    began = time.perf_counter()
    clients = load(server)
    elapsed = time.perf_counter() - began
    seconds = sorted(second for client in clients for second in client.seconds)
    assert len(seconds) >= REQUESTS
    kinds = sum((client.kinds for client in clients), Counter())
    assert min(kinds.values()) > 50
    p50, p99 = (1000 * seconds[int(len(seconds) * share)] for share in (0.5, 0.99))
    with capsys.disabled():
        print(
            f"\n{len(seconds)} requests from {CLIENTS} clients in {elapsed:.1f} s: "
            f"p50 {p50:.0f} ms, p99 {p99:.0f} ms; {dict(kinds)}"
        )
    probes = 2  # the two scrapes themselves, at most
    assert 0 <= server.metric("mcqa_requests_total") - before - len(seconds) <= probes
    assert server.metric("mcqa_requests_in_flight") == 0
    assert (server.metric("mcqa_queue_questions"), server.metric("mcqa_queue_tokens")) == (0, 0)


@pytest.mark.soak
def test_minutes_of_mixed_load_do_not_grow_the_server(random_version: Path, capsys: Any) -> None:
    minutes = float(os.environ.get("SOAK_MINUTES", "10"))
    with running(random_version) as server:

        def memory() -> int:
            """Resident megabytes."""
            return psutil.Process(server.process.pid).memory_info().rss >> 20

        load(server)
        settled, deadline, rounds = memory(), time.monotonic() + 60 * minutes, 0
        while time.monotonic() < deadline:
            load(server)
            rounds += 1
        with capsys.disabled():
            print(f"\n{rounds} rounds of {REQUESTS} requests: {settled} MB after the first, {memory()} MB at the end")
        assert memory() < settled + 100
