import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import Qwen2ForCausalLM

from predictor.qwen2 import Config, Qwen2
from predictor.weights import VersionError, Weights, prefetch, weight_files

CPU = torch.device("cpu")
IDS = list(range(3, 40))


def logits(folder):
    return Qwen2(Config.read(folder), Weights(folder, dtype=torch.float32, device=CPU)).forward([IDS])[0]


@pytest.fixture
def copy(version, tmp_path):
    return shutil.copytree(version, tmp_path / "copy")


def test_tensors_of_the_right_dtype_are_views_of_the_file(version):
    weights = Weights(version, dtype=torch.float32, device=CPU)
    name, shape = "model.norm.weight", (64,)
    assert (
        weights.get(name, shape).untyped_storage().data_ptr() == weights.get(name, shape).untyped_storage().data_ptr()
    )


def test_sharded_weights(version, copy):
    Qwen2ForCausalLM.from_pretrained(version).save_pretrained(copy, max_shard_size="100KB")
    (copy / "model.safetensors").unlink()
    assert len(weight_files(copy)) > 1
    assert torch.equal(logits(copy), logits(version))


def test_an_index_that_names_a_missing_or_foreign_file(copy):
    (copy / "model.safetensors").unlink()
    for name in ("absent.safetensors", "../copy/x.safetensors"):
        (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
        with pytest.raises(VersionError, match="which is not there"):
            weight_files(copy)


def test_prefetch_asks_for_every_byte(version):
    assert prefetch(version) in (0, (version / "model.safetensors").stat().st_size)


def test_pickles_are_refused(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(VersionError, match=r"pickled weights.*only safetensors"):
        weight_files(copy)


def test_a_folder_without_weights_says_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(VersionError, match=r"no model\.safetensors\. Found: notes\.txt"):
        weight_files(tmp_path)


def test_a_cut_off_file(copy):
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VersionError, match=r"model\.safetensors"):
        logits(copy)


def test_integer_weights_are_refused(copy):
    tensors = load_file(copy / "model.safetensors")
    tensors["model.norm.weight"] = torch.ones(64, dtype=torch.int8)
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(VersionError, match="only float weights"):
        logits(copy)


def adapter(base, out, **options):
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
def test_a_lora_adapter_is_merged_as_peft_applies_it(version, copy, options):
    model = adapter(version, copy, **options)
    with torch.no_grad():
        expected = model(torch.tensor([IDS])).logits[0, -1]
    torch.testing.assert_close(logits(copy), expected, atol=1e-4, rtol=0)
    assert not torch.allclose(expected, logits(version), atol=1e-2)


def test_a_lora_adapter_beside_its_base_folder(version, tmp_path):
    shutil.copytree(version, tmp_path / "v" / "base")
    model = adapter(version, tmp_path / "v")
    weights = Weights(tmp_path / "v", dtype=torch.float32, device=CPU)
    with torch.no_grad():
        expected = model(torch.tensor([IDS])).logits[0, -1]
    own = Qwen2(Config.read(tmp_path / "v" / "base"), weights).forward([IDS])[0]
    torch.testing.assert_close(own, expected, atol=1e-4, rtol=0)


def test_adapters_of_another_kind_are_refused(version, copy):
    adapter(version, copy, use_dora=True)
    with pytest.raises(VersionError, match="only plain LoRA"):
        logits(copy)
