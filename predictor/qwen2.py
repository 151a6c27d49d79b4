"""Qwen2 in plain torch: the forward pass this service needs, and nothing else.

transformers' Qwen2 takes seconds to import and computes what a scorer discards. This one takes sequences of different
lengths without padding (rows are packed, so the matrix products see only real tokens), starts from a shared prefix's
keys and values, and in the last layer computes only each sequence's last row. Its logits are equal
to transformers' (tests/predictor/test_qwen2.py).

Source of the architecture: Qwen2 Technical Report (arXiv 2407.10671); names follow the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch documents it

from predictor.errors import VersionError
from predictor.version_files import integer_field, positive_field, read_json, short_repr
from predictor.weights import Weights

Linear = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Qwen2Config:
    vocab: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    max_positions: int
    rope_theta: float
    rms_eps: float
    tied: bool

    @property
    def parameters(self) -> int:
        """Weights and biases, tied embeddings counted once."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = self.hidden * (2 * q + 2 * kv) + q + 2 * kv
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return self.layers * layer + self.hidden + self.vocab * self.hidden * (1 if self.tied else 2)

    @classmethod
    def read(cls, folder: Path) -> Qwen2Config:
        """From a Hugging Face config.json; VersionError unless it is a Qwen2 with nothing unsupported."""
        path = folder / "config.json"
        raw = read_json(path)
        kind = raw.get("model_type")
        if kind != "qwen2":
            raise VersionError(f"{path}: model_type is {short_repr(kind)}, this server runs 'qwen2'")
        rope: dict[str, Any] = {}
        # The newer name wins where both are present, but neither may need what is not implemented here.
        for name in ("rope_scaling", "rope_parameters"):
            if not (value := raw.get(name)):
                continue
            if not isinstance(value, dict):
                raise VersionError(f"{path}: {name} must be an object, found {short_repr(value)}")
            scaling = value.get("rope_type", value.get("type", "default"))
            if scaling != "default":
                raise VersionError(f"{path}: rope scaling {short_repr(scaling)} is not supported")
            rope = value
        if raw.get("use_sliding_window"):
            raise VersionError(f"{path}: use_sliding_window is not supported")
        if raw.get("hidden_act", "silu") != "silu":
            raise VersionError(f"{path}: hidden_act {short_repr(raw['hidden_act'])} is not supported")
        if raw.get("quantization_config"):
            raise VersionError(f"{path}: quantised checkpoints are not supported; use the plain one")
        hidden, heads = integer_field(raw, "hidden_size", path), integer_field(raw, "num_attention_heads", path)
        config = cls(
            vocab=integer_field(raw, "vocab_size", path),
            hidden=hidden,
            intermediate=integer_field(raw, "intermediate_size", path),
            layers=integer_field(raw, "num_hidden_layers", path),
            heads=heads,
            kv_heads=integer_field(raw, "num_key_value_heads", path, default=heads),
            head_dim=integer_field(raw, "head_dim", path, low=2, default=max(1, hidden // heads)),
            max_positions=integer_field(raw, "max_position_embeddings", path, default=32768),
            rope_theta=positive_field(rope, "rope_theta", path, positive_field(raw, "rope_theta", path, 10000.0)),
            rms_eps=positive_field(raw, "rms_norm_eps", path, 1e-6),
            tied=_flag(raw, "tie_word_embeddings", path),
        )
        if config.heads % config.kv_heads:
            raise VersionError(f"{path}: {config.heads} attention heads cannot share {config.kv_heads} key-value heads")
        if config.head_dim % 2:
            raise VersionError(f"{path}: head_dim is {config.head_dim}; rotary embeddings need an even one")
        return config


def _flag(raw: dict[str, Any], name: str, path: Path) -> bool:
    value = raw.get(name)
    if value is not None and not isinstance(value, bool):
        raise VersionError(f"{path}: {name} must be true or false, found {short_repr(value)}")
    return bool(value)


@dataclass(frozen=True, slots=True)
class KVCache:
    """Keys and values of a prefix: per layer, each [kv_heads, tokens, head_dim]. Immutable."""

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]

    @property
    def tokens(self) -> int:
        return self.keys[0].shape[1]


@dataclass(frozen=True, slots=True)
class _Layer:
    input_norm: torch.Tensor
    q: Linear
    k: Linear
    v: Linear
    o: Linear
    post_norm: torch.Tensor
    gate: Linear
    up: Linear
    down: Linear


def dense(weight: torch.Tensor, bias: torch.Tensor | None) -> Linear:
    return lambda x: F.linear(x, weight, bias)


class Qwen2:
    """The network. `forward` gives last-row logits of several sequences; `prefill` a prefix's KVCache."""

    def __init__(
        self,
        config: Qwen2Config,
        weights: Weights,
        *,
        linear: Callable[[torch.Tensor, torch.Tensor | None], Linear] = dense,
    ) -> None:
        c, get = config, weights.get
        self.config = c
        self.embedding = get("model.embed_tokens.weight", (c.vocab, c.hidden))
        self.device, self.dtype = self.embedding.device, self.embedding.dtype

        def project(name: str, out: int, into: int, bias: bool = False) -> Linear:
            return linear(get(f"{name}.weight", (out, into)), get(f"{name}.bias", (out,)) if bias else None)

        q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
        self.layers = [
            _Layer(
                input_norm=get(f"model.layers.{i}.input_layernorm.weight", (c.hidden,)),
                q=project(f"model.layers.{i}.self_attn.q_proj", q, c.hidden, bias=True),
                k=project(f"model.layers.{i}.self_attn.k_proj", kv, c.hidden, bias=True),
                v=project(f"model.layers.{i}.self_attn.v_proj", kv, c.hidden, bias=True),
                o=project(f"model.layers.{i}.self_attn.o_proj", c.hidden, q),
                post_norm=get(f"model.layers.{i}.post_attention_layernorm.weight", (c.hidden,)),
                gate=project(f"model.layers.{i}.mlp.gate_proj", c.intermediate, c.hidden),
                up=project(f"model.layers.{i}.mlp.up_proj", c.intermediate, c.hidden),
                down=project(f"model.layers.{i}.mlp.down_proj", c.hidden, c.intermediate),
            )
            for i in range(c.layers)
        ]
        self.norm = get("model.norm.weight", (c.hidden,))
        # The output matrix keeps full precision: letters differ by small differences of its rows.
        if c.tied:
            own = weights.head((c.vocab, c.hidden))
            self.head = self.embedding if own is None else own
        else:
            self.head = get("lm_head.weight", (c.vocab, c.hidden))
        weights.require_all_used()
        # transformers computes the angles in float32 and rounds cos and sin to the model's dtype; so do we.
        exponents = torch.arange(0, c.head_dim, 2, dtype=torch.int64).float() / c.head_dim
        self._inv_freq = (1.0 / c.rope_theta**exponents).to(self.device)

    @torch.inference_mode()
    def forward(self, sequences: Sequence[Sequence[int]], prefix: KVCache | None = None) -> torch.Tensor:
        """Float32 logits [len(sequences), vocab] after the last token of each sequence.

        Every sequence continues `prefix`; none may be empty.
        """
        return self._logits(self.hidden(sequences, prefix))

    @torch.inference_mode()
    def score_tokens(
        self, sequences: Sequence[Sequence[int]], tokens: torch.Tensor, prefix: KVCache | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Float32 logits [len(sequences), len(tokens)] of `tokens` alone, and the logsumexp over the whole vocabulary
        [len(sequences)].

        The tokens' own logits are multiplied out in float32: rounded to bfloat16, two letters often tie.
        """
        hidden = self.hidden(sequences, prefix)
        exact = hidden.float() @ self.head[tokens].float().T
        logits = self._logits(hidden)
        logits[:, tokens] = exact
        return exact, logits.logsumexp(-1)

    @torch.inference_mode()
    def hidden(self, sequences: Sequence[Sequence[int]], prefix: KVCache | None = None) -> torch.Tensor:
        """The normalised states [len(sequences), hidden] after the last token of each sequence."""
        last, _ = self._run(sequences, prefix, keep=False)
        return self._rms(last, self.norm)

    @torch.inference_mode()
    def prefill(self, ids: Sequence[int], prefix: KVCache | None = None) -> KVCache:
        """The KVCache of `prefix` followed by `ids`."""
        _, cache = self._run([ids], prefix, keep=True)
        assert cache is not None
        return cache

    @torch.inference_mode()
    def step(self, ids: Sequence[int], prefix: KVCache | None = None) -> tuple[torch.Tensor, KVCache]:
        """Float32 logits [vocab] after `ids`, and the KVCache that includes them: one step of generation."""
        hidden, cache = self._run([ids], prefix, keep=True)
        assert cache is not None
        return self._logits(self._rms(hidden, self.norm))[0], cache

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return F.linear(hidden, self.head).float()

    def _run(
        self, sequences: Sequence[Sequence[int]], prefix: KVCache | None, *, keep: bool
    ) -> tuple[torch.Tensor, KVCache | None]:
        layout = _Layout.of(sequences, prefix.tokens if prefix else 0, self.device)
        cos, sin = self._rotary(layout.positions)
        x = self.embedding[torch.tensor([t for s in sequences for t in s], device=self.device)]
        keys, values = [], []
        for index, layer in enumerate(self.layers):
            past = (prefix.keys[index], prefix.values[index]) if prefix else None
            h = self._rms(x, layer.input_norm)
            k = _rotate(self._heads(layer.k(h)), cos, sin)
            v = self._heads(layer.v(h))
            if keep:
                keys.append(_append(past[0] if past else None, k))
                values.append(_append(past[1] if past else None, v))
            rows = layout.all
            if index == len(self.layers) - 1:
                # Only the last row of each sequence feeds the logits; the others' queries and MLP are not needed.
                rows = layout.last
                x, h = x[rows.index], h[rows.index]
            q = _rotate(self._heads(layer.q(h)), cos[rows.index], sin[rows.index])
            x = x + layer.o(_attend(q, k, v, past, layout, rows))
            h = self._rms(x, layer.post_norm)
            x = x + layer.down(F.silu(layer.gate(h)).mul_(layer.up(h)))
        return x, KVCache(tuple(keys), tuple(values)) if keep else None

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], -1, self.config.head_dim)

    def _rms(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.config.rms_eps)
        return weight * wide.to(x.dtype)

    def _rotary(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin, each [tokens, 1, head_dim] in the model's dtype."""
        angles = positions[:, None].float() * self._inv_freq
        angles = torch.cat((angles, angles), dim=-1)[:, None]
        return angles.cos().to(self.dtype), angles.sin().to(self.dtype)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Which packed rows are queries: their index, and each sequence's span among them."""

    index: torch.Tensor | slice
    spans: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where each sequence lies among the packed rows, and each row's position in its own sequence."""

    spans: list[tuple[int, int]]
    positions: torch.Tensor
    all: _Rows
    last: _Rows

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]], start: int, device: torch.device) -> _Layout:
        spans, at = [], 0
        for sequence in sequences:
            spans.append((at, at + len(sequence)))
            at += len(sequence)
        positions = torch.cat([torch.arange(start, start + len(s), device=device) for s in sequences])
        last = torch.tensor([end - 1 for _, end in spans], device=device)
        return cls(spans, positions, _Rows(slice(None), spans), _Rows(last, [(i, i + 1) for i in range(len(spans))]))


