"""`mcqa bank`: the questions that there are, and a sample or all of them as JSON lines."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mcqa import questions, terminal
from mcqa.errors import CommandError

if TYPE_CHECKING:
    from pipelines.bank import LabelledQuestion


def bank(
    name: Annotated[str, typer.Argument(help=f"Which bank: {questions.BANKS}.")] = "generated",
    subject: Annotated[list[str] | None, typer.Option("--subject", "-s", help="Only this subject; repeatable.")] = None,
    split: Annotated[questions.SplitName, typer.Option(help="Part of the bank.")] = "all",
    seed: Annotated[int, typer.Option(help="Seed of the generated bank and of the sample.")] = 0,
    sample: Annotated[int | None, typer.Option(min=1, help="Show this many questions with their answers.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the questions as JSON lines (the sample, where one is drawn).")
    ] = None,
) -> None:
    """Show the question bank: subjects, splits, samples."""
    labelled = questions.load_bank(name, split=split, subjects=subject or (), limit=sample, seed=seed)
    if out is not None:
        _write(labelled, out)
    elif sample is None:
        terminal.out.print(_table(labelled))
    else:
        for i, item in enumerate(labelled):
            if i:
                terminal.out.rule(style="dim")
            _show(item)


def _write(labelled: Sequence[LabelledQuestion], out: Path) -> None:
    from pipelines import bank as bank_source

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        bank_source.dump_jsonl(labelled, out)
    except OSError as error:
        raise CommandError(f"cannot write {out}: {error.strerror}") from None
    terminal.note(f"wrote {len(labelled)} questions to {out}")


def _table(labelled: Sequence[LabelledQuestion]) -> Table:
    from pipelines import bank as bank_source

    by_subject: dict[str, Counter[str]] = defaultdict(Counter)
    for item in labelled:
        by_subject[item.question.subject or ""][bank_source.split_of(item.question)] += 1
    table = terminal.plain_table(show_footer=True)
    splits = ("train", "validation", "holdout")
    table.add_column("subject", style="cyan", footer="all")
    for split in splits:
        table.add_column(split, justify="right", footer=str(sum(count[split] for count in by_subject.values())))
    table.add_column("questions", justify="right", footer=str(len(labelled)))
    for name, count in sorted(by_subject.items()):
        table.add_row(name or "(none)", *(str(count[split]) for split in splits), str(count.total()))
    return table


def _show(labelled: LabelledQuestion) -> None:
    question = labelled.question
    terminal.out.print(f"{question.subject or ''} {question.id or ''}".strip(), style="dim", markup=False)
    terminal.out.print(terminal.question_view(question))
    terminal.out.print()
    for i, choice in enumerate(question.choices):
        correct = i == labelled.answer
        line = f"{'▶' if correct else ' '} {question.letters[i]}  {choice}"
        terminal.out.print(line, style="bold green" if correct else "", markup=False)
