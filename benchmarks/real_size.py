"""Qwen2.5-Coder-1.5B-Instruct's architecture with random weights, on which speed and memory are measured.

Speed does not depend on the weights' values, so no download is needed. The tokenizer is a stand-in trained on the
question bank: its vocabulary has fewer tokens, and every id is valid.
"""

from __future__ import annotations

import json
from pathlib import Path

from common.question import Question
from pipelines.tiny.tokenizer import train_tokenizer

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "benchmarks"
# https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct/blob/main/config.json
CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": 1536,
    "initializer_range": 0.02,
    "intermediate_size": 8960,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "model_type": "qwen2",
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
CHAT_TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    "<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{%- if message.role != 'system' or not loop.first %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def folder() -> Path:
    """The version's folder, created by the first call (about half a minute and 3.1 GB of disk)."""
    out = CACHE / "qwen2.5-coder-1.5b-random"
    if (out / "complete").exists():
        return out
    out.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(out)
    (out / "config.json").write_text(json.dumps(CONFIG, indent=2))
    _write_weights(out)
    (out / "complete").touch()
    return out


def questions(count: int, seed: int = 7) -> list[Question]:
    """Questions of the generated bank with four choices."""
    from pipelines import bank

    return [q.question for q in bank.generate(seed, count * 2) if len(q.question.choices) == 4][:count]


def _write_tokenizer(out: Path) -> None:
    texts = [f"{q.stem}\n{q.code or ''}\n{' '.join(q.choices)}" for q in questions(3000, seed=1)]
    train_tokenizer(texts, 8000).save(str(out / "tokenizer.json"))
    config = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (out / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": CHAT_TEMPLATE}, indent=2))


def _write_weights(out: Path) -> None:
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).mul_(0.02).bfloat16()

    hidden, inner, kv = 1536, 8960, 256
    tensors = {"model.embed_tokens.weight": random(151936, hidden), "model.norm.weight": torch.ones(hidden).bfloat16()}
    for i in range(28):
        layer = f"model.layers.{i}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{layer}.{norm}.weight"] = torch.ones(hidden).bfloat16()
        for name, rows in (("q", hidden), ("k", kv), ("v", kv)):
            tensors[f"{layer}.self_attn.{name}_proj.weight"] = random(rows, hidden)
            tensors[f"{layer}.self_attn.{name}_proj.bias"] = random(rows)
        tensors[f"{layer}.self_attn.o_proj.weight"] = random(hidden, hidden)
        tensors[f"{layer}.mlp.gate_proj.weight"] = random(inner, hidden)
        tensors[f"{layer}.mlp.up_proj.weight"] = random(inner, hidden)
        tensors[f"{layer}.mlp.down_proj.weight"] = random(hidden, inner)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