def _attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    past: tuple[torch.Tensor, torch.Tensor] | None,
    layout: _Layout,
    rows: _Rows,
) -> torch.Tensor:
    """Causal attention of each sequence over the prefix and itself: [query rows, heads * head_dim].

    One call per sequence: no padding is computed, and a sequence's result cannot depend on its neighbours.
    """
    groups = q.shape[1] // k.shape[1]
    out = torch.empty_like(q)
    for (start, end), (first, stop) in zip(layout.spans, rows.spans, strict=True):
        keys = _append(past[0] if past else None, k[start:end]).repeat_interleave(groups, dim=0)
        values = _append(past[1] if past else None, v[start:end]).repeat_interleave(groups, dim=0)
        query_rows, key_rows = stop - first, keys.shape[1]
        causal = query_rows == key_rows > 1
        mask = None
        if 1 < query_rows < key_rows:
            # A row sees the whole prefix and itself: the diagonal ends in the lower right corner.
            mask = torch.ones(query_rows, key_rows, dtype=torch.bool, device=q.device).tril(key_rows - query_rows)
        o = F.scaled_dot_product_attention(
            q[first:stop].transpose(0, 1)[None], keys[None], values[None], attn_mask=mask, is_causal=causal
        )
        out[first:stop] = o[0].transpose(0, 1)
    return out.flatten(1)


def _append(past: torch.Tensor | None, new: torch.Tensor) -> torch.Tensor:
    """New rows [tokens, kv_heads, head_dim] appended to a cached [kv_heads, tokens, head_dim]."""
    new = new.transpose(0, 1)
    return new if past is None else torch.cat((past, new), dim=1)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    rotated = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + rotated * sin
