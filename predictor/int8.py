"""int8 linear layers for CPUs with AVX512-VNNI: half the memory, twice the multiplications per second.

Weights are quantised once, symmetric, one scale per output row; activations on the fly, symmetric, one scale per token
(as LLM.int8's row-wise part, arXiv 2208.07339, and torchao's dynamic W8A8). oneDNN multiplies unsigned by signed
bytes, so activations are stored shifted by 128, the zero point that it is passed.
"""

from __future__ import annotations

import torch

from predictor.qwen2 import Linear

_ZERO_POINT = 128


def quantised(weight: torch.Tensor, bias: torch.Tensor | None) -> Linear:
    """A linear layer over int8 copies of `weight` [out, in]; input and output keep the weight's dtype."""
    dtype = weight.dtype
    scale = weight.abs().amax(dim=1, keepdim=True).float().clamp_(min=1e-12) / 127
    codes = (weight.float() / scale).round_().to(torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(codes, None)
    scales, zeros = scale.flatten(), torch.zeros(weight.shape[0], dtype=torch.int32)

    def linear(x: torch.Tensor) -> torch.Tensor:
        step = x.abs().amax(dim=-1, keepdim=True).float().clamp_(min=1e-12) / 127
        codes = (x / step).round_().add_(_ZERO_POINT).to(torch.uint8)
        y = torch.ops.onednn.qlinear_pointwise(
            codes, 1.0, _ZERO_POINT, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        y = y.mul_(step)
        out: torch.Tensor = (y if bias is None else y.add_(bias)).to(dtype)
        return out

    return linear
