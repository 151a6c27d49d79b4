"""The model card for people (README.md) and for programs (card.json): what it is, how it was made, what it scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipelines.bank.generate import generate
from pipelines.tiny.make import Made
from pipelines.tiny.measure import Score
from predictor.model_card import Accuracy, ModelCard

TITLE = "tiny demonstration model"

_CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [qwen2, multiple-choice, code]
---

# coding-mcqa tiny

A Qwen2 of {parameters:,} parameters, trained from nothing on generated multiple-choice questions about Python and its
neighbours. It exists so that everything in this repository runs offline, at once and through the code path of the real
model. It answers with the letter of a choice; it knows nothing but the subjects below and is no use for real questions.

## How it was made

    {command}

{steps:,} steps on {questions:,} questions of the bank's train split (an endless seeded stream; repeats occur), in
{minutes:.0f} minutes with {threads} threads, by full training in bfloat16 autocast where the processor has it. The seed
fixes questions, order and first weights. Floating-point sums depend on the number of threads, the processor and the
library versions, so another machine gives a model that scores about the same, not the same bytes.

Chat markup as Qwen's, no system text; the letter stands behind each choice (`prompt.json`). The split is a hash of stem
and code: no question below was seen in training, in any order of its choices.

Load the tokenizer with `PreTrainedTokenizerFast` or the `tokenizers` library: transformers 5's `AutoTokenizer` puts
Qwen's own splitting rule in the place of this one for every folder whose model type is qwen2.

## What it scores

Holdout questions, four choices each, 95 % Wilson intervals. Chance is 25 %.

| subject | accuracy | interval | questions |
|---|---|---|---|
{rows}
"""

_HELD = """
The last rows were kept out of its training on purpose: they are the drift that retraining has to answer.
"""


def write_card(folder: Path, made: Made) -> None:
    """README.md and card.json in the version's folder."""
    rows = [_row(name, score) for name, score in made.scores.items() if name != "all"]
    rows.append(_row("**all it was trained on**", made.scores["all"]))
    if made.held_out:
        rows += [_row(f"{name} (held out)", score) for name, score in made.held_out.items() if name != "all"]
        rows.append(_row("**held out, together**", made.held_out["all"]))
        right = made.scores["all"].right + made.held_out["all"].right
        rows.append(_row("**everything**", Score(right, made.scores["all"].asked + made.held_out["all"].asked)))
    text = _CARD.format(
        parameters=made.parameters,
        command=made.command,
        steps=made.steps,
        questions=made.questions,
        minutes=made.seconds / 60,
        threads=made.threads,
        rows="\n".join(rows),
    )
    (folder / "README.md").write_text(text + (_HELD if made.held_out else ""), encoding="utf-8")
    write_facts(folder, made.learned, made.scores["all"])


def write_facts(folder: Path, learned: Sequence[str], score: Score) -> None:
    """card.json: the subjects in `learned`, their stems, and the score on them."""
    stems = sorted({one.question.stem for one in generate(0, 40 * len(learned), learned, split="train")})
    low, high = score.interval
    accuracy = Accuracy(round(score.accuracy, 4), round(low, 4), round(high, 4), score.asked)
    ModelCard(TITLE, tuple(learned), tuple(stems), accuracy).write(folder)


def _row(name: str, score: Score) -> str:
    low, high = score.interval
    return f"| {name} | {score.accuracy:.1%} | {low:.1%} to {high:.1%} | {score.asked} |"
