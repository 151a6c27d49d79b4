"""How a family writes a question: running a template gives the right answer, running near misses the distractors.

The code that is executed here comes from the fixed templates of `families/`, filled with our own small literals. Only
for that reason it runs in this process; nothing that a user or a data set wrote ever reaches these functions.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

from common.question import MAX_CHOICES, Question
from pipelines.bank.labelled_question import LabelledQuestion

PRINTS = "What does this code print?"
PRINTS_LINES = "What does this code print, lines joined by spaces?"
VALUE = "What is the value of this expression?"
NAMES = ("x", "y", "n", "k", "s", "t", "m", "v", "w", "z", "p", "q")


@dataclass(frozen=True, slots=True)
class Draft:
    """A question before its choices are drawn. Duplicates and the right answer are dropped from `wrong`."""

    stem: str
    right: str
    wrong: tuple[str, ...]
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """One concept: `make` is a pure function of the random generator; None means that it has to be called again."""

    name: str
    subject: str
    make: Callable[[random.Random], Draft | None]


def outcome(code: str) -> str:
    """What the code prints, lines joined by a space, then the name of the exception it ends with, if any."""
    lines: list[str] = []

    def capture(*values: object, sep: str = " ", end: str = "\n") -> None:
        lines.append(sep.join(map(str, values)) + ("" if end == "\n" else end))

    try:
        exec(code, {"print": capture, "__name__": "question"})
    except Exception as error:  # noqa: BLE001 - its name is the answer, whatever the template raises
        lines.append(type(error).__name__)
    return " ".join(lines)


def value(expression: str) -> str:
    """The repr of the expression's value, or the name of the exception that it raises."""
    try:
        return repr(eval(expression, {"__name__": "question"}))
    except Exception as error:  # noqa: BLE001 - its name is the answer, whatever the template raises
        return type(error).__name__


def ran(code: str, mistakes: Iterable[str], extra: Iterable[str] = (), stem: str = PRINTS) -> Draft:
    """A question about what `code` prints; each mistake is code too, and its output is a distractor."""
    return Draft(stem, outcome(code), (*map(outcome, mistakes), *extra), code)


def posed(
    rng: random.Random,
    template: str,
    values: Mapping[str, Any],
    mistakes: Sequence[str],
    extra: Iterable[str] = (),
    *,
    bare: float = 0.4,
) -> Draft:
    """The expression `template` ($a, $b … filled with `values`), bare or printed from variables with random names.

    `mistakes` are templates too: what someone with a wrong rule in mind would compute.
    """
    if rng.random() < bare:
        literals = {name: repr(v) for name, v in values.items()}
        code = Template(template).substitute(literals)
        return Draft(VALUE, value(code), (*(value(Template(m).substitute(literals)) for m in mistakes), *extra), code)
    names = dict(zip(values, rng.sample(NAMES, len(values)), strict=True))
    head = "".join(f"{names[name]} = {v!r}\n" for name, v in values.items())

    def printing(t: str) -> str:
        return f"{head}print({Template(t).substitute(names)})"

    return ran(printing(template), map(printing, mistakes), extra)


def around(text: str) -> tuple[str, ...]:
    """Integers close to the right one, for off-by-one distractors; nothing when it is not an integer."""
    try:
        n = int(text)
    except ValueError:
        return ()
    return tuple(str(n + d) for d in (1, -1, 2, -2))


def finish(draft: Draft, rng: random.Random, subject: str, choices: int = 4) -> LabelledQuestion | None:
    """The draft with `choices` shuffled choices, or None when it has too few distractors that differ from the answer.

    Two texts that differ only in white space are too similar to be fair, so they count as one.
    """
    if not 2 <= choices <= MAX_CHOICES:
        raise ValueError(f"choices must be 2 to {MAX_CHOICES}, found {choices}")
    seen, pool = {_alike(draft.right)}, []
    for text in (*draft.wrong, *around(draft.right)):
        if text.strip() and _alike(text) not in seen:
            seen.add(_alike(text))
            pool.append(text)
    if not draft.right.strip() or len(pool) < choices - 1:
        return None
    # The likeliest mistakes come first in a draft. Drawing from a few more than needed keeps sets of choices from
    # repeating, so that their pattern does not give the answer away.
    chosen = [draft.right, *rng.sample(pool[: choices + 2], choices - 1)]
    rng.shuffle(chosen)
    question = Question(draft.stem, tuple(chosen), draft.code, None, subject)
    return LabelledQuestion(question, chosen.index(draft.right))


def _alike(text: str) -> str:
    return " ".join(text.split())
