"""From labelled questions to training batches: ids, and the places where each loss is taken."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from common.question import LETTERS, Question
from pipelines.bank.families.words import WORDS
from pipelines.bank.labelled_question import LabelledQuestion
from predictor.prompt import PromptFormat

FORMAT = PromptFormat(system="", layout="letter-last")


@dataclass(frozen=True, slots=True)
class Example:
    """`ids` is the whole prompt. `letters` are the positions of the K letters, `right` the span of the right choice."""

    ids: list[int]
    letters: list[int]
    right: tuple[int, int]
    answer: int


@dataclass(frozen=True, slots=True)
class Batch:
    """B rows padded on the right. Index pairs (row, place) say where a loss is taken."""

    ids: Tensor  # (B, T)
    last: Tensor  # (B,) place of each prompt's last token
    letters: Tensor  # (B, K) places of the letters; 0 where a question has fewer choices
    valid: Tensor  # (B, K) bool
    answer: Tensor  # (B,)
    text_rows: Tensor  # (N,) rows and places that predict a token of the right choice, and that token
    text_places: Tensor
    text_targets: Tensor


class Encoder:
    """The ids that `predictor.prompt.PromptEncoder` gives, many questions at a time, and the places of the letters."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._head = tokenizer.encode("<|im_start|>user\n").ids
        self._tail = tokenizer.encode("<|im_end|>\n<|im_start|>assistant\n").ids
        self._space, self._break = tokenizer.encode(" A\nB").ids[0], tokenizer.encode(" A\nB").ids[2]
        self.letter_ids = [tokenizer.encode(letter).ids[0] for letter in LETTERS]

    def encode(self, questions: Sequence[LabelledQuestion]) -> list[Example]:
        texts = [FORMAT.text(q.question) for q in questions]
        return [self._example(e.ids, q) for e, q in zip(self._tokenizer.encode_batch(texts), questions, strict=True)]

    def _example(self, content: list[int], labelled: LabelledQuestion) -> Example:
        count = len(labelled.question.choices)
        reversed_places, letter = [], count - 1
        for place in range(len(content) - 1, 0, -1):
            ends = place + 1 == len(content) or content[place + 1] == self._break
            if letter >= 0 and ends and content[place] == self.letter_ids[letter] and content[place - 1] == self._space:
                reversed_places.append(place)
                letter -= 1
        places = reversed_places[::-1]
        if len(places) != count:
            raise ValueError(f"found {len(places)} letters of {count} in the ids of {labelled}")
        end = places[labelled.answer] - 1
        if labelled.answer:
            start = places[labelled.answer - 1] + 2
        else:  # The first choice starts after a line break; the choices' own texts are single lines.
            start = max(i for i in range(end) if content[i] == self._break) + 1
        shift = len(self._head)
        ids = [*self._head, *content, *self._tail]
        return Example(ids, [p + shift for p in places], (start + shift, end + shift), labelled.answer)


def collate(examples: Sequence[Example]) -> Batch:
    length = max(len(e.ids) for e in examples)
    most = max(len(e.letters) for e in examples)
    ids = torch.zeros(len(examples), length, dtype=torch.long)
    letters = torch.zeros(len(examples), most, dtype=torch.long)
    valid = torch.zeros(len(examples), most, dtype=torch.bool)
    rows: list[int] = []
    places: list[int] = []
    targets: list[int] = []
    for row, e in enumerate(examples):
        ids[row, : len(e.ids)] = torch.tensor(e.ids)
        letters[row, : len(e.letters)] = torch.tensor(e.letters)
        valid[row, : len(e.letters)] = True
        start, end = e.right
        # The space after the choice is predicted too: it says that the text is complete.
        places += range(start - 1, end)
        targets += e.ids[start : end + 1]
        rows += [row] * (end - start + 1)
    return Batch(
        ids,
        torch.tensor([len(e.ids) - 1 for e in examples]),
        letters,
        valid,
        torch.tensor([e.answer for e in examples]),
        torch.tensor(rows),
        torch.tensor(places),
        torch.tensor(targets),
    )


def batches(
    encoder: Encoder, questions: Iterator[LabelledQuestion], size: int, rng: random.Random, pool: int = 12
) -> Iterator[Batch]:
    """Batches of similar length, drawn from pools of `pool` batches, so that little padding is computed."""
    while True:
        drawn = [q for _, q in zip(range(size * pool), questions, strict=False)]
        if len(drawn) < size:
            return
        examples = sorted(encoder.encode(drawn), key=lambda e: len(e.ids))
        groups = [examples[i : i + size] for i in range(0, len(examples) - size + 1, size)]
        rng.shuffle(groups)
        yield from map(collate, groups)


def copying(rng: random.Random) -> LabelledQuestion:
    """The first lesson: find the choice that is the same text. 2 to 10 choices, so that every letter is learned."""
    count = rng.randint(2, len(LETTERS))
    kind = rng.random()
    if kind < 0.4:
        choices = rng.sample(WORDS, count)
    elif kind < 0.7:
        choices = [str(n) for n in rng.sample(range(30), count)]
    else:
        choices = list({str([rng.randint(1, 9) for _ in range(rng.randint(1, 3))]): None for _ in range(count)})
        if len(choices) < 2:
            return copying(rng)
    answer = rng.randrange(len(choices))
    question = Question("Which choice is the same text?", tuple(choices), choices[answer], None, "copying")
    return LabelledQuestion(question, answer)


def lessons(
    rng: random.Random, questions: Iterator[LabelledQuestion], copies: float, first: int
) -> Iterator[LabelledQuestion]:
    """The questions with a share of `copies` mixed in, and 60% of them among the first `first`."""
    given = 0
    while True:
        given += 1
        if rng.random() < (0.6 if given <= first else copies):
            yield copying(rng)
        else:
            question = next(questions, None)
            if question is None:
                return
            yield question
