"""Which way a version is fine-tuned, and doing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines.bank.labelled import LabelledQuestion
from predictor.model_card import ModelCard
from predictor.prompt import PromptFormat
from predictor.weights import SINGLE_FILE, weight_files

Method = Literal["auto", "full", "lora"]
FULL_BYTES = 200_000_000
"""Up to this size of the weights every one of them is trained: LoRA saves memory that nobody lacks, and learns less."""
FULL_LR = 2e-3


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it was done: the method, its numbers for the record, and the questions left out as unusable for it."""

    method: Literal["full", "lora"]
    numbers: dict[str, float]
    left_out: int


def choose(folder: Path, method: str) -> Literal["full", "lora"]:
    """`method` itself; for auto, full for a version that is small and reads questions as the tiny model does."""
    if method == "full" or method == "lora":
        return method  # type: ignore[return-value]
    if method != "auto":
        raise ValueError(f"fine_tune_method must be auto, full or lora, found {method!r}")
    form = PromptFormat.read(folder)
    adapter = (folder / "base").is_dir()
    small = not adapter and sum(file.stat().st_size for file in weight_files(folder)) <= FULL_BYTES
    return "full" if small and (form.system, form.layout) == ("", "letter-last") else "lora"


def fine_tune(
    base: Path,
    out: Path,
    questions: Sequence[LabelledQuestion],
    *,
    method: str = "auto",
    seconds: float | None = None,
    steps: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    blend: float = 1.0,
    lora: Mapping[str, Any] = {},
) -> Outcome:
    """Trains the version in `base` and writes the new one to `out`; prints progress.

    `seconds` and `steps` None: until the method's own end. `lr` None: the method's own. `blend`: how much of the change
    is kept of full fine-tuning, above 0 to 1 (LoRA has its alpha). ValueError without a question.

    A demonstration version's card goes along, with the subjects it was taught.
    """
    card = ModelCard.read(base)
    outcome = _fine_tune(
        base, out, questions, method=method, seconds=seconds, steps=steps, lr=lr, seed=seed, blend=blend, lora=lora
    )
    if card:
        card.taught(one.question for one in questions).write(out)
    return outcome


def _fine_tune(
    base: Path,
    out: Path,
    questions: Sequence[LabelledQuestion],
    *,
    method: str,
    seconds: float | None,
    steps: int | None,
    lr: float | None,
    seed: int,
    blend: float,
    lora: Mapping[str, Any],
) -> Outcome:
    chosen = choose(base, method)
    limits = {"seconds": seconds, "steps": steps, "lr": lr, "seed": seed}
    if chosen == "lora":
        from pipelines.finetune.lora import LoraSettings, tune_lora

        settings = LoraSettings.of({**lora, **{k: v for k, v in limits.items() if v is not None}})
        tuned = tune_lora(base, out, questions, settings)
        return Outcome("lora", {k: float(v) for k, v in asdict(tuned).items()}, tuned.too_long)
    from pipelines.tiny import fine_tune as full

    usable = teachable(base, questions)
    done = full(base, out, usable, steps=steps, seconds=seconds, lr=lr or FULL_LR, seed=seed)
    blend_weights(base, out, blend)
    numbers = {"steps": float(done.steps), "questions": float(done.questions)}
    return Outcome("full", numbers, len(questions) - len(usable))


def blend_weights(base: Path, tuned: Path, share: float) -> None:
    """Sets the weights in `tuned` to `share` of themselves and the rest of `base`'s, in place.

    WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903): on the way back most of what was forgotten returns before much of
    what was learned goes. Measured on the tiny model, half of the loss on the old mix for a twelfth of the gain.
    """
    if not 0 < share <= 1:
        raise ValueError(f"blend must be above 0 and at most 1, found {share:g}")
    if share == 1:
        return
    from safetensors.torch import load_file, save_file

    file = tuned / SINGLE_FILE
    before, after = load_file(base / SINGLE_FILE), load_file(file)
    mixed = {k: before[k].float().lerp(v.float(), share).to(v.dtype) for k, v in after.items()}
    part = file.with_suffix(".part")
    save_file(mixed, part, metadata={"format": "pt"})
    part.chmod(0o644)
    part.replace(file)


def teachable(base: Path, questions: Sequence[LabelledQuestion]) -> list[LabelledQuestion]:
    """The questions whose ids training sees exactly as serving does, in full and with their letters found.

    Special tokens in a question's text, say, are text to the server alone: learned from, they would teach nonsense.
    """
    from tokenizers import Tokenizer

    from pipelines.tiny.examples import Encoder
    from pipelines.tiny.model import MAX_TOKENS
    from predictor.prompt import PromptEncoder

    training, serving = Encoder(Tokenizer.from_file(str(base / "tokenizer.json"))), PromptEncoder(base)
    found = []
    for one in questions:
        try:
            ids = training.encode([one])[0].ids
        except (AssertionError, ValueError, IndexError):
            continue
        if len(ids) <= MAX_TOKENS and tuple(ids) == serving.encode(one.question):
            found.append(one)
    return found
