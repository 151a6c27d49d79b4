from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import Qwen2ForCausalLM

from predictor.errors import VersionError
from predictor.qwen2 import Qwen2, Qwen2Config
from predictor.weights import Weights, prefetch, weight_files

CPU = torch.device("cpu")
IDS = list(range(3, 40))


def logits(folder: Path) -> torch.Tensor:
    return Qwen2(Qwen2Config.read(folder), Weights(folder, dtype=torch.float32, device=CPU)).forward([IDS])[0]


@pytest.fixture
def copy(version: Path, tmp_path: Path) -> Path:
    return shutil.copytree(version, tmp_path / "copy")


def test_tensors_of_the_right_dtype_are_views_of_the_file(version) -> None:
    weights = Weights(version, dtype=torch.float32, device=CPU)
    name, shape = "model.norm.weight", (64,)
    assert (
        weights.get(name, shape).untyped_storage().data_ptr() == weights.get(name, shape).untyped_storage().data_ptr()
    )


def test_sharded_weights(version, copy) -> None:
    Qwen2ForCausalLM.from_pretrained(version).save_pretrained(copy, max_shard_size="100KB")
    (copy / "model.safetensors").unlink()
    assert len(weight_files(copy)) > 1
    assert torch.equal(logits(copy), logits(version))


def test_an_index_that_names_a_missing_or_foreign_file(copy) -> None:
    (copy / "model.safetensors").unlink()
    for name in ("absent.safetensors", "../copy/x.safetensors"):
        (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
        with pytest.raises(VersionError, match="which is not there"):
            weight_files(copy)


def test_prefetch_asks_for_every_byte(version) -> None:
    assert prefetch(version) in (0, (version / "model.safetensors").stat().st_size)


def test_pickles_are_refused(copy) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(VersionError, match=r"pickled weights.*only safetensors"):
        weight_files(copy)


def test_a_folder_without_weights_says_what_it_holds(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(VersionError, match=r"no model\.safetensors\. Found: notes\.txt"):
        weight_files(tmp_path)


def test_a_cut_off_file(copy) -> None:
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VersionError, match=r"model\.safetensors"):
        logits(copy)


def test_integer_weights_are_refused(copy) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors["model.norm.weight"] = torch.ones(64, dtype=torch.int8)
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(VersionError, match="only float weights"):
        logits(copy)


def adapter(base: Path, out: Path, **options: Any) -> Any:
    torch.manual_seed(1)
    targets = ["q_proj", "v_proj", "down_proj"]
    model = get_peft_model(
        Qwen2ForCausalLM.from_pretrained(base), LoraConfig(r=4, lora_alpha=12, target_modules=targets, **options)
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.2)
    model.save_pretrained(out)
    return model.eval()


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}])
def test_a_lora_adapter_is_merged_as_peft_applies_it(version, copy, options) -> None:
    model = adapter(version, copy, **options)
    with torch.no_grad():
        expected = model(torch.tensor([IDS])).logits[0, -1]
    torch.testing.assert_close(logits(copy), expected, atol=1e-4, rtol=0)
    assert not torch.allclose(expected, logits(version), atol=1e-2)


def test_a_lora_adapter_beside_its_base_folder(version, tmp_path) -> None:
    shutil.copytree(version, tmp_path / "v" / "base")
    model = adapter(version, tmp_path / "v")
    weights = Weights(tmp_path / "v", dtype=torch.float32, device=CPU)
    with torch.no_grad():
        expected = model(torch.tensor([IDS])).logits[0, -1]
    own = Qwen2(Qwen2Config.read(tmp_path / "v" / "base"), weights).forward([IDS])[0]
    torch.testing.assert_close(own, expected, atol=1e-4, rtol=0)


def rewrite(folder, spoil) -> None:
    """The weights of a folder as another would have saved them."""
    tensors = load_file(folder / "model.safetensors")
    spoil(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda t: t.update({"model.layers.3.input_layernorm.weight": torch.ones(64)}), "model.layers.3"),
        (lambda t: t.update({"model.layers.0.self_attn.o_proj.bias": torch.ones(64)}), "o_proj.bias"),
        (lambda t: t.update({"score.weight": torch.ones(2, 64)}), "score.weight"),
        (lambda t: t.update({"model.layers.0.mlp.up_proj.weight_scale": torch.ones(1)}), "weight_scale"),
        (lambda t: t.update({"lm_head.weight": torch.ones_like(t["model.embed_tokens.weight"])}), "lm_head.weight"),
        (lambda t: t.update({f"t{i}": torch.ones(1) for i in range(3)}), "and 2 more would be left out"),
        (lambda t: t.pop("model.layers.1.self_attn.k_proj.bias"), "no tensor model.layers.1.self_attn.k_proj.bias"),
    ],
)
def test_tensors_too_many_or_too_few_are_named(copy, spoil, named) -> None:
    rewrite(copy, spoil)
    with pytest.raises(VersionError) as refused:
        logits(copy)
    assert named in str(refused.value)


def test_what_follows_from_the_rest_may_be_there(version, copy) -> None:
    """A tied head that was saved as well, and the rotary angles of older checkpoints."""
    rewrite(
        copy,
        lambda t: t.update(
            {
                "lm_head.weight": t["model.embed_tokens.weight"].clone(),
                "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8),
            }
        ),
    )
    # The tensors lie elsewhere in the file, and other kernels may take them: the last bits differ.
    torch.testing.assert_close(logits(copy), logits(version), atol=1e-4, rtol=0)


@pytest.fixture
def sharded(version: Path, copy: Path) -> Path:
    Qwen2ForCausalLM.from_pretrained(version).save_pretrained(copy, max_shard_size="100KB")
    (copy / "model.safetensors").unlink()
    return copy


def reindex(folder, spoil) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    spoil(index["weight_map"])
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda m: m.pop("model.norm.weight"), "model.norm.weight"),
        (lambda m: m.update({"ghost.weight": next(iter(m.values()))}), "'ghost.weight' is in no file"),
        (lambda m: m.update({"model.norm.weight": next(iter(m.values()))}), "index.json says"),
        (lambda m: m.clear(), "weight_map must be"),
        (lambda m: m.update({"model.norm.weight": 5}), "weight_map must be"),
    ],
)
def test_an_index_that_does_not_tell_the_truth(sharded, spoil, named) -> None:
    reindex(sharded, spoil)
    with pytest.raises(VersionError) as refused:
        logits(sharded)
    assert named in str(refused.value)


def test_a_tensor_in_two_shards(sharded) -> None:
    first, second = weight_files(sharded)[:2]
    tensors = load_file(second)
    name, tensor = next(iter(load_file(first).items()))
    save_file({**tensors, name: tensor}, second)
    with pytest.raises(VersionError, match=f"{name}' is both in {first.name} and in {second.name}"):
        logits(sharded)


def test_a_file_of_weights_that_nobody_would_read(version, copy, sharded) -> None:
    (sharded / "model-00099-of-00099.safetensors").write_bytes((version / "model.safetensors").read_bytes())
    with pytest.raises(VersionError, match=r"model-00099-of-00099\.safetensors would be left out"):
        logits(sharded)
