from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch documents it

from common.question import Answer, Question
from predictor.hardware import vnni_instructions
from predictor.scorer import Scorer

pytestmark = pytest.mark.skipif(not vnni_instructions(), reason="int8 needs a CPU with AVX512-VNNI")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("bias", [False, True])
def test_a_quantised_layer_is_close_to_the_dense_one(dtype, bias) -> None:
    from predictor.int8 import quantised

    torch.manual_seed(0)
    weight = (torch.randn(96, 64) * torch.rand(96, 1)).to(dtype)
    offset = torch.randn(96).to(dtype) if bias else None
    # Rows of very different size: one scale for all would lose the small ones.
    x = (torch.randn(10, 64) * torch.logspace(-2, 2, 10)[:, None]).to(dtype)
    own, exact = quantised(weight, offset)(x), F.linear(x, weight, offset)
    assert own.dtype == dtype
    assert (own.float() - exact.float()).norm(dim=1).div(exact.float().norm(dim=1)).max() < 0.02


def test_int8_answers_agree_with_full_precision(version) -> None:
    questions = [Question(f"Question {i}?", tuple(f"{i} {c}" for c in "wxyz")) for i in range(60)]

    def answers(dtype: str) -> tuple[str, list[Answer]]:
        scorer = Scorer.load(version, device="cpu", dtype=dtype)
        return scorer.dtype, scorer.score([scorer.encode(q) for q in questions])

    (name, own), (_, exact) = answers("int8"), answers("float32")
    assert name == "int8"
    differences = [
        max(abs(p - q) for p, q in zip(a.probabilities, b.probabilities, strict=True))
        for a, b in zip(own, exact, strict=True)
    ]
    assert sorted(differences)[len(differences) // 2] < 0.05
    assert sum(a.letter == b.letter for a, b in zip(own, exact, strict=True)) >= 0.85 * len(questions)
