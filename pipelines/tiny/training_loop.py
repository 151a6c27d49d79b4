"""The training loop, the same for making the tiny model and for fine-tuning it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.tiny.training_data import Batch
from pipelines.tiny.forward import hidden_states
from predictor.hardware import bfloat16_instructions


@dataclass(frozen=True, slots=True)
class Progress:
    """What a progress display is told after each step: smoothed loss and training accuracy, and the share done."""

    step: int
    share: float
    loss: float
    accuracy: float
    seconds: float


SNAPSHOT_SECONDS = 300

Report = Callable[[Progress], None]


class TrainingLoss(nn.Module):
    """Three losses on one pass.

    `letter`: cross-entropy of the next token, the answer's letter. `judge`: at each letter, a linear reading of the
    state before the last layer says how right the choice in front of it is; cross-entropy over the choices. It teaches
    to judge a choice at its letter, so that the last layer has only to look up the best. `text`: cross-entropy of the
    right choice's own tokens, which teaches to compute the answer before seeing it. The judge is thrown
    away afterwards.
    """

    def __init__(self, model: Any, letter_ids: list[int], judge: float = 1.0, text: float = 0.4) -> None:
        super().__init__()
        self.model = model
        self.letter_ids = torch.tensor(letter_ids)
        self.judge = nn.Linear(model.config.hidden_size, 1, bias=False)
        self.weights = (judge, text)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss, and how many of the batch were answered rightly."""
        final, before = hidden_states(self.model, batch.ids)
        rows = torch.arange(len(batch.ids))
        table = self.model.model.embed_tokens.weight
        logits = F.linear(final[rows, batch.last], table).float()
        loss = F.cross_entropy(logits, self.letter_ids[batch.answer])
        judge, text = self.weights
        if judge:
            at = before[rows[:, None], batch.letters].float()
            at = F.rms_norm(at, (at.shape[-1],))
            scores = self.judge(at).squeeze(-1).float().masked_fill(~batch.valid, float("-inf"))
            loss = loss + judge * F.cross_entropy(scores, batch.answer)
        if text:
            states = final[batch.text_rows, batch.text_places]
            loss = loss + text * F.cross_entropy(F.linear(states, table).float(), batch.text_targets)
        letters = logits.detach()[:, self.letter_ids[: batch.valid.shape[1]]].masked_fill(~batch.valid, float("-inf"))
        return loss, (letters.argmax(-1) == batch.answer).float().mean()


def train(
    losses: TrainingLoss,
    data: Iterator[Batch],
    *,
    steps: int | None,
    seconds: float | None = None,
    lr: float = 4e-3,
    report: Report | None = None,
    snapshot: Callable[[], None] | None = None,
    warmup: int = 40,
    decay: float = 0.4,
) -> int:
    """Train in place; the number of steps made. Ends after `steps`, or about `seconds`, or when the data end.

    Of a run by `seconds`, only the number of steps depends on the clock: when it is time for the rate to fall, the
    speed so far decides the number of steps, and the rest is as if that number had been given. `snapshot` is called
    every five minutes.

    Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/) for the matrices, AdamW for embeddings, norms and
    biases; the rate rises over `warmup` steps, stays, and falls linearly to zero over the last `decay` of the run.
    """
    matrices = [
        p for n, p in losses.model.named_parameters() if p.ndim == 2 and "embed_tokens" not in n and "lm_head" not in n
    ]
    ids = {id(p) for p in matrices}
    others = [p for p in losses.parameters() if id(p) not in ids]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    reduced = bfloat16_instructions() is not None
    started, step, snapshots, loss_mean, accuracy_mean = time.monotonic(), 0, 1, math.nan, math.nan
    for batch in data:
        elapsed = time.monotonic() - started
        if steps is None and seconds is not None and elapsed >= seconds * (1 - decay):
            steps = math.ceil((step + 1) / (1 - decay))
        if steps is not None and step >= steps:
            break
        left = 1.0 if steps is None else 1 - step / steps
        rate = lr * min(1.0, (step + 1) / warmup, left / decay)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            loss, accuracy = losses(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(losses.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        weight = max(0.02, 1 / step)
        loss_mean = loss.item() if step == 1 else loss_mean + weight * (loss.item() - loss_mean)
        accuracy_mean = accuracy.item() if step == 1 else accuracy_mean + weight * (accuracy.item() - accuracy_mean)
        if snapshot and elapsed > snapshots * SNAPSHOT_SECONDS:
            snapshots += 1
            snapshot()
        if report:
            share = step / steps if steps else elapsed / (seconds or math.inf)
            report(Progress(step, share, loss_mean, accuracy_mean, elapsed))
    return step
