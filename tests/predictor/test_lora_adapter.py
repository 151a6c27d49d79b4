"""What is served of an adapter equals peft's own probabilities, or the version is refused by the tensor's name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import Qwen2ForCausalLM
from versions import make_version

from pipelines.fine_tuning.lora import plain_copy
from predictor.errors import VersionError
from predictor.qwen2 import Qwen2, Qwen2Config
from predictor.weights import Weights, prefetch

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # peft remarks on the settings that are tested

IDS = [3, 5, 7, *range(20, 50)]
Q = ["q_proj"]
LAYER = "base_model.model.model.layers.0.self_attn.q_proj"

SERVED: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": ["q_proj", "v_proj", "down_proj"]},
    "every linear layer": {"target_modules": "all-linear"},
    "rslora": {"target_modules": Q, "use_rslora": True},
    "dora": {"target_modules": ["q_proj", "o_proj"], "use_dora": True},
    "dora of the embedding": {"target_modules": ["embed_tokens"], "use_dora": True},
    "ranks and alphas": {
        "target_modules": ["q_proj", "v_proj", "up_proj"],
        "rank_pattern": {"q_proj": 2, r"layers\.1\.self_attn\.v_proj": 3},
        "alpha_pattern": {"model.layers.0.self_attn.q_proj": 40, "up_proj": 3},
    },
    "some layers": {"target_modules": Q, "layers_to_transform": [0, 2]},
    "without a module": {"target_modules": ["q_proj", "k_proj"], "exclude_modules": ["layers.1.self_attn.k_proj"]},
    "all biases": {"target_modules": ["q_proj", "o_proj"], "bias": "all"},
    "biases of its targets": {"target_modules": ["q_proj", "o_proj"], "bias": "lora_only"},
    "a bias of B": {"target_modules": Q, "lora_bias": True},
    "fan in fan out": {"target_modules": Q, "fan_in_fan_out": True},
    "a parameter": {"target_modules": [], "target_parameters": ["mlp.down_proj.weight"]},
    "the head": {"target_modules": ["lm_head"]},
    "the embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "both": {"target_modules": ["embed_tokens", "lm_head"]},
    "both, tied": {"target_modules": ["embed_tokens"], "ensure_weight_tying": True},
    "the head whole": {"target_modules": Q, "modules_to_save": ["lm_head"]},
    "the embedding whole": {"target_modules": Q, "modules_to_save": ["embed_tokens"]},
    "both whole": {"target_modules": Q, "modules_to_save": ["embed_tokens", "lm_head"]},
    "norms and a block whole": {"target_modules": Q, "modules_to_save": ["mlp", "norm", "input_layernorm"]},
    "token rows": {"target_modules": Q, "trainable_token_indices": [5, 7]},
    "token rows of both": {"target_modules": Q, "trainable_token_indices": {"embed_tokens": [5, 7], "lm_head": [5, 7]}},
    "other token rows": {"target_modules": Q, "trainable_token_indices": {"embed_tokens": [5, 7], "lm_head": [1, 7]}},
}


@pytest.fixture(scope="module", params=["tied", "untied"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_version(tmp_path_factory.mktemp(request.param) / "base", tied=request.param == "tied")


def adapt(base: Path, out: Path, **options: Any) -> Any:
    """An adapter of the base in `out`, beside its base; every trained number is moved."""
    torch.manual_seed(1)
    plain = Qwen2ForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(plain, LoraConfig(**{"r": 4, "lora_alpha": 12, "task_type": "CAUSAL_LM", **options}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(out)
    shutil.copytree(base, out / "base")
    shutil.copy(base / "config.json", out / "config.json")
    return model.eval()


def load(folder: Path) -> Qwen2:
    return Qwen2(Qwen2Config.read(folder), Weights(folder, dtype=torch.float32, device=torch.device("cpu")))


def logits(folder: Path) -> torch.Tensor:
    return load(folder).forward([IDS])[0]


@pytest.mark.parametrize("options", SERVED.values(), ids=SERVED.keys())
def test_what_is_served_is_pefts_own(base: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    out = tmp_path / "v"
    adapt(base, out, **options)
    # LoadedModel again, as whoever made it would load it.
    peft = PeftModel.from_pretrained(Qwen2ForCausalLM.from_pretrained(base, dtype=torch.float32), out).eval()
    with torch.no_grad():
        expected = peft(torch.tensor([IDS])).logits[0, -1]
    torch.testing.assert_close(logits(out), expected, atol=2e-4, rtol=0)
    assert not torch.allclose(expected, logits(base), atol=1e-2), "the adapter changes the answer"
    # What the pipeline writes of it as plain weights is the same model.
    plain_copy(out, tmp_path / "plain")
    torch.testing.assert_close(logits(tmp_path / "plain"), expected, atol=2e-4, rtol=0)


@pytest.fixture(scope="module")
def made(version: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "v"
    adapt(version, out, target_modules=["q_proj", "v_proj"], modules_to_save=["norm"])
    return out


@pytest.fixture
def spoil(made: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy whose adapter has other tensors or settings."""

    def spoiled(tensors: Callable[[dict[str, torch.Tensor]], Any] | None = None, **settings: Any) -> Path:
        folder = shutil.copytree(made, tmp_path / "v")
        if tensors:
            held = load_file(folder / "adapter_model.safetensors")
            tensors(held)
            save_file(
                {name: tensor.contiguous() for name, tensor in held.items()}, folder / "adapter_model.safetensors"
            )
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
        return folder

    return spoiled


