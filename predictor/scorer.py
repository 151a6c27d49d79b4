"""The scorer: one forward pass answers one question.

The logits after the prompt are read at the letters' tokens only. Serving and evaluation both use this class, so what
the gate measures is what will serve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from predictor import calibration
from predictor.calibration import Calibration
from predictor.card import Card
from predictor.hardware import Hardware, choose
from predictor.prompt import PromptEncoder
from predictor.question import LETTERS, Answer, Debias, Explanation, Question, QuestionError
from predictor.qwen2 import Cache, Config, Qwen2, dense
from predictor.version_files import VersionError, has_file
from predictor.weights import ADAPTER_CONFIG, Weights

DEFAULT_MAX_TOKENS = 4096
# Beyond a few hundred rows a CPU's matrix products gain nothing, and a smaller batch answers sooner.
BATCH_TOKENS = {"cpu": 512, "cuda": 16384}


class NotFinite(VersionError):
    """The version's numbers for a question are not finite, so there is no answer to it."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A tokenised question, ready to score. `ids` is the whole prompt, the shared prefix included."""

    question: Question
    ids: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return len(self.ids)


class Scorer:
    """A loaded model version.

    Not thread-safe: one thread scores. `encode` alone may be called from any thread. The same prompts in the same
    call give the same answers, bit for bit, on the same machine.
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
        card: Card | None = None,
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
        self._prefix: Cache | None = model.prefill(encoder.prefix) if encoder.prefix else None

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
        """The version in `folder`, on the device and in the dtype that `hardware.choose` picks.

        Raises VersionError when the folder is not a usable version, HardwareError when the choice cannot be met.
        """
        hardware = choose(device, dtype)
        torch.set_num_threads(hardware.threads)
        config = Config.read(folder)
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
            card=Card.read(folder),
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
        """The question's prompt; QuestionError when it is longer than `max_tokens`. Nothing is ever cut off."""
        ids = self.encoder.encode(question)
        if len(ids) > self.max_tokens:
            raise QuestionError("question", f"has {len(ids)} tokens with its choices, the limit is {self.max_tokens}")
        if max(ids) >= self.model.config.vocab:  # a GPU would not raise but lose its state
            raise VersionError(f"version {self.model_version}: its tokenizer has ids that its model does not know")
        return Prompt(question, ids)

    def passes(self, prompt: Prompt, debias: Debias | None = None) -> int:
        """How many prompts' worth of work this one is: 1, or one a rotation."""
        return len(prompt.question.choices) if (debias or self.default_debias) == "cyclic" else 1

    def score(self, prompts: Sequence[Prompt], debias: Debias | None = None) -> list[Answer]:
        """One answer a prompt, in the prompts' order."""
        mode = debias or self.default_debias
        if mode == "cyclic":
            return [self._answer(p, *_mean(self.rotations(p))) for p in prompts]
        answers: list[Answer | None] = [None] * len(prompts)
        for batch in self._batches(prompts):
            rows = self._letters_of([prompts[i] for i in batch], self._prefix)
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
        common = _common(turned)
        known = self._prefix.tokens if self._prefix else 0
        shared = self.model.prefill(turned[0].ids[known:common], self._prefix) if common > known else self._prefix
        return self._letters_of(turned, shared)

    def estimate_prior(self, questions: Sequence[Question]) -> Calibration:
        """The letter priors of this version from questions, each rotated through all places (PriDe)."""
        by_size: dict[int, list[list[list[float]]]] = {}
        for question in questions:
            observed = [probabilities for probabilities, _ in self.rotations(self.encode(question))]
            by_size.setdefault(len(question.choices), []).append(observed)
        return Calibration({k: calibration.estimate(rows) for k, rows in by_size.items()}, len(questions))

    def explain(
        self,
        prompt: Prompt,
        answer: Answer,
        *,
        max_new_tokens: int = 256,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Explanation:
        """A greedy explanation of the answer. `should_stop` is asked before every token; what is there is returned."""
        ids = self.encoder.encode_explain(prompt.question, answer.letter)
        room = min(max_new_tokens, self.model.config.max_positions - len(ids))
        known = self._prefix.tokens if self._prefix else 0
        fresh: Sequence[int] = ids[known:]
        cache = self._prefix
        out: list[int] = []
        finish = "length"
        while len(out) < room and not should_stop():
            logits, cache = self.model.step(fresh, cache)
            token = int(logits.argmax())
            if token in self.encoder.stop_ids:
                finish = "stop"
                break
            out.append(token)
            fresh = [token]
        return Explanation(answer, self.encoder.decode(out).strip(), len(out), "stop" if finish == "stop" else "length")

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

    def _letters_of(self, prompts: Sequence[Prompt], shared: Cache | None) -> list[tuple[list[float], float]]:
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
        # One NaN or infinity makes the sum one; whatever it was, none of these numbers is an answer.
        if not (math.isclose(math.fsum(probabilities), 1.0, abs_tol=1e-3) and math.isfinite(mass)):
            raise NotFinite(f"version {self.model_version}: the probabilities are {list(probabilities)}, mass {mass}")
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


def _require_same_base(folder: Path, config: Config) -> None:
    """VersionError when an adapter's config.json is of another model than its base's; a vocabulary may have grown."""
    if not has_file(folder / ADAPTER_CONFIG) or not has_file(folder / "base" / "config.json"):
        return
    base = Config.read(folder / "base")
    for name in (field.name for field in fields(Config) if field.name != "vocab"):
        if getattr(base, name) != getattr(config, name):
            told = f"{name} {getattr(config, name)}, its base's says {getattr(base, name)}"
            raise VersionError(f"{folder}/config.json says {told}: copy the base's config.json")


def _mean(rotations: Sequence[tuple[Sequence[float], float]]) -> tuple[list[float], float]:
    """Each choice's mean probability over the places it stood in, and the mean letter mass."""
    k = len(rotations)
    means = [sum(rotations[r][0][(choice - r) % k] for r in range(k)) / k for choice in range(k)]
    return means, sum(mass for _, mass in rotations) / k


def _common(prompts: Sequence[Prompt]) -> int:
    """Length of the ids all prompts start with; at least one id of each is left over."""
    shortest = min(p.tokens for p in prompts) - 1
    first = prompts[0].ids
    for i in range(shortest):
        if any(p.ids[i] != first[i] for p in prompts):
            return i
    return shortest
