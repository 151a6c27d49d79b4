"""What the shapes of a v2 request's tensors say (Open Inference Protocol): how many questions, how many choices each.

Codecs add a dimension of 1 at the end (MLServer's string codec sends a list of N texts as [N, 1]). A shape that can be
read in one way only is read so; any other is refused, because a guess could give one question another's choices.
"""

from __future__ import annotations

from collections.abc import Sequence


def rows_of(shape: Sequence[int]) -> int | None:
    """N of a tensor with one text a question: [N], or [N, 1]. None when it is no such shape."""
    return shape[0] if len(shape) and all(size == 1 for size in shape[1:]) else None


def choices_of(shape: Sequence[int], questions: int) -> int | None:
    """K of `choices` for so many questions: [N, K], or [N, K, 1]; for a single question [K] and [K, 1] too.

    None when it is no such shape. Several questions' choices in one flat list may be of different numbers: refused.
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
