"""The scorer: one forward pass answers one question.

The logits after the prompt are read at the letters' tokens only. Serving and evaluation both use this class, so the
quality gate measures what will serve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from common.model_card import ModelCard
from common.question import LETTERS, Answer, Debias, Explanation, Question, QuestionError
from predictor import calibration
from predictor.calibration import Calibration
from predictor.errors import NonFiniteScoreError, VersionError
from predictor.hardware import Hardware, select_hardware
from predictor.lora_adapter import ADAPTER_CONFIG
from predictor.model_card import read_card
from predictor.prompt import PromptEncoder
from predictor.qwen2 import KVCache, Qwen2, Qwen2Config, dense
from predictor.text_pieces import TextPieces
from predictor.version_files import has_file
from predictor.weights import Weights

DEFAULT_MAX_TOKENS = 4096
# Beyond a few hundred rows a CPU gains nothing, and a smaller batch answers sooner.
BATCH_TOKENS = {"cpu": 512, "cuda": 16384}


@dataclass(frozen=True, slots=True)
class Prompt:
    """A tokenised question, ready to score. `ids` is the whole prompt, including the shared prefix."""

    question: Question
    ids: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return len(self.ids)


class Scorer:
    """A loaded model version.

    Not thread-safe: one thread scores. Only `encode` may be called from any thread. On the same machine, the same
    prompts in the same call give the same answers, bit for bit.
    """

    def __init__(
        self,
        model: Qwen2,
        encoder: PromptEncoder,
        hardware: Hardware,
        *,
        model_version: str,
        revision: str | None = None,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        letter_prior: Calibration | None = None,
        card: ModelCard | None = None,
    ) -> None:
        self.model, self.encoder, self.hardware = model, encoder, hardware
        self.model_version, self.revision, self.card = model_version, revision, card
        self.max_tokens = min(max_tokens, model.config.max_positions)
        self.calibration = letter_prior or Calibration()
        self.default_debias: Debias = "prior" if self.calibration.priors else "none"
        self.batch_tokens = BATCH_TOKENS[hardware.device.type]
        frame = len(encoder.prefix)
        if frame >= self.max_tokens:
            raise VersionError(
                f"{model_version}: every prompt begins with {frame} tokens, the limit is {self.max_tokens}"
            )
        self._letters = torch.tensor(encoder.letter_ids, device=hardware.device)
        self._prefix: KVCache | None = model.prefill(encoder.prefix) if encoder.prefix else None

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        model_version: str | None = None,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        max_tokens: int = DEFAULT_MAX_TOKENS,
    ) -> Scorer:
        """The version in `folder`, on the device and in the dtype that `select_hardware` picks.

        Raises VersionError when the folder is not a usable version, HardwareError when the hardware is not available.
        """
        hardware = select_hardware(device, dtype)
        torch.set_num_threads(hardware.threads)
        config = Qwen2Config.read(folder)
        _require_same_base(folder, config)
        encoder = PromptEncoder(folder)
        if encoder.vocab_size > config.vocab:
            raise VersionError(f"{folder}: the tokenizer has {encoder.vocab_size} tokens, the model {config.vocab}")
        linear = dense
        if hardware.int8:
            from predictor.int8 import quantised as linear
        if max((*encoder.prefix, *encoder.letter_ids)) >= config.vocab:
            raise VersionError(f"{folder}/tokenizer.json: has ids beyond the model's {config.vocab} tokens")
        model = Qwen2(config, Weights(folder, dtype=hardware.dtype, device=hardware.device), linear=linear)
        return cls(
            model,
            encoder,
            hardware,
            model_version=model_version or folder.resolve().name,
            revision=revision,
            max_tokens=max_tokens,
            letter_prior=Calibration.read(folder),
            card=read_card(folder),
        )

    @property
    def device(self) -> str:
        return str(self.hardware.device)

    @property
    def dtype(self) -> str:
        return self.hardware.dtype_name

    @property
    def parameters(self) -> int:
        return self.model.config.parameters

    def encode(self, question: Question) -> Prompt:
        """The question's prompt; QuestionError when it is longer than `max_tokens`. Nothing is ever truncated."""
        ids = self.encoder.encode(question)
        if len(ids) > self.max_tokens:
            raise QuestionError("question", f"has {len(ids)} tokens with its choices, the limit is {self.max_tokens}")
        if max(ids) >= self.model.config.vocab:  # a GPU would not raise but lose its state
            raise VersionError(f"version {self.model_version}: its tokenizer has ids that its model does not have")
        return Prompt(question, ids)

    def passes(self, prompt: Prompt, debias: Debias | None = None) -> int:
        """How many forward passes the prompt costs: 1, or one per rotation."""
        return len(prompt.question.choices) if (debias or self.default_debias) == "cyclic" else 1

    def score(self, prompts: Sequence[Prompt], debias: Debias | None = None) -> list[Answer]:
        """One answer per prompt, in the prompts' order."""
        mode = debias or self.default_debias
        if mode == "cyclic":
            return [self._answer(p, *_mean_over_rotations(self.rotations(p))) for p in prompts]
        answers: list[Answer | None] = [None] * len(prompts)
        for batch in self._batches(prompts):
            rows = self._score_letters([prompts[i] for i in batch], self._prefix)
            for i, (probabilities, mass) in zip(batch, rows, strict=True):
                if mode == "prior":
                    probabilities = self.calibration.debias(probabilities)
                answers[i] = self._answer(prompts[i], probabilities, mass)
        return [answer for answer in answers if answer is not None]

    def rotations(self, prompt: Prompt) -> list[tuple[list[float], float]]:
        """Every cyclic rotation scored: (probabilities by letter, letter mass) of `question.rotated(r)`, r = 0..K-1.

        What the rotations share (the system text, the stem, the code) is computed once.
        """
        question = prompt.question
        turned = [Prompt(q, self.encoder.encode(q)) for q in map(question.rotated, range(len(question.choices)))]
        common = _common_prefix_length(turned)
        known = self._prefix.tokens if self._prefix else 0
        shared = self.model.prefill(turned[0].ids[known:common], self._prefix) if common > known else self._prefix
        return self._score_letters(turned, shared)

    def estimate_prior(self, questions: Sequence[Question]) -> Calibration:
        """The letter priors of this version from questions, each rotated through all positions (PriDe)."""
        by_size: dict[int, list[list[list[float]]]] = {}
        for question in questions:
            observed = [probabilities for probabilities, _ in self.rotations(self.encode(question))]
            by_size.setdefault(len(question.choices), []).append(observed)
        return Calibration({k: calibration.estimate_prior(rows) for k, rows in by_size.items()}, len(questions))

    def explain(
        self,
        prompt: Prompt,
        answer: Answer,
        *,
        max_new_tokens: int = 256,
        should_stop: Callable[[], bool] = lambda: False,
        on_text: Callable[[str], None] | None = None,
    ) -> Explanation:
        """A greedy explanation of the answer. `should_stop` is called before every token and ends it early.

        `on_text` gets the text as it is written; all pieces together are the explanation's text (see TextPieces).
        """
        ids = self.encoder.encode_explain(prompt.question, answer.letter)
        room = min(max_new_tokens, self.model.config.max_positions - len(ids))
        known = self._prefix.tokens if self._prefix else 0
        fresh: Sequence[int] = ids[known:]
        cache = self._prefix
        out: list[int] = []
        finish = "length"
        pieces = TextPieces(on_text) if on_text else None
        while len(out) < room and not should_stop():
            logits, cache = self.model.step(fresh, cache)
            token = int(logits.argmax())
            if token in self.encoder.stop_ids:
                finish = "stop"
                break
            out.append(token)
            fresh = [token]
            if pieces:
                pieces.grow(self.encoder.decode(out))
        text = self.encoder.decode(out).strip()
        if pieces:
            pieces.finish(text)
        return Explanation(answer, text, len(out), "stop" if finish == "stop" else "length")

    def with_calibration(self, letter_prior: Calibration) -> Scorer:
        """The same model with another letter prior."""
        return Scorer(
            self.model,
            self.encoder,
            self.hardware,
            model_version=self.model_version,
            revision=self.revision,
            max_tokens=self.max_tokens,
            letter_prior=letter_prior,
        )

    def _batches(self, prompts: Sequence[Prompt]) -> Iterator[list[int]]:
        """Indices of prompts of similar length, at most `batch_tokens` (or one prompt) at a time."""
        batch: list[int] = []
        tokens = 0
        for i in sorted(range(len(prompts)), key=lambda i: prompts[i].tokens):
            if batch and tokens + prompts[i].tokens > self.batch_tokens:
                yield batch
                batch, tokens = [], 0
            batch.append(i)
            tokens += prompts[i].tokens
        if batch:
            yield batch

    def _score_letters(self, prompts: Sequence[Prompt], shared: KVCache | None) -> list[tuple[list[float], float]]:
        """(probabilities by letter, letter mass) of prompts that all start with `shared`, in one forward pass."""
        known = shared.tokens if shared else 0
        letters, normaliser = self.model.score_tokens([p.ids[known:] for p in prompts], self._letters, shared)
        out = []
        for row, prompt in enumerate(prompts):
            own = letters[row, : len(prompt.question.choices)].double()
            mass = (own.logsumexp(-1) - normaliser[row].double()).exp().clamp(max=1.0)
            out.append((own.softmax(-1).tolist(), float(mass)))
        return out

    def _answer(self, prompt: Prompt, probabilities: Sequence[float], mass: float) -> Answer:
        # One NaN or infinity makes the sum NaN or infinite: none of these numbers is an answer.
        if not (math.isclose(math.fsum(probabilities), 1.0, abs_tol=1e-3) and math.isfinite(mass)):
            raise NonFiniteScoreError(
                f"version {self.model_version}: the probabilities are {list(probabilities)}, mass {mass}"
            )
        ranked = sorted(probabilities, reverse=True)
        index = probabilities.index(ranked[0])
        question = prompt.question
        return Answer(
            letter=LETTERS[index],
            index=index,
            choice=question.choices[index],
            probabilities=tuple(probabilities),
            confidence=ranked[0],
            margin=ranked[0] - ranked[1],
            entropy=-math.fsum(p * math.log(p) for p in probabilities if p > 0),
            letter_mass=mass,
            prompt_tokens=prompt.tokens,
            model_version=self.model_version,
            revision=self.revision,
            id=question.id,
        )


