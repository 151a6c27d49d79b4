"""The plain-torch forward pass gives transformers' logits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2ForCausalLM
from versions import make_version

from predictor.errors import VersionError
from predictor.qwen2 import Qwen2, Qwen2Config
from predictor.weights import Weights

CPU = torch.device("cpu")
# float32 sums of another order differ in the last bits; bfloat16 keeps 8 bits, and these logits spread over +-5.
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.06}


def load(folder: Path, dtype: str) -> Qwen2:
    return Qwen2(Qwen2Config.read(folder), Weights(folder, dtype=getattr(torch, dtype), device=CPU))


def reference_logits(folder: Path, dtype: str, ids: list[int]) -> torch.Tensor:
    model = Qwen2ForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float()


def tokens(n: int, seed: int = 0) -> list[int]:
    return torch.randint(3, 250, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> str:
    return request.param


SHAPES: dict[str, dict[str, Any]] = {
    "grouped-tied": {},
    "untied": {"tied": False},
    "one-kv-head": {"kv_heads": 1},
    "no-grouping": {"kv_heads": 4},
}


@pytest.fixture(scope="module", params=list(SHAPES))
def folder(request: pytest.FixtureRequest, dtype: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_version(tmp_path_factory.mktemp(request.param) / "v", dtype=dtype, **SHAPES[request.param])


def close(own, expected, dtype) -> None:
    torch.testing.assert_close(own, expected, atol=TOLERANCE[dtype], rtol=0)


@pytest.mark.parametrize("length", [1, 2, 17, 300])
def test_last_logits_equal_transformers(folder, dtype, length) -> None:
    ids = tokens(length)
    close(load(folder, dtype).forward([ids])[0], reference_logits(folder, dtype, ids)[-1], dtype)


def test_a_packed_batch_equals_its_sequences_alone(folder, dtype) -> None:
    model = load(folder, dtype)
    batch = [tokens(n, seed=n) for n in (5, 1, 40, 23)]
    together = model.forward(batch)
    for row, ids in zip(together, batch, strict=True):
        close(row, reference_logits(folder, dtype, ids)[-1], dtype)


def test_continuing_a_prefix_equals_the_whole(folder, dtype) -> None:
    model = load(folder, dtype)
    head, tails = tokens(30), [tokens(n, seed=n) for n in (1, 12, 3)]
    nested = model.prefill(head[20:], model.prefill(head[:20]))
    assert nested.tokens == 30
    for row, tail in zip(model.forward(tails, nested), tails, strict=True):
        close(row, reference_logits(folder, dtype, head + tail)[-1], dtype)


def test_generation_steps_equal_the_whole(folder, dtype) -> None:
    model = load(folder, dtype)
    ids = tokens(12)
    expected = reference_logits(folder, dtype, ids)
    logits, cache = model.step(ids[:9])
    close(logits, expected[8], dtype)
    for at in (9, 10, 11):
        logits, cache = model.step([ids[at]], cache)
        close(logits, expected[at], dtype)


def test_the_same_call_gives_the_same_bits(folder, dtype) -> None:
    model, batch = load(folder, dtype), [tokens(33), tokens(50, seed=1)]
    assert torch.equal(model.forward(batch), model.forward(batch))


def test_parameters_are_counted_as_transformers_counts_them(folder, dtype) -> None:
    assert Qwen2Config.read(folder).parameters == Qwen2ForCausalLM.from_pretrained(folder).num_parameters()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "model_type is 'llama', this server runs 'qwen2'"),
        ({"use_sliding_window": True}, "use_sliding_window is not supported"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope scaling 'yarn' is not supported"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope scaling 'yarn' is not supported"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ({"quantization_config": {"bits": 4}}, "quantised checkpoints are not supported"),
        ({"hidden_size": None}, "hidden_size"),
        ({"intermediate_size": 999}, r"mlp\.gate_proj\.weight has shape \(128, 64\), config\.json says \(999, 64\)"),
        ({"num_hidden_layers": 9}, r"no tensor model\.layers\.3"),
    ],
)
def test_what_is_not_built_in_is_refused(version, tmp_path, change, message) -> None:
    folder = shutil.copytree(version, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    with pytest.raises(VersionError, match=message):
        load(folder, "float32")
