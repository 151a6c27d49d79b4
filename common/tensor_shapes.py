"""How many questions, with how many choices each, the shapes of a v2 request's tensors mean (Open Inference Protocol).

Codecs add a trailing dimension of 1 (MLServer's string codec sends a list of N strings as [N, 1]). A shape that is
ambiguous is refused, because a guess could give one question the choices of another.
"""

from __future__ import annotations

from collections.abc import Sequence


def question_count(shape: Sequence[int]) -> int | None:
    """N of a tensor with one string per question: [N], or [N, 1]. None for any other shape."""
    return shape[0] if len(shape) and all(size == 1 for size in shape[1:]) else None


def choice_count(shape: Sequence[int], questions: int) -> int | None:
    """K of `choices` for so many questions: [N, K], or [N, K, 1]; for a single question also [K] and [K, 1].

    None for any other shape: in one flat list, several questions could have different numbers of choices.
    """
    dims = list(shape)
    while len(dims) > 2 and dims[-1] == 1:
        dims.pop()
    match dims:
        case [n, k] if n == questions:
            return k
        case [k] | [k, 1] if questions == 1:
            return k
    return None
