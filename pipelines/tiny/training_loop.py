"""The training loop, the same for making the tiny model and for fine-tuning it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.tiny.forward import hidden_states
from pipelines.tiny.training_data import Batch
from predictor.hardware import bfloat16_instructions


@dataclass(frozen=True, slots=True)
class Progress:
    """After a step: smoothed loss and training accuracy, the share of the run that is done, the time so far."""

    step: int
    share: float
    loss: float
    accuracy: float
    seconds: float


SNAPSHOT_SECONDS = 300

ProgressCallback = Callable[[Progress], None]


class TrainingLoss(nn.Module):
    """Three losses in one pass.

    `letter`: cross-entropy of the next token, the answer's letter. `judge`: at each letter, a linear head on the state
    before the last layer scores the choice before it; cross-entropy over the choices. It teaches the model to judge a
    choice at its letter, so that the last layer only has to look up the best. `text`: cross-entropy of the right
    choice's own tokens, which teaches the model to compute the answer before seeing it. The head is discarded
    afterwards.
    """

    def __init__(self, model: Any, letter_ids: list[int], judge: float = 1.0, text: float = 0.4) -> None:
        super().__init__()
        self.model = model
        self.letter_ids = torch.tensor(letter_ids)
        self.judge = nn.Linear(model.config.hidden_size, 1, bias=False)
        self.weights = (judge, text)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss, and the share of the batch that was answered correctly."""
        final, before = hidden_states(self.model, batch.ids)
        rows = torch.arange(len(batch.ids))
        table = self.model.model.embed_tokens.weight
        logits = functional.linear(final[rows, batch.last], table).float()
        loss = functional.cross_entropy(logits, self.letter_ids[batch.answer])
        judge, text = self.weights
        if judge:
            at = before[rows[:, None], batch.letters].float()
            at = functional.rms_norm(at, (at.shape[-1],))
            scores = self.judge(at).squeeze(-1).float().masked_fill(~batch.valid, float("-inf"))
            loss = loss + judge * functional.cross_entropy(scores, batch.answer)
        if text:
            states = final[batch.text_rows, batch.text_places]
            loss = loss + text * functional.cross_entropy(functional.linear(states, table).float(), batch.text_targets)
        letters = logits.detach()[:, self.letter_ids[: batch.valid.shape[1]]].masked_fill(~batch.valid, float("-inf"))
        return loss, (letters.argmax(-1) == batch.answer).float().mean()


def train(
    losses: TrainingLoss,
    data: Iterator[Batch],
    *,
    steps: int | None,
    seconds: float | None = None,
    lr: float = 4e-3,
    report: ProgressCallback | None = None,
    snapshot: Callable[[], None] | None = None,
    warmup: int = 40,
    decay: float = 0.4,
) -> int:
    """Trains in place and returns the number of steps. Ends after `steps`, about `seconds`, or when the data end.

    Of a run by `seconds`, only the number of steps depends on the clock: when it is time for the learning rate to fall,
    the speed so far decides the number of steps, and the rest is as if that number had been given. `snapshot` is called
    every five minutes.

    Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/) for the matrices, AdamW for embeddings, norms and
    biases. The rate rises over `warmup` steps, stays, and falls linearly to zero over the last `decay` of the run.
    """
    optimizers = _optimizers(losses, lr)
    reduced = bfloat16_instructions() is not None
    started, step, snapshots, mean_loss, mean_accuracy = time.monotonic(), 0, 1, math.nan, math.nan
    for batch in data:
        elapsed = time.monotonic() - started
        if steps is None and seconds is not None and elapsed >= seconds * (1 - decay):
            steps = math.ceil((step + 1) / (1 - decay))
        if steps is not None and step >= steps:
            break
        left = 1.0 if steps is None else 1 - step / steps
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr * min(1.0, (step + 1) / warmup, left / decay)
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            loss, accuracy = losses(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(losses.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        mean_loss = _smoothed(mean_loss, loss.item(), step)
        mean_accuracy = _smoothed(mean_accuracy, accuracy.item(), step)
        if snapshot and elapsed > snapshots * SNAPSHOT_SECONDS:
            snapshots += 1
            snapshot()
        if report:
            share = step / steps if steps else elapsed / (seconds or math.inf)
            report(Progress(step, share, mean_loss, mean_accuracy, elapsed))
    return step


def _optimizers(losses: TrainingLoss, lr: float) -> list[torch.optim.Optimizer]:
    matrices = [
        p for n, p in losses.model.named_parameters() if p.ndim == 2 and "embed_tokens" not in n and "lm_head" not in n
    ]
    ids = {id(p) for p in matrices}
    others = [p for p in losses.parameters() if id(p) not in ids]
    return [
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _smoothed(mean: float, value: float, step: int) -> float:
    """The running mean after `value` of this step, counted from 1; of the last fifty steps or so."""
    return value if step == 1 else mean + max(0.02, 1 / step) * (value - mean)
