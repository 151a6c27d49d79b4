"""LoRA (Hu et al. 2021, arXiv 2106.09685) of a Qwen2 version on labelled questions, by peft.

Trained and served prompts are the same ids: both come from predictor.prompt. The loss is the cross-entropy of the
answer's letter alone, over the whole vocabulary, so that the letters also keep their share of it. The adapter is merged
into the weights before the version is saved, by the code that would merge it at load: the new version starts and serves
as fast as its base, and the next retraining begins from a plain model again.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.bank.labelled_question import LabelledQuestion, shuffled_epochs
from predictor.hardware import bfloat16_instructions
from predictor.lora_adapter import ADAPTER_CONFIG, ADAPTER_FILE, EMBEDDING, HEAD
from predictor.prompt import PromptEncoder
from predictor.storage.version_folder import PROVENANCE_FILE, data_files
from predictor.version_files import read_json
from predictor.weights import INDEX_FILE, SINGLE_FILE, Weights, weight_files

PROGRESS_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """`batch` questions per pass, `accumulation` passes per step. `bf16` None: where the device computes in it.

    Training ends after `epochs`, `steps` or `seconds`, whichever comes first.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    lr: float = 2e-4
    weight_decay: float = 0.0
    epochs: float = 2.0
    steps: int | None = None
    seconds: float | None = None
    batch: int = 8
    accumulation: int = 2
    max_tokens: int = 2048
    bf16: bool | None = None
    checkpointing: bool = False
    seed: int = 0

    @property
    def questions_per_step(self) -> int:
        return self.batch * self.accumulation

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> LoraSettings:
        """From a pipeline's parameter, where every number is a float; ValueError names an unknown option."""
        known = {f.name: f.type for f in fields(cls)}
        if unknown := options.keys() - known.keys():
            raise ValueError(f"there is no LoRA option {', '.join(sorted(unknown))}; known options: {', '.join(known)}")
        values: dict[str, Any] = {
            name: int(value) if "int" in str(known[name]) and value is not None else value
            for name, value in options.items()
        }
        if "targets" in values:
            values["targets"] = tuple(values["targets"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class LoraResult:
    """What was done: optimizer steps, questions seen, mean loss (nats) of the first and the last tenth of the steps."""

    steps: int
    questions: int
    first_loss: float
    last_loss: float
    trainable: int
    too_long: int


def fine_tune_lora(base: Path, out: Path, questions: Sequence[LabelledQuestion], settings: LoraSettings) -> LoraResult:
    """Trains an adapter on the questions, with choices shuffled again at each view, and writes the merged version.

    ValueError when no question fits into `max_tokens`.
    """
    encoder = PromptEncoder(base)
    fitting = [item for item in questions if len(encoder.encode(item.question)) <= settings.max_tokens]
    if not fitting:
        raise ValueError(f"fine-tuning needs at least one question of at most {settings.max_tokens} tokens, found none")
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory(prefix="mcqa-lora-") as temporary:
        plain = Path(temporary) / "base"
        plain_copy(base, plain)
        model = _adapted(plain, settings, device)
        losses = _train(model, encoder, fitting, settings, device)
        adapter = Path(temporary) / "adapter"
        model.save_pretrained(adapter, safe_serialization=True)
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        merge_adapter(plain, adapter, out)
        tenth = max(1, len(losses) // 10)
    return LoraResult(
        steps=len(losses),
        questions=len(losses) * settings.questions_per_step,
        first_loss=sum(losses[:tenth]) / tenth,
        last_loss=sum(losses[-tenth:]) / tenth,
        trainable=trainable,
        too_long=len(questions) - len(fitting),
    )


def merge_adapter(base: Path, adapter: Path, out: Path) -> None:
    """Writes `base` with `adapter` (a peft LoRA folder) merged in, in the base's own dtype and files."""
    with tempfile.TemporaryDirectory(prefix="mcqa-merge-") as temporary:
        stacked = Path(temporary)
        (stacked / "base").symlink_to(base.resolve())
        for name in (ADAPTER_CONFIG, ADAPTER_FILE):
            (stacked / name).symlink_to((adapter / name).resolve())
        plain_copy(stacked, out)


def plain_copy(folder: Path, out: Path) -> None:
    """The version as plain weights: an adapter next to its base is merged. Measurements of it are not copied."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    root = folder / "base" if (folder / "base").is_dir() else folder
    out.mkdir(parents=True, exist_ok=True)
    files = weight_files(root)
    skipped = {path.name for path in files} | {"calibration.json", "reference.json", PROVENANCE_FILE}
    for name, path in data_files(root).items():
        if name not in skipped and "/" not in name:
            shutil.copyfile(path, out / name)
    if (root / SINGLE_FILE).is_file():
        (out / INDEX_FILE).unlink(missing_ok=True)
    tied = read_json(root / "config.json").get("tie_word_embeddings") is True
    opened: dict[torch.dtype, Weights] = {}
    for file in files:
        tensors = {}
        with safe_open(file, framework="pt") as handle:
            for name in handle.keys():  # noqa: SIM118 - not a mapping
                tensor = handle.get_tensor(name)
                if tensor.dtype not in opened:
                    opened[tensor.dtype] = Weights(folder, dtype=tensor.dtype, device=torch.device("cpu"))
                tensors[name] = opened[tensor.dtype].get(name, tuple(tensor.shape)).contiguous()
                if tied and name == EMBEDDING and (own := opened[tensor.dtype].head(tuple(tensor.shape))) is not None:
                    tensors[HEAD] = own.contiguous()
                    _untie(out, file.name)
        save_file(tensors, out / file.name, metadata={"format": "pt"})
        (out / file.name).chmod(0o644)


def _untie(out: Path, file: str) -> None:
    """Notes in configuration and index that the adapter made two matrices of the tied embedding."""
    config = read_json(out / "config.json") | {"tie_word_embeddings": False}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if (out / INDEX_FILE).is_file():
        index = read_json(out / INDEX_FILE)
        index["weight_map"][HEAD] = file
        (out / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _adapted(folder: Path, settings: LoraSettings, device: torch.device) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2ForCausalLM

    bf16 = settings.bf16 if settings.bf16 is not None else _fast_bf16(device)
    dtype = torch.bfloat16 if bf16 else torch.float32
    model = Qwen2ForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True).to(device)
    if settings.checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config).train()


def _fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bfloat16_instructions() is not None


def _train(
    model: Any,
    encoder: PromptEncoder,
    questions: Sequence[LabelledQuestion],
    settings: LoraSettings,
    device: torch.device,
) -> list[float]:
    """The loss of each step; prints progress."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    planned = max(1, math.ceil(settings.epochs * len(questions) / settings.questions_per_step))
    if settings.steps is not None:
        planned = min(planned, settings.steps)
    views = shuffled_epochs(questions, random.Random(f"lora-{settings.seed}"))
    letters = torch.tensor(encoder.letter_ids, device=device)
    losses: list[float] = []
    began = printed = time.monotonic()
    for step in range(planned):
        elapsed = time.monotonic() - began
        if settings.seconds is not None and elapsed >= settings.seconds:
            break
        # By steps or by the clock, whichever is further: the learning rate is almost 0 at the end either way.
        share = max(step / planned, elapsed / settings.seconds if settings.seconds else 0.0)
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * min(1.0, (step + 1) / 10, 0.05 + 1.9 * (1 - share))
        total = 0.0
        for _ in range(settings.accumulation):
            batch = [next(views) for _ in range(settings.batch)]
            loss = letter_loss(model, encoder, batch, letters, device) / settings.accumulation
            torch.autograd.backward(loss)
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total)
        now = time.monotonic()
        if now - printed >= PROGRESS_SECONDS or step in (0, planned - 1):
            printed = now
            recent = losses[-20:]
            rate = (step + 1) * settings.questions_per_step / max(now - began, 1e-6)
            mean = sum(recent) / len(recent)
            print(f"fine-tuning: step {step + 1}/{planned} loss {mean:.3f} {rate:.1f} questions/s", flush=True)
    return losses


def letter_loss(
    model: Any, encoder: PromptEncoder, batch: Sequence[LabelledQuestion], letters: Tensor, device: torch.device
) -> Tensor:
    """Mean cross-entropy of the right letters' tokens, in nats; padded on the right, which causal attention ignores."""
    rows = [encoder.encode(item.question) for item in batch]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
        mask[place, : len(row)] = 1
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    states = causal.model(input_ids=ids.to(device), attention_mask=mask.to(device)).last_hidden_state
    last = states[torch.arange(len(rows)), [len(row) - 1 for row in rows]]
    logits = functional.linear(last, causal.lm_head.weight).float()
    return functional.cross_entropy(logits, letters[[item.answer for item in batch]])