def _require_same_base(folder: Path, config: Qwen2Config) -> None:
    """VersionError when an adapter's config.json is not its base's; only the vocabulary may have grown."""
    if not has_file(folder / ADAPTER_CONFIG) or not has_file(folder / "base" / "config.json"):
        return
    base = Qwen2Config.read(folder / "base")
    for name in (field.name for field in fields(Qwen2Config) if field.name != "vocab"):
        if getattr(base, name) != getattr(config, name):
            values = f"{name} {getattr(config, name)}, its base's says {getattr(base, name)}"
            raise VersionError(f"{folder}/config.json says {values}: copy the base's config.json")


def _mean_over_rotations(rotations: Sequence[tuple[Sequence[float], float]]) -> tuple[list[float], float]:
    """Each choice's mean probability over its positions, and the mean letter mass."""
    k = len(rotations)
    means = [sum(rotations[r][0][(choice - r) % k] for r in range(k)) / k for choice in range(k)]
    return means, sum(mass for _, mass in rotations) / k


def _common_prefix_length(prompts: Sequence[Prompt]) -> int:
    """The number of ids that all prompts start with; at least one id of each remains."""
    shortest = min(p.tokens for p in prompts) - 1
    first = prompts[0].ids
    for i in range(shortest):
        if any(p.ids[i] != first[i] for p in prompts):
            return i
    return shortest
