"""Training and holdout data: feedback and bank questions, mixed so that the old subjects are not forgotten.

No problem is in both: feedback is split by content, and what the bank adds is compared with it by content.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from common.limits import MIN_LABELLED_QUESTIONS
from common.question import Question
from pipelines.bank import LabelledQuestion, Split, content_key, generate, subjects
from pipelines.retraining.feedback import Feedback, data_digest, held_out


class DataError(ValueError):
    """There is too little data to learn from; the message says what was found and what is needed."""


@dataclass(frozen=True, slots=True)
class DatasetSizes:
    """How many questions of each kind. `replay_share` of the training data is of old subjects.

    `holdout_share` of the feedback is held out. The gate asks `current` questions of the current mix and `old` ones of
    the old mix, the drift reference `recent` ones. `bank` questions of the new subjects are added to the training data.
    """

    minimum: int = MIN_LABELLED_QUESTIONS
    holdout_share: float = 0.25
    replay: int = 2000
    replay_share: float = 0.4
    bank: int = 0
    current: int = 800
    old: int = 1000
    recent: int = 2000

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> DatasetSizes:
        """From a pipeline's parameter, where every number is a float; DataError names an unknown option."""
        known = {field.name for field in fields(cls)}
        if unknown := options.keys() - known:
            raise DataError(f"there is no data option {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
        shares = ("holdout_share", "replay_share")
        values: dict[str, Any] = {name: float(v) if name in shares else int(v) for name, v in options.items()}
        return cls(**values)

    def __post_init__(self) -> None:
        if not 0 < self.holdout_share < 1 or not 0 <= self.replay_share < 1:
            raise DataError("holdout_share must be above 0 and below 1, replay_share at least 0 and below 1")


@dataclass(frozen=True, slots=True)
class RetrainingDataset:
    """`new` and `old` questions to train on, `current` and `old_holdout` to evaluate on, `recent` without labels.

    `learned`: the subjects that a version knows after training on this.
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


def build_dataset(
    feedback: Feedback, asked: Sequence[Question], known: Collection[str], sizes: DatasetSizes, seed: int
) -> RetrainingDataset:
    """`asked` are recent questions, the latest first; `known` the subjects that the champion has learned.

    New is the feedback on subjects that the champion has not learned, or all of it where there is none such. Raises
    DataError below `sizes.minimum` labelled questions.
    """
    if len(feedback.questions) < sizes.minimum:
        raise DataError(
            f"{len(feedback.questions)} different labelled questions ({feedback.rows} rows of feedback, "
            f"{feedback.unusable} of them unusable), at least {sizes.minimum} needed"
        )
    train = [item for item in feedback.questions if not held_out(item.question, sizes.holdout_share)]
    holdout = [item for item in feedback.questions if held_out(item.question, sizes.holdout_share)]
    new = [item for item in train if item.subject not in known] or train
    old_feedback = [item for item in train if item.subject in known] if len(new) < len(train) else []
    seen = _keys(feedback.questions)
    new_subjects = sorted({item.subject for item in new} & set(subjects()))
    # A problem that bank and feedback share is on the side that the feedback's split puts it on.
    if sizes.bank and new_subjects:
        new += _without(_draw(seed, sizes.bank, new_subjects, "train"), seen)
    bank_subjects = sorted(set(known) & set(subjects()))
    share = sizes.replay_share
    replay = max(sizes.replay, math.ceil(len(new) * share / (1 - share)) - len(old_feedback)) if share else 0
    old = old_feedback + _without(_draw(seed + 1, replay, bank_subjects, "train"), seen)
    current = _top_up(holdout, sizes.current, seed + 2, seen)
    old_holdout = _without(_draw(seed + 3, sizes.old, bank_subjects, "holdout"), seen)
    # Answers to training questions are more confident than live traffic's will be, and would look like a drift back.
    trained = _keys((*new, *old))
    recent = [q for q in asked if content_key(q) not in trained][: sizes.recent]
    recent += [item.question for item in current][: max(0, sizes.recent // 2 - len(recent))]
    learned = sorted(set(known) | {item.question.subject for item in new if item.question.subject})
    return RetrainingDataset(tuple(new), tuple(old), tuple(current), tuple(old_holdout), tuple(recent), tuple(learned))


def balanced_epoch(
    new: Sequence[LabelledQuestion], old: Sequence[LabelledQuestion], replay_share: float
) -> list[LabelledQuestion]:
    """One epoch: all of both, the smaller part repeated until as nearly as possible `replay_share` of the whole is old.

    Questions are repeated, never left out; training shuffles the choices again at each view.
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


def _top_up(holdout: Sequence[LabelledQuestion], size: int, seed: int, seen: Collection[str]) -> list[LabelledQuestion]:
    """At most `size` of the feedback's held-out questions; where there are fewer, the bank's of the same subjects too.

    Only where the bank knows every subject, and in the feedback's proportions: the mix must stay the current one.
    """
    kept = sorted(holdout, key=lambda item: item.question.id or "")[:size]
    shares = Counter(item.subject for item in holdout)
    if not set(shares) <= set(subjects()):
        return kept
    missing = size - len(kept)
    more = [
        question
        for number, (subject, count) in enumerate(sorted(shares.items()))
        for question in _draw(seed + 100 + number, round(missing * count / len(holdout)), [subject], "holdout")
    ]
    return kept + _without(more, seen)


def _draw(seed: int, size: int, wanted: Sequence[str], split: Split) -> list[LabelledQuestion]:
    """Up to `size` of the bank's questions, as many as there are."""
    while wanted and size > 0:
        try:
            return generate(seed, size, wanted, split=split)
        except ValueError:  # The families ran dry.
            size = size * 3 // 4
    return []


def _without(questions: Iterable[LabelledQuestion], seen: Collection[str]) -> list[LabelledQuestion]:
    return [item for item in questions if content_key(item.question) not in seen]


def _keys(questions: Iterable[LabelledQuestion]) -> set[str]:
    return {content_key(item.question) for item in questions}