TENSORS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "no prefix": (lambda t: t.update({"lm_head.weight": t.popitem()[1]}), "lm_head.weight"),
    "another prefix": (
        lambda t: t.update({LAYER.replace("base_model", "student") + ".lora_A.weight": torch.ones(4, 64)}), "student",
    ),
    "an unknown module": (lambda t: t.update({"base_model.model.score.weight": torch.ones(2, 64)}), "score.weight"),
    "an unknown kind": (lambda t: t.update({f"{LAYER}.lora_E": torch.ones(4)}), "lora_E"),
    "an adapter's own name": (
        lambda t: t.update({f"{LAYER}.lora_A.other.weight": torch.ones(4, 64)}), "lora_A.other.weight",
    ),
    "A alone": (lambda t: t.pop(f"{LAYER}.lora_B.weight"), "q_proj"),
    "a layer missing": (
        lambda t: (t.pop(f"{LAYER}.lora_B.weight"), t.pop(f"{LAYER}.lora_A.weight")),
        "layers.0.self_attn.q_proj was trained, but",
    ),
    "what was saved whole missing": (
        lambda t: t.pop("base_model.model.model.norm.weight"), "modules_to_save has 'norm'",
    ),
    "a layer too many": (
        lambda t: t.update({LAYER.replace(".0.", ".9.") + f".lora_{n}.weight": torch.ones(4, 64) for n in "AB"}),
        "layers.9.self_attn.q_proj",
    ),
    "a magnitude": (lambda t: t.update({f"{LAYER}.lora_magnitude_vector": torch.ones(64)}), "q_proj"),
    "a bias the base has not": (
        lambda t: t.update({"base_model.model.model.layers.0.self_attn.o_proj.bias": torch.ones(64)}), "o_proj.bias",
    ),
    "NaN": (lambda t: t[f"{LAYER}.lora_A.weight"].fill_(torch.nan), "q_proj.lora_A.weight"),
    "infinity": (lambda t: t["base_model.model.model.norm.weight"].fill_(torch.inf), "norm.weight"),
    "another rank": (lambda t: t.update({f"{LAYER}.lora_A.weight": torch.ones(3, 64)}), "its rank is 4"),
    "another width": (lambda t: t.update({f"{LAYER}.lora_A.weight": torch.ones(4, 32)}), "q_proj"),
    "whole numbers": (lambda t: t.update({f"{LAYER}.lora_A.weight": torch.ones(4, 64, dtype=torch.int32)}), "q_proj"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "named"), TENSORS.values(), ids=TENSORS.keys())
def test_tensors_that_cannot_be_merged_are_named(
    spoil: Callable[..., Path], change: Callable[[dict[str, torch.Tensor]], Any], named: str
) -> None:
    with pytest.raises(VersionError) as refused:
        logits(spoil(change))
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"peft_type": "LOHA"}, "peft_type is 'LOHA'"),
        ({"peft_type": ["LORA"]}, "peft_type"),
        ({"use_dora": True}, "use_dora is True"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'"),
        ({"init_lora_weights": {}}, "init_lora_weights"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication"),
        ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens"),
        ({"use_qalora": True}, "use_qalora"),
        ({"arrow_config": {"top_k": 1}}, "arrow_config"),
        ({"a_setting_of_next_year": 1}, "a_setting_of_next_year"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices is set"),
        ({"modules_to_save": ["norm", "lm_head"]}, "modules_to_save has 'lm_head'"),
        ({"modules_to_save": "norm"}, "modules_to_save must be"),
        ({"target_modules": ["q_proj", "k_proj", "v_proj"]}, "k_proj was trained, but"),
        ({"rank_pattern": {"(a+)+q_proj": 4}}, "rank_pattern"),
        ({"rank_pattern": {"(q_proj": 4}}, "not a pattern"),
        ({"rank_pattern": {"q_proj": 0}}, "q_proj must be a whole number"),
        ({"alpha_pattern": []}, None),
        ({"alpha_pattern": [1]}, "alpha_pattern must be an object"),
        ({"r": 0}, "r must be a whole number of at least 1"),
        ({"r": None}, "r is missing"),
        ({"r": "4"}, "found '4'"),
        ({"lora_alpha": float("nan")}, "lora_alpha must be a number above 0"),
        ({"lora_alpha": "12"}, "lora_alpha"),
    ],
)
def test_settings_that_are_not_merged_are_named(spoil: Callable[..., Path], settings: Any, named: str | None) -> None:
    folder = spoil(**settings)
    if named is None:
        assert logits(folder).isfinite().all()
        return
    with pytest.raises(VersionError) as refused:
        logits(folder)
    assert named in str(refused.value)


def test_an_adapter_without_its_tensors_or_without_its_settings(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made, tmp_path / "v")
    (folder / "adapter_config.json").unlink()
    shutil.copy(folder / "base" / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(VersionError, match=r"adapter_model\.safetensors would be left out: without adapter_config"):
        logits(folder)
    folder = shutil.copytree(made, tmp_path / "w")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(VersionError, match=r"without adapter_model\.safetensors, only safetensors"):
        logits(folder)


def test_an_adapter_of_an_adapter_and_weights_beside_a_base(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made, tmp_path / "v")
    shutil.copy(folder / "adapter_config.json", folder / "base" / "adapter_config.json")
    with pytest.raises(VersionError, match="an adapter too"):
        logits(folder)
    (folder / "base" / "adapter_config.json").unlink()
    shutil.copy(folder / "base" / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(VersionError, match=r"model\.safetensors would be left out"):
        logits(folder)


def test_an_adapter_is_fetched_ahead_with_its_base(made: Path) -> None:
    files = [made / "base" / "model.safetensors", made / "adapter_model.safetensors"]
    assert prefetch(made) in (0, sum(file.stat().st_size for file in files))
