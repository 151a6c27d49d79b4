"""The predictor's image, trimmed as it is: gRPC, int8, traces, and models from a registry and from the Hub at start."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread

import httpx2
import pytest
from function_server import free_port
from images_run import NEEDED, container, inside, logs
from images_text import ROOT
from servers import EXPLAIN, PREDICT, QUESTION

from predictor.hardware import vnni_instructions
from tests.predictor.storage.test_storage_huggingface import REPO, FakeHub

pytestmark = NEEDED
TINY = ROOT / "models/tiny"
NOTHING = "http://127.0.0.1:9"
# In the container: the messages are kserve's own, and a client's imports are not the server's.
GRPC = """
import sys, grpc, json
from predictor.serving.kserve_sdk import pb, pb_grpc
question = json.loads(sys.argv[2])
with grpc.insecure_channel("127.0.0.1:" + sys.argv[1]) as channel:
    stub = pb_grpc.GRPCInferenceServiceStub(channel)
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=30).live
    assert stub.ModelReady(pb.ModelReadyRequest(name="coding-mcqa"), timeout=30).ready
    message = pb.ModelInferRequest(model_name="coding-mcqa")
    for name, values in (("question", [question["question"]]), ("choices", question["choices"])):
        shape = [1] if name == "question" else [1, len(values)]
        tensor = message.inputs.add(name=name, datatype="BYTES", shape=shape)
        tensor.contents.bytes_contents.extend(value.encode() for value in values)
    found = stub.ModelInfer(message, timeout=30)
    names = [one.name for one in found.outputs]
    letter = found.outputs[names.index("letter")]
    raw = found.raw_output_contents
    print((raw[names.index("letter")][4:] if raw else letter.contents.bytes_contents[0]).decode())
"""


@contextmanager
def predictor(model: str, env: Mapping[str, str], mounts: tuple[str, ...] = ()) -> Iterator[tuple[str, str, int]]:
    """The container, its URL and its gRPC port, once it answers."""
    port, grpc = free_port(), free_port()
    settings = {
        "MCQA_MODEL": model,
        "MCQA_HOST": "127.0.0.1",
        "PORT": str(port),
        "MCQA_GRPC_PORT": str(grpc),
        "OMP_WAIT_POLICY": "passive",
        **env,
    }
    url = f"http://127.0.0.1:{port}"
    with container("predictor", env=settings, ready=f"{url}/v2/models/coding-mcqa/ready", mounts=mounts) as made:
        yield made, url, grpc


def letter(url: str) -> str:
    answer = httpx2.post(url + PREDICT, json={"instances": [QUESTION]}, timeout=60)
    assert answer.status_code == 200, answer.text
    result: str = answer.json()["predictions"][0]["letter"]
    return result


def test_grpc_a_registered_version_and_no_collector_for_its_traces(registry: str) -> None:
    traces = {"OTEL_EXPORTER_OTLP_ENDPOINT": NOTHING, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    loaded = {"MLFLOW_TRACKING_URI": registry, "MCQA_CACHE": "/tmp/versions"}
    with predictor("mlflow://coding-mcqa/1", {**traces, **loaded}) as (made, url, grpc):
        first = letter(url)
        assert inside(made, "python", "-c", GRPC, str(grpc), json.dumps(QUESTION)).strip() == first
        for _ in range(50):  # until a batch of spans has found no collector
            if "export" in logs(made):
                break
            time.sleep(0.2)
        assert "export" in logs(made)
        assert letter(url) == first
        explained = httpx2.post(url + EXPLAIN, json={"instances": [QUESTION]}, timeout=60)
        assert explained.status_code == 200, explained.text
        assert '"model_version": "1"' in logs(made)


@pytest.mark.skipif(not vnni_instructions(), reason="int8 needs a CPU with AVX512-VNNI")
def test_int8() -> None:
    with predictor("/model", {"MCQA_DTYPE": "int8"}, (f"{TINY}:/model:ro",)) as (made, url, _):
        assert letter(url) in "ABCD"
        assert '"dtype": "int8"' in logs(made)


def test_a_model_of_the_hub() -> None:
    with FakeHub() as hub:
        hub.files = {path.name: path.read_bytes() for path in TINY.iterdir()}
        hub.files["pytorch_model.bin"] = b"a pickle"
        serving = Thread(target=hub.serve_forever, args=(0.02,))
        serving.start()
        try:
            place = {"HF_ENDPOINT": hub.url, "HF_HOME": "/tmp/hub"}
            with predictor(f"hf://{REPO}", place) as (made, url, _):
                assert letter(url) in "ABCD"
                assert "model.safetensors" in inside(made, "find", "/tmp/hub", "-name", "*.safetensors")
                assert not hub.seen("pytorch_model.bin")
        finally:
            hub.shutdown()
            serving.join()
