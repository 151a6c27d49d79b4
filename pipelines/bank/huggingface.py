"""Public multiple-choice banks from the Hugging Face hub, read with the `datasets` library when it is installed.

CodeMMLU (https://huggingface.co/datasets/Fsoft-AIC/CodeMMLU, arXiv 2410.01999): one configuration per subject, split
`test`; columns `task_id`, `question`, `choices` (a list) and `answer` (a letter), in some configurations
`problem_description`. MMLU (https://huggingface.co/datasets/cais/mmlu, arXiv 2009.03300): one configuration per
subject; columns `question`, `subject`, `choices` (four strings) and `answer` (0 to 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from common.question import LETTERS, QuestionError
from pipelines.bank.jsonl import BankError, label
from pipelines.bank.labelled_question import LabelledQuestion

CODEMMLU = "Fsoft-AIC/CodeMMLU"
CODEMMLU_SUBJECTS = (
    "api_frameworks",
    "code_completion",
    "code_repair",
    "dbms_sql",
    "execution_prediction",
    "fill_in_the_middle",
    "others",
    "programming_syntax",
    "software_principles",
)
MMLU = "cais/mmlu"
MMLU_SUBJECTS = ("college_computer_science", "computer_security", "high_school_computer_science", "machine_learning")


def codemmlu_question(row: Mapping[str, Any], number: int = 0, *, subject: str) -> LabelledQuestion:
    """One row of CodeMMLU, which has an id of its own; QuestionError names the field that cannot be used."""
    description, stem = row.get("problem_description"), row.get("question")
    if description and isinstance(stem, str):
        stem = f"{str(description).strip()}\n\n{stem.strip()}"
    letter = str(row.get("answer") or "").strip().upper().rstrip(".")
    if len(letter) != 1 or letter not in LETTERS:
        raise QuestionError(
            "answer", f"must be a letter from {LETTERS[0]} to {LETTERS[-1]}, found {row.get('answer')!r}"
        )
    return _question(stem, row, LETTERS.index(letter), f"codemmlu-{row.get('task_id')}", f"codemmlu/{subject}")


def mmlu_question(row: Mapping[str, Any], number: int, *, subject: str) -> LabelledQuestion:
    """One row of MMLU, whose rows have no id of their own: `number` is its place in the split."""
    return _question(row.get("question"), row, row.get("answer"), f"mmlu-{subject}-{number}", f"mmlu/{subject}")


def load_codemmlu(subjects: Iterable[str] = CODEMMLU_SUBJECTS) -> list[LabelledQuestion]:
    """The chosen subjects of CodeMMLU, from the hub or its local cache."""
    bank: list[LabelledQuestion] = []
    for subject in subjects:
        bank += usable(CODEMMLU, _rows(CODEMMLU, subject, "test"), partial(codemmlu_question, subject=subject))
    return bank


def load_mmlu(subjects: Iterable[str] = MMLU_SUBJECTS, split: str = "test") -> list[LabelledQuestion]:
    """The chosen subjects of MMLU, from the hub or its local cache."""
    bank: list[LabelledQuestion] = []
    for subject in subjects:
        bank += usable(MMLU, _rows(MMLU, subject, split), partial(mmlu_question, subject=subject))
    return bank


def usable(
    name: str, rows: Iterable[Mapping[str, Any]], convert: Callable[[Mapping[str, Any], int], LabelledQuestion]
) -> list[LabelledQuestion]:
    """The rows that are valid questions; public sets have a few with repeated or empty choices, which are left out.

    BankError when more than a tenth are not valid: then the columns are not those that this module knows.
    """
    valid: list[LabelledQuestion] = []
    faults: list[str] = []
    for number, row in enumerate(rows):
        try:
            valid.append(convert(row, number))
        except QuestionError as error:
            faults.append(f"row {number}: {error}")
    if not valid or len(faults) > 0.1 * (len(valid) + len(faults)):
        first = faults[0] if faults else "there are no rows"
        raise BankError(
            f"{name}: {len(faults)} of {len(valid) + len(faults)} rows are not valid questions; the first: {first}"
        )
    return valid


def _question(stem: Any, row: Mapping[str, Any], answer: Any, key: str, subject: str) -> LabelledQuestion:
    choices = row.get("choices")
    data = {"question": stem, "choices": list(choices) if choices is not None else None, "answer": answer}
    return label({**data, "id": key, "subject": subject})


def _rows(name: str, configuration: str, split: str) -> Iterable[Mapping[str, Any]]:
    try:
        import datasets
    except ImportError:
        raise BankError(f"{name} needs the datasets library; run: pip install datasets") from None
    try:
        rows: Iterable[Mapping[str, Any]] = datasets.load_dataset(name, configuration, split=split)
    except Exception as error:  # noqa: BLE001 - for 'no network' it raises errors of half a dozen libraries
        first = (str(error).splitlines() or [""])[0][:200]
        raise BankError(
            f"{name}/{configuration} could not be loaded ({type(error).__name__}: {first}); is this machine online?"
        ) from None
    return rows
