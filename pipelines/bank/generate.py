"""The generated bank: every family draws in turn, seeded, deduplicated on the question's content."""

from __future__ import annotations

import functools
import random
from collections.abc import Collection, Iterator, Sequence

from common.question import Question
from pipelines.bank.draft import Family, finish
from pipelines.bank.labelled_question import LabelledQuestion
from pipelines.bank.splits import Split, content_key, split_of

# Kept out of the tiny model's training: a later shift towards these is a drift that it is not prepared for.
HELD_OUT_SUBJECTS = ("bit-operations", "regex", "sql")

# A family counts as exhausted when this many draws in a row bring nothing new.
PATIENCE = 200


@functools.cache
def families() -> tuple[Family, ...]:
    from pipelines.bank.families import (
        bits,
        complexity,
        flow,
        logic,
        mappings,
        names,
        numbers,
        patterns,
        queries,
        sequences,
        text,
    )

    modules = (numbers, sequences, mappings, text, flow, logic, names, complexity, queries, patterns, bits)
    return tuple(family for module in modules for family in module.FAMILIES)


def subjects() -> tuple[str, ...]:
    """Every generated subject, sorted."""
    return tuple(sorted({family.subject for family in families()}))


def training_subjects() -> tuple[str, ...]:
    return tuple(s for s in subjects() if s not in HELD_OUT_SUBJECTS)


def by_subject(wanted: Collection[str] | None = None) -> dict[str, list[Family]]:
    """The families of each wanted subject (all by default); ValueError names an unknown one."""
    chosen = sorted(subjects() if wanted is None else set(wanted))
    unknown = [s for s in chosen if s not in subjects()]
    if unknown or not chosen:
        raise ValueError(f"no generated subject {', '.join(unknown) or 'was given'}; there are {', '.join(subjects())}")
    return {s: [f for f in families() if f.subject == s] for s in chosen}


def stream(
    seed: int, wanted: Collection[str] | None = None, *, split: Split | None = None, choices: Sequence[int] = (4,)
) -> Iterator[LabelledQuestion]:
    """Questions without end, subjects in equal shares, of one split if `split` is given. Repeats occur.

    Each question has one of the numbers of `choices`, drawn evenly; a family that cannot give as many draws again.
    """
    rng = random.Random(f"stream-{seed}")
    table = by_subject(wanted)
    names = list(table)
    while True:
        rng.shuffle(names)
        for subject in names:
            drawn = None
            while drawn is None or (split is not None and split_of(drawn) != split):
                draft = rng.choice(table[subject]).make(rng)
                drawn = finish(draft, rng, subject, rng.choice(choices)) if draft else None
            yield drawn


def generate(
    seed: int,
    size: int,
    wanted: Collection[str] | None = None,
    *,
    split: Split | None = None,
    choices: int = 4,
) -> list[LabelledQuestion]:
    """`size` questions that differ in content, subjects in equal shares until a subject runs dry, in a fixed order.

    Deterministic in its arguments. `split` limits them to one split. Ids are `gen-` and the first 12 digits of the
    content's key, so the same problem has the same id in every bank. ValueError when the families cannot give as many.
    """
    rng = random.Random(f"bank-{seed}")
    table = by_subject(wanted)
    seen: set[str] = set()
    out: list[LabelledQuestion] = []
    while len(out) < size and table:
        for subject in list(table):
            if len(out) == size:
                break
            question = None
            while table[subject] and question is None:
                family = rng.choice(table[subject])
                question = _new(family, rng, seen, split, choices)
                if question is None:
                    table[subject].remove(family)
            if question is None:
                del table[subject]
            else:
                out.append(question)
    if len(out) < size:
        raise ValueError(
            f"the families gave only {len(out)} different questions of {size}; ask for fewer, or for more subjects"
        )
    return out


def _new(
    family: Family, rng: random.Random, seen: set[str], split: Split | None, choices: int
) -> LabelledQuestion | None:
    for _ in range(PATIENCE):
        draft = family.make(rng)
        drawn = finish(draft, rng, family.subject, choices) if draft else None
        if drawn is None or (split is not None and split_of(drawn) != split):
            continue
        key = content_key(drawn.question)
        if key not in seen:
            seen.add(key)
            q = drawn.question
            return LabelledQuestion(Question(q.stem, q.choices, q.code, f"gen-{key[:12]}", q.subject), drawn.answer)
    return None
