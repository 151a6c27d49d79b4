"""The Qwen2 forward pass as training needs it: several times fewer operations per layer than in transformers.

It reads the parameters of a transformers `Qwen2ForCausalLM`, so exactly that model is trained; a test holds
the two passes equal. Rows are padded on the right: causal attention never looks at padding, so no mask is needed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def hidden_states(model: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T) ids to two (B, T, H) tensors: after the last layer, normalised; before it, not normalised."""
    config, base = model.config, model.model
    heads, shared = config.num_attention_heads, config.num_key_value_heads
    width = config.hidden_size // heads
    batch, length = ids.shape
    cos, sin = _rotary(length, width, config.rope_parameters["rope_theta"])
    causal = torch.full((length, length), float("-inf")).triu(1)
    eps = config.rms_norm_eps
    x = functional.embedding(ids, base.embed_tokens.weight)
    before_last = x
    for layer in base.layers:
        before_last = x
        a = layer.self_attn
        h = functional.rms_norm(x, (x.shape[-1],), layer.input_layernorm.weight, eps)
        weight = torch.cat((a.q_proj.weight, a.k_proj.weight, a.v_proj.weight))
        bias = torch.cat((a.q_proj.bias, a.k_proj.bias, a.v_proj.bias))
        qkv = functional.linear(h, weight, bias).view(batch, length, heads + 2 * shared, width).transpose(1, 2)
        qk, v = qkv[:, : heads + shared], qkv[:, heads + shared :]
        half = width // 2
        rotated = torch.cat((-qk[..., half:], qk[..., :half]), dim=-1)
        qk = qk * cos.to(qk.dtype) + rotated * sin.to(qk.dtype)
        # Written out: on a CPU the flash kernel's backward costs more than the rest of such a small model together.
        # The query heads that share a key head are stacked: one larger matrix product instead of several.
        group = heads // shared
        q = qk[:, :heads].reshape(batch, shared, group * length, width)
        scores = (q @ qk[:, heads:].transpose(-1, -2)).view(batch, shared, group, length, length) * width**-0.5
        weights = (scores + causal.to(scores.dtype)).softmax(dim=-1).view(batch, shared, group * length, length)
        out = (weights @ v).view(batch, heads, length, width)
        x = x + functional.linear(out.transpose(1, 2).reshape(batch, length, -1), a.o_proj.weight)
        h = functional.rms_norm(x, (x.shape[-1],), layer.post_attention_layernorm.weight, eps)
        m = layer.mlp
        gate, up = functional.linear(h, torch.cat((m.gate_proj.weight, m.up_proj.weight))).chunk(2, dim=-1)
        x = x + functional.linear(functional.silu(gate) * up, m.down_proj.weight)
    return functional.rms_norm(x, (x.shape[-1],), base.norm.weight, eps), before_last


def _rotary(length: int, width: int, theta: float) -> tuple[Tensor, Tensor]:
    frequency = theta ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
    angle = torch.outer(torch.arange(length, dtype=torch.float32), frequency).repeat(1, 2)
    return angle.cos(), angle.sin()
