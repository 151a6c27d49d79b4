"""What two versions answered to the same questions, one by one.

From the evaluations of the retraining pipeline (`answers.jsonl`): one in which both answered, else two that share
questions. Without such, from the loop's database: the newest answers of each to questions of the same content, with the
labels that people gave. Choices are compared by their text, as the same question may come in another order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from common.errors import SettingError, UnavailableError
from common.mlflow import runs
from common.names import CHALLENGER, CHAMPION
from common.proportions import paired_interval
from common.question import LETTERS, Question, QuestionError, parse_question
from mcqa.readmodels.evaluations import champion_runs, own_run
from mcqa.readmodels.versions import registry

if TYPE_CHECKING:
    from common.mlflow.registry import ModelRegistry

Outcome = Literal["only-version", "only-against", "both-wrong", "both-right", "different", "same"]
OUTCOMES: tuple[Outcome, ...] = ("only-version", "only-against", "both-wrong", "both-right", "different", "same")
"""Who was right; the last two where nobody has said what is right, and only the choices can be compared."""
ANSWERS = 2_000
"""Answers of each version that are looked at in the database, the newest."""
LEVEL = 0.025
"""Each end of an interval errs with this probability: 95% together."""


class Chosen(TypedDict):
    """The index of a choice of the item, and its probability where it is known."""

    choice: int
    confidence: float | None


class Item(TypedDict):
    """One question. `right` is the index of the right choice, None where nobody has said it."""

    id: str
    mix: str
    subject: str
    question: str
    code: str | None
    choices: list[str]
    right: int | None
    version: Chosen
    against: Chosen
    outcome: Outcome


class SubjectCounts(TypedDict):
    """Right answers of each among `questions` labelled ones of the subject."""

    subject: str
    questions: int
    version: int
    against: int


class ComparisonFacts(TypedDict):
    """`difference` is the version's accuracy less the other's, with its 95% interval (Tango's, of paired answers).

    None without labelled questions. `source`: one evaluation, two that share questions, the database's answers, or none
    of them. `without` names the versions that no evaluation with single answers is stored of. `problem` says why the
    database could not be asked.
    """

    version: str
    against: str
    source: Literal["evaluation", "evaluations", "answers", "none"]
    questions: int
    labelled: int
    outcomes: dict[Outcome, int]
    difference: dict[str, float] | None
    subjects: list[SubjectCounts]
    items: list[Item]
    without: list[str]
    problem: str | None


@dataclass(frozen=True, slots=True)
class Given:
    """What one version answered to a question. `chosen` and `right` index its choices."""

    question: Question
    chosen: int
    right: int | None
    confidence: float | None = None
    mix: str = ""


@dataclass(slots=True)
class _Evaluations:
    """Of one version: its answers by run and content."""

    by_run: dict[str, dict[str, Given]] = field(default_factory=dict)

    def all(self) -> dict[str, Given]:
        """By content; of several the newest run's, which comes first."""
        merged: dict[str, Given] = {}
        for answers in self.by_run.values():
            merged = {**answers, **merged}
        return merged


def read(environ: Mapping[str, str], version: str, against: str) -> ComparisonFacts:
    """Raises as readmodels/versions.py does where MLflow does not answer; without a database, `problem` says so."""
    with registry(environ) as client:
        ours, theirs = (_evaluations(client, number) for number in (version, against))
    without = [
        number for number, found in ((version, ours), (against, theirs)) if not any(found.by_run.values())
    ]  # fmt: skip
    shared = next((run for run in ours.by_run if run in theirs.by_run), None)
    if shared is not None and ours.by_run[shared]:
        items = list(pair(ours.by_run[shared], theirs.by_run[shared]))
        return _facts(version, against, "evaluation", items, without)
    if items := list(pair(ours.all(), theirs.all())):
        return _facts(version, against, "evaluations", items, without)
    try:
        items = list(pair(_logged(environ, version), _logged(environ, against)))
    except (SettingError, UnavailableError) as error:
        return _facts(version, against, "none", [], without, str(error))
    return _facts(version, against, "answers" if items else "none", items, without)


def pair(ours: Mapping[str, Given], theirs: Mapping[str, Given]) -> Iterator[Item]:
    """The questions that both answered, by content, in the order of `ours`."""
    for key, mine in ours.items():
        other = theirs.get(key)
        if other is None:
            continue
        places = {choice: place for place, choice in enumerate(mine.question.normalised().choices)}
        normalised = other.question.normalised().choices
        chosen = places[normalised[other.chosen]]
        right = mine.right
        if right is None and other.right is not None:
            right = places[normalised[other.right]]
        yield {
            "id": mine.question.id or "",
            "mix": mine.mix,
            "subject": mine.question.subject or "",
            "question": mine.question.stem,
            "code": mine.question.code,
            "choices": list(mine.question.choices),
            "right": right,
            "version": {"choice": mine.chosen, "confidence": mine.confidence},
            "against": {"choice": chosen, "confidence": other.confidence},
            "outcome": outcome(mine.chosen, chosen, right),
        }


def outcome(version: int, against: int, right: int | None) -> Outcome:
    if right is None:
        return "same" if version == against else "different"
    if version == right:
        return "both-right" if against == right else "only-version"
    return "only-against" if against == right else "both-wrong"


def content(question: Question) -> str:
    """What a question is, whatever the order of its choices."""
    plain = question.normalised()
    return json.dumps([plain.stem, plain.code, sorted(plain.choices)])


def _facts(
    version: str,
    against: str,
    source: Literal["evaluation", "evaluations", "answers", "none"],
    items: list[Item],
    without: list[str],
    problem: str | None = None,
) -> ComparisonFacts:
    counted = Counter(item["outcome"] for item in items)
    gained, lost = counted["only-version"], counted["only-against"]
    labelled = sum(item["right"] is not None for item in items)
    difference = None
    if labelled:
        low, high = paired_interval(gained, lost, labelled, LEVEL)
        difference = {"value": (gained - lost) / labelled, "low": low, "high": high}
    return {
        "version": version,
        "against": against,
        "source": source,
        "questions": len(items),
        "labelled": labelled,
        "outcomes": {name: counted[name] for name in OUTCOMES},
        "difference": difference,
        "subjects": _by_subject(items),
        "items": sorted(items, key=lambda item: OUTCOMES.index(item["outcome"])),
        "without": without,
        "problem": problem,
    }


def _by_subject(items: Iterable[Item]) -> list[SubjectCounts]:
    subjects: dict[str, SubjectCounts] = {}
    for item in items:
        if item["right"] is None:
            continue
        name = item["subject"]
        row = subjects.setdefault(name, {"subject": name, "questions": 0, "version": 0, "against": 0})
        row["questions"] += 1
        row["version"] += item["version"]["choice"] == item["right"]
        row["against"] += item["against"]["choice"] == item["right"]
    return [subjects[name] for name in sorted(subjects)]


def _evaluations(client: ModelRegistry, version: str) -> _Evaluations:
    found = client.version(version)
    evaluations = _Evaluations()
    if found is None:
        return evaluations
    own = own_run(client, found)
    sides = [(run, CHAMPION) for run in champion_runs(client, version)]
    for run, side in [*([(own, CHALLENGER)] if own else []), *sides]:
        if runs.CHAMPION_TAG not in run.tags:
            continue
        content = runs.read_file(client, run, runs.ANSWERS_FILE)
        if content is not None:
            evaluations.by_run[run.run_id] = dict(_answers(content, side))
    return evaluations


def _answers(lines: bytes, side: str) -> Iterator[tuple[str, Given]]:
    """The answers of answers.jsonl of one side by content; a line that is none is left out."""
    for line in lines.decode("utf-8", "replace").split("\n"):
        try:
            row: Any = json.loads(line)
            chosen, confidence = int(row[side]["chosen"]), max(map(float, row[side]["probabilities"]))
            fields = ("question", "choices", "code", "id", "subject")
            question = parse_question({name: row[name] for name in fields if name in row})
            right, mix = int(row["answer"]), str(row["mix"])
        except (ValueError, KeyError, TypeError, RecursionError):  # QuestionError is a ValueError
            continue
        if all(0 <= place < len(question.choices) for place in (chosen, right)):
            yield content(question), Given(question, chosen, right, confidence, mix)


def _logged(environ: Mapping[str, str], version: str) -> dict[str, Given]:
    """The version's newest answers in the database by content; of a question asked often the newest that is labelled.

    A version that answered nothing has none.
    """
    from functions.collect.queries import newest_answers
    from functions.database import connect, transaction

    found: dict[str, Given] = {}
    with transaction(connect(environ)) as connection:
        for row in newest_answers(connection, version, ANSWERS):
            try:
                question = parse_question(row.question)
            except QuestionError:
                continue
            chosen = LETTERS.find(row.letter or "?")
            if not 0 <= chosen < len(question.choices):
                continue
            right = LETTERS.index(row.label) if row.label else None
            given = Given(question, chosen, right, row.confidence)
            key = content(question)
            if key not in found or (found[key].right is None and right is not None):
                found[key] = given
    return found
