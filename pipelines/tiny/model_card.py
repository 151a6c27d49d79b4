"""The model card for people (README.md) and programs (card.json): what it is, how it was made, what it scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.model_card import Accuracy, ModelCard
from common.proportions import Proportion, wilson
from pipelines.bank.generate import generate
from pipelines.tiny.accuracy import ALL
from pipelines.tiny.make import TrainingSummary
from predictor import model_card

TITLE = "tiny demonstration model"

_CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [qwen2, multiple-choice, code]
---

# coding-mcqa tiny

A Qwen2 of {parameters:,} parameters, trained from scratch on generated multiple-choice questions about Python and
related subjects. It exists so that everything in this repository runs immediately, offline and through the real model's
code path. It answers with the letter of a choice; it knows only the subjects below and is no use for real questions.

## How it was made

    {command}

{steps:,} steps on {questions:,} questions of the bank's train split (an endless seeded stream; repeats occur), in
{minutes:.0f} minutes with {threads} threads, by full training in bfloat16 autocast if the processor has it. The seed
fixes questions, order and initial weights. Floating-point sums depend on the number of threads, the processor and the
library versions, so another machine gives a model that scores about the same, not the same bytes.

Chat markup like Qwen's, no system text; the letter follows each choice (`prompt.json`). The split is a hash of stem
and code: no question below was seen in training, in any order of its choices.

Load the tokenizer with `PreTrainedTokenizerFast` or the `tokenizers` library: transformers 5's `AutoTokenizer` uses
Qwen's own splitting rule instead of this one for every folder whose model type is qwen2.

## What it scores

Holdout questions, four choices each, 95% Wilson intervals. Chance is 25%.

| subject | accuracy | interval | questions |
|---|---|---|---|
{rows}
"""

_HELD = """
The held-out subjects were kept out of its training on purpose: they are the drift that retraining has to answer.
"""


def write_card(folder: Path, summary: TrainingSummary) -> None:
    """Writes README.md and card.json into the version's folder."""
    rows = [_row(name, score) for name, score in summary.scores.items() if name != ALL]
    rows.append(_row("**all it was trained on**", summary.scores[ALL]))
    if summary.held_out:
        rows += [_row(f"{name} (held out)", score) for name, score in summary.held_out.items() if name != ALL]
        rows.append(_row("**held out, together**", summary.held_out[ALL]))
        together = [summary.scores[ALL], summary.held_out[ALL]]
        rows.append(_row("**everything**", wilson(sum(p.count for p in together), sum(p.total for p in together))))
    text = _CARD.format(
        parameters=summary.parameters,
        command=summary.command,
        steps=summary.steps,
        questions=summary.questions,
        minutes=summary.seconds / 60,
        threads=summary.threads,
        rows="\n".join(rows),
    )
    (folder / "README.md").write_text(text + (_HELD if summary.held_out else ""), encoding="utf-8")
    write_card_json(folder, summary.learned, summary.scores[ALL])


def write_card_json(folder: Path, learned: Sequence[str], score: Proportion) -> None:
    """Writes card.json: the subjects in `learned`, their stems, and the score on them."""
    stems = sorted({item.question.stem for item in generate(0, 40 * len(learned), learned, split="train")})
    accuracy = Accuracy(round(score.value, 4), round(score.low, 4), round(score.high, 4), score.total)
    model_card.write_card(ModelCard(TITLE, tuple(learned), tuple(stems), accuracy), folder)


def _row(name: str, score: Proportion) -> str:
    return f"| {name} | {score.value:.1%} | {score.low:.1%} to {score.high:.1%} | {score.total} |"
