"""The scorer against its peers on the same questions, alternating, so that a drifting machine affects all alike.

(a) lm-evaluation-harness' own HFLM.loglikelihood over the choices' texts: K requests per question, in one batch;
(b) transformers' generate() of one letter;
(c) this machine's own GEMM peak in the same dtype.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.real_size import folder, questions
from benchmarks.results import Row, median, report
from common.question import Question
from predictor.hardware import vnni_instructions

ROUNDS = 12
GEMM_TOKENS = 256


def timed(function: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main() -> None:
    from predictor.scorer import Scorer

    rounds = questions(ROUNDS)
    scorer = Scorer.load(folder())
    print(f"{scorer.device} {scorer.dtype}: {scorer.hardware.reason}; {scorer.hardware.threads} threads", flush=True)
    peers = Peers(scorer)
    prompts = [scorer.encode(question) for question in rounds]
    methods: dict[str, Callable[[int], Any]] = {
        "scorer": lambda i: scorer.score([prompts[i]]),
        "likelihood": lambda i: peers.likelihoods(rounds[i], shortcut=False),
        "shortcut": lambda i: peers.likelihoods(rounds[i], shortcut=True),
        "generate": lambda i: peers.generate(prompts[i].ids),
    }
    for method in methods.values():
        method(0)
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for i in range(ROUNDS):
        for name, method in methods.items():
            seconds[name].append(timed(method, i))
        latest = ", ".join(f"{name} {times[-1]:.2f} s" for name, times in seconds.items())
        print(f"  question {i + 1}/{ROUNDS}: {latest}", flush=True)

    def ratio(peer: str) -> float:
        return median([p / s for p, s in zip(seconds[peer], seconds["scorer"], strict=True)])

    batch = [timed(scorer.score, prompts) for _ in range(3)]
    tokens = [p.tokens for p in prompts]
    peak, share = gemm_share(scorer.model)
    rows = [
        Row("prompt tokens, median", median(tokens), "tokens"),
        Row("shared prefix", len(scorer.encoder.prefix), "tokens"),
        Row("latency of one question, median", median(seconds["scorer"]) * 1e3, "ms"),
        Row(f"questions per second, {ROUNDS} at once", ROUNDS / median(batch), "1/s"),
        Row("(a) against option log-likelihoods, K passes (lm-eval)", ratio("likelihood"), "x", at_least=4),
        Row("    with lm-eval's one pass for one-token choices", ratio("shortcut"), "x"),
        Row("(b) against generate() of one letter", ratio("generate"), "x", at_least=1.5),
        Row("GEMM peak", peak / 1e9, "GFLOP/s"),
        Row(f"(c) share of GEMM peak, {GEMM_TOKENS} tokens", share * 100, "%", at_least=80),
    ]
    if vnni_instructions() and scorer.device == "cpu":
        rows += int8_rows(scorer, rounds)
    report("scoring: one question at a time", rows)


class Peers:
    """transformers' model over the same folder, as lm-eval and as generate()."""

    def __init__(self, scorer: Any) -> None:
        import torch
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._torch, self._instance = torch, Instance
        tokenizer = AutoTokenizer.from_pretrained(folder())
        self._model = AutoModelForCausalLM.from_pretrained(folder(), dtype=scorer.model.dtype).to(scorer.device).eval()
        # lm-eval answers choices of a single token from one pass; this is measured separately from its K passes.
        self._passes, self._shortcut = (
            HFLM(pretrained=self._model, tokenizer=tokenizer, batch_size=4, device=scorer.device, logits_cache=shortcut)
            for shortcut in (False, True)
        )
        self._encoder = scorer.encoder

    def likelihoods(self, question: Question, shortcut: bool) -> int:
        """The choice with the largest log-likelihood: the question as context, each choice as continuation."""
        lm = self._shortcut if shortcut else self._passes
        context = "\n\n".join(filter(None, (question.stem, question.code))) + "\n\nAnswer:"
        context = f"{self._encoder.format.system}\n\n{context}"
        requests = [
            self._instance("loglikelihood", {}, (context, f" {choice}"), i) for i, choice in enumerate(question.choices)
        ]
        scores = [total for total, _ in lm.loglikelihood(requests, disable_tqdm=True)]
        return scores.index(max(scores))

    def generate(self, ids: tuple[int, ...]) -> int:
        tensor = self._torch.tensor([ids], device=self._model.device)
        with self._torch.inference_mode():
            out = self._model.generate(
                tensor,
                attention_mask=self._torch.ones_like(tensor),
                max_new_tokens=1,
                do_sample=False,
                pad_token_id=0,
            )
        return int(out[0, -1])


def gemm_share(model: Any) -> tuple[float, float]:
    """(FLOP/s of a plain matrix product, the share of it that a whole forward pass reaches), measured alternately.

    The peak is the best of the shapes that the model multiplies and a square one. Only the products that the pass
    computes are counted: all but the last layer's on every row, the last layer's on one.
    """
    import torch
    from torch.nn import functional

    c = model.config
    shapes = [(2048, 2048, 2048), (GEMM_TOKENS, c.hidden, c.intermediate), (GEMM_TOKENS, c.intermediate, c.hidden)]
    pairs = [
        (2 * m * k * n, torch.randn(m, k).to(model.dtype), torch.randn(n, k).to(model.dtype)) for m, k, n in shapes
    ]
    ids = [(i * 37) % 8000 for i in range(GEMM_TOKENS)]
    kv = 2 * c.kv_heads * c.head_dim
    layer = 2 * c.hidden * c.heads * c.head_dim + 3 * c.hidden * c.intermediate
    flops = 2 * (GEMM_TOKENS * (c.layers * c.hidden * kv + (c.layers - 1) * layer) + layer + c.hidden * c.vocab)
    peaks, shares = [], []
    with torch.inference_mode():
        for _ in range(9):
            peak = max(work / median([timed(functional.linear, x, w) for _ in range(5)]) for work, x, w in pairs)
            rate = flops / timed(model.forward, [ids])
            peaks.append(peak)
            shares.append(rate / peak)
    return median(peaks), median(shares)


def int8_rows(scorer: Any, asked: list[Question]) -> list[Row]:
    """The int8 path against the scorer: speed, alternating, and how far its answers agree."""
    from predictor.scorer import Scorer

    start = time.perf_counter()
    small = Scorer.load(folder(), dtype="int8")
    load = time.perf_counter() - start
    prompts = [scorer.encode(q) for q in asked]
    ratios, agree, distance = [], [], []
    for prompt in prompts:
        own, other = scorer.score([prompt])[0], small.score([prompt])[0]
        agree.append(own.letter == other.letter)
        distance.append(max(abs(p - q) for p, q in zip(own.probabilities, other.probabilities, strict=True)))
        ratios.append(timed(scorer.score, [prompt]) / timed(small.score, [prompt]))
    return [
        Row("int8 against bf16, one question", median(ratios), "x"),
        Row("int8: the same letter as bf16", 100 * sum(agree) / len(agree), "%"),
        Row("int8: largest probability difference, median", median(distance), ""),
        Row("int8: quantising at load", load, "s"),
    ]


if __name__ == "__main__":
    main()
