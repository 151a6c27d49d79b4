"""The tiny model's shape, and a version's folder in Hugging Face layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from pipelines.tiny.tokenizer import save_tokenizer
from pipelines.tiny.training_data import FORMAT

LAYERS, WIDTH, INNER, HEADS, SHARED = 5, 160, 416, 5, 1
MAX_TOKENS = 1024


def new_model(tokenizer: Tokenizer, seed: int, layers: int = LAYERS) -> Any:
    """A Qwen2ForCausalLM in float32 with random weights; the residual branches start small."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=-(-tokenizer.get_vocab_size() // 16) * 16,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=SHARED,
        max_position_embeddings=MAX_TOKENS,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        bos_token_id=tokenizer.token_to_id("<|endoftext|>"),
        eos_token_id=tokenizer.token_to_id("<|im_end|>"),
        pad_token_id=tokenizer.token_to_id("<|endoftext|>"),
    )
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.mul_(0.2)
            layer.mlp.down_proj.weight.mul_(0.2)
    return model.train()


def load_version(folder: Path) -> tuple[Any, Tokenizer]:
    """The model in float32, and its tokenizer."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    model = Qwen2ForCausalLM(Qwen2Config.from_pretrained(folder, local_files_only=True)).float()
    weights = load_file(folder / "model.safetensors")
    # The output layer shares the embedding's tensor, so the file does not contain it.
    model.load_state_dict({**weights, "lm_head.weight": weights["model.embed_tokens.weight"]})
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


def save_version(model: Any, tokenizer: Tokenizer, folder: Path) -> None:
    """config.json, generation_config.json, model.safetensors (bfloat16), the tokenizer's files and prompt.json."""
    from transformers import GenerationConfig, Qwen2Config

    folder.mkdir(parents=True, exist_ok=True)
    config = Qwen2Config.from_dict(
        {**model.config.to_dict(), "dtype": "bfloat16", "architectures": ["Qwen2ForCausalLM"]}
    )
    config.save_pretrained(folder)
    ends = [tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")]
    GenerationConfig(do_sample=False, eos_token_id=ends, pad_token_id=ends[1]).save_pretrained(folder)
    state = {k: v.to(torch.bfloat16).contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors makes it readable for its owner only
    save_tokenizer(tokenizer, folder)
    (folder / "prompt.json").write_text(json.dumps({"system": FORMAT.system, "layout": FORMAT.layout}, indent=2) + "\n")
