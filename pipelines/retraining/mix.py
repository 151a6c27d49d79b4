"""What to learn from and what to be examined on: feedback and bank questions, mixed so that the old is not forgotten.

No problem is in both: feedback is split by content, and whatever the bank adds is compared with it by content.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from common.question import Question
from pipelines.bank import LabelledQuestion, Split, content_key, generate, subjects
from pipelines.retraining.feedback import Feedback, data_digest, held_out


class DataError(ValueError):
    """There is too little to learn from; the message says what was found and what it takes."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many questions of each kind. `replay_share` of what is learned from at each moment is of old subjects.

    `holdout_share` of the feedback examines; `current` and `old` questions of today's and of the old mix are asked
    for the gate, `recent` for the drift reference. `bank` questions of the new subjects are added to learn from.
    """

    minimum: int = 200
    holdout_share: float = 0.25
    replay: int = 2000
    replay_share: float = 0.4
    bank: int = 0
    current: int = 800
    old: int = 1000
    recent: int = 2000

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Sizes:
        """From a pipeline's parameter, where every number is a float; DataError names an unknown option."""
        known = {f.name for f in fields(cls)}
        if unknown := options.keys() - known:
            raise DataError(f"no data option {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
        shares = ("holdout_share", "replay_share")
        values: dict[str, Any] = {name: float(v) if name in shares else int(v) for name, v in options.items()}
        return cls(**values)

    def __post_init__(self) -> None:
        if not 0 < self.holdout_share < 1 or not 0 <= self.replay_share < 1:
            raise DataError("holdout_share must be above 0 and below 1, replay_share at least 0 and below 1")


@dataclass(frozen=True, slots=True)
class Mix:
    """`new` and `old` questions to learn from, `current` and `old_holdout` to be examined on, `recent` unlabelled.

    `learned`: the subjects that a version knows after learning from this.
    """

    new: tuple[LabelledQuestion, ...]
    old: tuple[LabelledQuestion, ...]
    current: tuple[LabelledQuestion, ...]
    old_holdout: tuple[LabelledQuestion, ...]
    recent: tuple[Question, ...]
    learned: tuple[str, ...]

    @property
    def digest(self) -> str:
        return data_digest((self.new, self.old, self.current, self.old_holdout))


def mix(feedback: Feedback, asked: Sequence[Question], known: Collection[str], sizes: Sizes, seed: int) -> Mix:
    """`asked` are recent questions, the latest first; `known` the subjects that the champion has learned.

    New is what feedback says of subjects the champion has not learned, or of any where there are no such.
    Raises DataError below `sizes.minimum` labelled questions.
    """
    if len(feedback.questions) < sizes.minimum:
        raise DataError(
            f"{len(feedback.questions)} different labelled questions ({feedback.rows} rows of feedback, "
            f"{feedback.unusable} of them unusable), at least {sizes.minimum} needed"
        )
    train = [one for one in feedback.questions if not held_out(one.question, sizes.holdout_share)]
    examined = [one for one in feedback.questions if held_out(one.question, sizes.holdout_share)]
    new = [one for one in train if one.subject not in known] or train
    familiar = [one for one in train if one.subject in known] if len(new) < len(train) else []
    seen = _keys(feedback.questions)
    shifted = sorted({one.subject for one in new} & set(subjects()))
    # A problem that bank and feedback share is examined or learned from as feedback's split says.
    if sizes.bank and shifted:
        new += _fresh(_drawn(seed, sizes.bank, shifted, "train"), seen)
    taught = sorted(set(known) & set(subjects()))
    share = sizes.replay_share
    replay = max(sizes.replay, math.ceil(len(new) * share / (1 - share)) - len(familiar)) if share else 0
    old = familiar + _fresh(_drawn(seed + 1, replay, taught, "train"), seen)
    current = _topped_up(examined, sizes.current, seed + 2, seen)
    old_holdout = _fresh(_drawn(seed + 3, sizes.old, taught, "holdout"), seen)
    # Answers to what it was trained on are surer than live traffic's will be, and would look like a drift back.
    trained = _keys((*new, *old))
    recent = [q for q in asked if content_key(q) not in trained][: sizes.recent]
    recent += [one.question for one in current][: max(0, sizes.recent // 2 - len(recent))]
    learned = sorted(set(known) | {one.question.subject for one in new if one.question.subject})
    return Mix(tuple(new), tuple(old), tuple(current), tuple(old_holdout), tuple(recent), tuple(learned))


def balanced(
    new: Sequence[LabelledQuestion], old: Sequence[LabelledQuestion], replay_share: float
) -> list[LabelledQuestion]:
    """One epoch: all of both, the smaller part repeated until `replay_share` of the whole is old, as nearly as can be.

    A question is repeated, never left out; training shuffles the choices anew at each view.
    """
    if not new or not old or replay_share <= 0:
        return [*new, *old]
    wanted = len(new) * replay_share / (1 - replay_share)
    if wanted > len(old):
        return [*new, *_repeated(old, round(wanted))]
    return [*_repeated(new, round(len(old) * (1 - replay_share) / replay_share)), *old]


def _repeated(questions: Sequence[LabelledQuestion], size: int) -> list[LabelledQuestion]:
    times, rest = divmod(size, len(questions))
    return [*questions] * times + random.Random(size).sample(list(questions), rest)


def _topped_up(
    examined: Sequence[LabelledQuestion], size: int, seed: int, seen: Collection[str]
) -> list[LabelledQuestion]:
    """At most `size` of feedback's held-out questions; where there are fewer, the bank's of the same subjects.

    Only where the bank knows every subject, and in feedback's own shares: the mix must stay today's.
    """
    kept = sorted(examined, key=lambda one: one.question.id or "")[:size]
    shares = Counter(one.subject for one in examined)
    if not set(shares) <= set(subjects()):
        return kept
    missing = size - len(kept)
    more = [
        question
        for number, (subject, count) in enumerate(sorted(shares.items()))
        for question in _drawn(seed + 100 + number, round(missing * count / len(examined)), [subject], "holdout")
    ]
    return kept + _fresh(more, seen)


def _drawn(seed: int, size: int, wanted: Sequence[str], split: Split) -> list[LabelledQuestion]:
    """As many of the bank's questions as there are, up to `size`."""
    while wanted and size > 0:
        try:
            return generate(seed, size, wanted, split=split)
        except ValueError:  # The families ran dry.
            size = size * 3 // 4
    return []


def _fresh(questions: Iterable[LabelledQuestion], seen: Collection[str]) -> list[LabelledQuestion]:
    return [one for one in questions if content_key(one.question) not in seen]


def _keys(questions: Iterable[LabelledQuestion]) -> set[str]:
    return {content_key(one.question) for one in questions}
