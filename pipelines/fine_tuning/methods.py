"""How a version is fine-tuned: the choice of the method, and its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines.bank.labelled_question import LabelledQuestion
from predictor.model_card import read_card, write_card
from predictor.prompt import PromptFormat
from predictor.weights import SINGLE_FILE, weight_files

FULL_BYTES = 200_000_000
"""Up to this size of the weights all of them are trained: LoRA would save memory that is not short, and learn less."""
FULL_LR = 2e-3


@dataclass(frozen=True, slots=True)
class FineTuningResult:
    """How it was done: the method, its numbers for the record, and the number of questions it could not use."""

    method: Literal["full", "lora"]
    numbers: dict[str, float]
    left_out: int


def choose_method(folder: Path, method: str) -> Literal["full", "lora"]:
    """`method` itself; for "auto", full for a version that is small and reads questions as the tiny model does."""
    if method == "full":
        return "full"
    if method == "lora":
        return "lora"
    if method != "auto":
        raise ValueError(f"fine_tune_method must be auto, full or lora, found {method!r}")
    prompt = PromptFormat.read(folder)
    adapter = (folder / "base").is_dir()
    small = not adapter and sum(file.stat().st_size for file in weight_files(folder)) <= FULL_BYTES
    return "full" if small and (prompt.system, prompt.layout) == ("", "letter-last") else "lora"


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
) -> FineTuningResult:
    """Trains the version in `base` and writes the new one to `out`; prints progress.

    `seconds` and `steps` None: until the method's own end. `lr` None: the method's own. `blend`: how much of the change
    full fine-tuning keeps, above 0 to 1 (LoRA has its alpha). ValueError without a question.

    A demonstration version's card is copied, with the subjects that are new to it.
    """
    card = read_card(base)
    if choose_method(base, method) == "lora":
        from pipelines.fine_tuning.lora import LoraSettings, fine_tune_lora

        limits = {"seconds": seconds, "steps": steps, "lr": lr, "seed": seed}
        given = {name: value for name, value in limits.items() if value is not None}
        lora_result = fine_tune_lora(base, out, questions, LoraSettings.from_options({**lora, **given}))
        numbers = {name: float(value) for name, value in asdict(lora_result).items()}
        result = FineTuningResult("lora", numbers, lora_result.too_long)
    else:
        from pipelines.fine_tuning.full import fine_tune_full

        usable = usable_questions(base, questions)
        done = fine_tune_full(base, out, usable, steps=steps, seconds=seconds, lr=lr or FULL_LR, seed=seed)
        blend_weights(base, out, blend)
        numbers = {"steps": float(done.steps), "questions": float(done.questions)}
        result = FineTuningResult("full", numbers, len(questions) - len(usable))
    if card:
        write_card(card.taught(item.question for item in questions), out)
    return result


def blend_weights(base: Path, tuned: Path, share: float) -> None:
    """Moves the weights in `tuned` back, in place: `share` of them is kept, the rest is `base`'s.

    WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903): on the way back most of what was forgotten returns before much of
    what was learned is lost. Measured on the tiny model: half of the loss on the old mix for a twelfth of the gain.
    """
    if not 0 < share <= 1:
        raise ValueError(f"blend must be above 0 and at most 1, found {share:g}")
    if share == 1:
        return
    from safetensors.torch import load_file, save_file

    file = tuned / SINGLE_FILE
    before, after = load_file(base / SINGLE_FILE), load_file(file)
    blended = {k: before[k].float().lerp(v.float(), share).to(v.dtype) for k, v in after.items()}
    part = file.with_suffix(".part")
    save_file(blended, part, metadata={"format": "pt"})
    part.chmod(0o644)
    part.replace(file)


def usable_questions(base: Path, questions: Sequence[LabelledQuestion]) -> list[LabelledQuestion]:
    """The questions that training encodes exactly as serving does: same ids, none missing, every letter located.

    Special tokens in a question's text, for example, are plain text to the server only: they would teach nonsense.
    """
    from tokenizers import Tokenizer

    from pipelines.tiny.model import MAX_TOKENS
    from pipelines.tiny.training_data import Encoder
    from predictor.prompt import PromptEncoder

    training, serving = Encoder(Tokenizer.from_file(str(base / "tokenizer.json"))), PromptEncoder(base)
    usable = []
    for item in questions:
        try:
            ids = training.encode([item])[0].ids
        except (AssertionError, ValueError, IndexError):
            continue
        if len(ids) <= MAX_TOKENS and tuple(ids) == serving.encode(item.question):
            usable.append(item)
    return usable
