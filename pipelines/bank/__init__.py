"""The question bank: generated questions whose answers were computed by running code, and hand-written ones.

Light to import: no torch, no data sets; a bank is a list of `LabelledQuestion`.
"""

from pipelines.bank.conceptual import conceptual
from pipelines.bank.generate import HELD_OUT_SUBJECTS, generate, stream, subjects, training_subjects
from pipelines.bank.jsonl import BankError, dump_jsonl, load_jsonl
from pipelines.bank.labelled_question import LabelledQuestion
from pipelines.bank.splits import SPLITS, Split, content_key, split_of

TRAINING_SUBJECTS = training_subjects()

__all__ = [
    "HELD_OUT_SUBJECTS",
    "SPLITS",
    "TRAINING_SUBJECTS",
    "BankError",
    "LabelledQuestion",
    "Split",
    "conceptual",
    "content_key",
    "dump_jsonl",
    "generate",
    "load_jsonl",
    "split_of",
    "stream",
    "subjects",
]
