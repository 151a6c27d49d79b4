"""A version whose numbers are broken does not become ready; where only some questions break it, those are a 500."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tritonclient.grpc import service_pb2 as pb

from predictor.errors import VersionError
from predictor.scorer import Scorer
from predictor.serving.startup import WARM_UP
from tests.servers import INFER, PREDICT, QUESTION, ROOT, RunningServer, running, tensors
from tests.versions import make_version

BAD = {"question": "What does ~x show?", "choices": ["1", "2", "3"]}


def change(folder: Path, spoil: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    held = load_file(folder / "model.safetensors")
    spoil(held)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[RunningServer]:
    """Of its embeddings, `~`'s is no number."""
    folder = make_version(tmp_path_factory.mktemp("broken") / "broken-1", tied=False)
    ids = {i for i in range(600) if "~" in (Tokenizer.from_file(str(folder / "tokenizer.json")).id_to_token(i) or "")}
    change(folder, lambda t: t["model.embed_tokens.weight"].index_fill_(0, torch.tensor(sorted(ids)), torch.nan))
    with running(folder) as server:
        yield server


def infer(*questions: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": tensors(*questions)}


def test_v1(server: RunningServer) -> None:
    answer = server.ask(QUESTION, BAD)
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("question 1 has no answer: this version's numbers for it are not finite")
    assert "null" not in answer.text
    assert server.ask(QUESTION).status_code == 200


def test_the_log_finds_the_numbers_by_the_error_id(server: RunningServer) -> None:
    message = server.ask(BAD).json()["error"]
    (line,) = [
        line for line in server.lines() if line.get("error_id") and line["error_id"] in message and "nan" in str(line)
    ]
    assert line


@pytest.mark.parametrize("debias", ["none", "cyclic"])
def test_every_way_of_scoring(server: RunningServer, debias: str) -> None:
    assert server.ask(BAD, debias=debias).status_code == 500


def test_v2(server: RunningServer) -> None:
    answer = server.post(INFER, infer(BAD))
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("question 0 has no answer")
    assert server.post(INFER, infer(QUESTION)).status_code == 200


def test_grpc(server: RunningServer) -> None:
    request = pb.ModelInferRequest(model_name="coding-mcqa")
    for tensor in tensors(BAD):
        item = request.inputs.add(name=tensor["name"], datatype="BYTES", shape=tensor["shape"])
        item.contents.bytes_contents.extend(text.encode() for text in tensor["data"])
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        with pytest.raises(grpc.RpcError) as failed:
            call(request, timeout=60)
    assert failed.value.code() == grpc.StatusCode.INTERNAL
    assert "question 0 has no answer" in failed.value.details()


def test_it_stays_ready(server: RunningServer) -> None:
    server.post(PREDICT, {"instances": [BAD]})
    assert server.client.get("/v2/health/ready").status_code == 200


def refusal(folder: Path) -> str:
    def ask() -> None:
        scorer = Scorer.load(folder, dtype="float32", device="cpu")
        scorer.score([scorer.encode(WARM_UP)])

    with pytest.raises(VersionError) as refused:
        ask()
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            {"rope_parameters": {"rope_type": "default", "rope_theta": float("nan")}},
            "rope_theta must be a number above 0",
        ),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": float("inf")}}, "rope_theta must be"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 0}}, "rope_theta must be"),
        ({"rope_parameters": []}, ""),
        ({"rope_parameters": [1]}, "rope_parameters must be an object"),
        ({"num_attention_heads": 0}, "num_attention_heads must be a whole number of at least 1, found 0"),
        ({"num_key_value_heads": 0}, "num_key_value_heads must be"),
        ({"num_key_value_heads": 3}, "4 attention heads cannot share 3"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be"),
        ({"num_hidden_layers": 2}, "model.layers.2.input_layernorm.weight"),
        ({"num_hidden_layers": 10**9}, "the weights have no tensor model.layers.3"),
        ({"head_dim": 15}, "head_dim is 15"),
        ({"hidden_size": 10**12}, "hidden_size must be"),
        ({"vocab_size": 2**31 - 1}, "config.json says"),
        ({"rms_norm_eps": 0}, "rms_norm_eps must be a number above 0"),
        ({"rms_norm_eps": -1e-6}, "rms_norm_eps must be"),
        ({"rms_norm_eps": float("inf")}, "rms_norm_eps must be"),
        ({"max_position_embeddings": 5}, "every prompt begins with"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings must be true or false"),
        ({"tie_word_embeddings": False}, "the weights have no tensor lm_head.weight"),
    ],
)
def test_broken_numbers_of_a_configuration(random_version: Path, tmp_path: Path, config: Any, says: str) -> None:
    for file in random_version.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    if says:
        assert says in refusal(tmp_path)
    else:
        Scorer.load(tmp_path, dtype="float32", device="cpu")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize(
    "name", ["model.norm.weight", "model.layers.1.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.bias"]
)
def test_broken_weights_have_no_answer(random_version: Path, tmp_path: Path, name: str, value: float) -> None:
    for file in random_version.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    change(tmp_path, lambda t: t[name].fill_(value))
    assert "probabilities are" in refusal(tmp_path)


@pytest.mark.usefixtures("processes")
def test_a_version_that_cannot_answer_is_not_served(random_version: Path, tmp_path: Path) -> None:
    for file in random_version.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    change(tmp_path, lambda t: t["model.norm.weight"].fill_(torch.nan))
    ended = subprocess.run(
        [sys.executable, "-m", "predictor", "--model", str(tmp_path), "--http-port", "0", "--grpc-port", "0"],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "cannot answer: the start-up question failed" in line
