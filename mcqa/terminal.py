"""How the verbs print: answers with bars, errors on one line, progress on stderr so that stdout can be piped."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.rule import Rule
from rich.style import Style
from rich.table import Table
from rich.text import Text, TextType

from common.question import LETTERS, Answer, Question
from mcqa import stdio
from pipelines.evaluation.report_table import bar

BAR_WIDTH = 20
RULE_WIDTH = 60
UNLIMITED_WIDTH = 1_000_000
MAX_DETAILS = 10

_UNSAFE = {
    **{code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"},
    **dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A))),
}
"""Control characters are replaced; what overrides the direction of the text around it is left out."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would end the process with code 1 here; `cli` handles the exception."""
        raise BrokenPipeError

    @property
    def size(self) -> ConsoleDimensions:
        """A file or a pipe has no edge to wrap at, unless COLUMNS sets a width."""
        if self.is_terminal or self._width is not None:
            return super().size
        return ConsoleDimensions(UNLIMITED_WIDTH, 25)

    @size.setter
    def size(self, size: tuple[int, int]) -> None:
        self._width, self._height = size

    def rule(self, title: TextType = "", *, style: str | Style = "rule.line", **options: Any) -> None:
        width = None if self.is_terminal else min(self.width, RULE_WIDTH)
        self.print(Rule(title, style=style, **options), width=width)


out = _Console(highlight=False)
err = _Console(stderr=True, highlight=False)


def line(text: str, end: str = "\n") -> None:
    """Text for programs, or from somebody else: on stdout as it is, immediately."""
    if sys.stdout is not None:
        sys.stdout.write(text + end)
        sys.stdout.flush()


def without_control_characters(text: str) -> str:
    """What a model, a server or a file says must not move the cursor, reorder other text, or worse."""
    return text.replace("\r\n", "\n").translate(_UNSAFE)


def json_line(data: Any, indent: int | None = None) -> None:
    """JSON as people read it; with escapes, which is the same JSON, where stdout cannot encode it."""
    text = json.dumps(data, ensure_ascii=False, indent=indent)
    line(text if stdio.can_encode(text, sys.stdout) else json.dumps(data, indent=indent))


def error(message: str, details: Sequence[str] = ()) -> None:
    """One line whatever the terminal's width, so that it can be grepped; below it the first details, one per line."""
    with suppress(OSError):  # the exit code reports it, too
        err.print(f"[bold red]error:[/] {escape(_one_line(message))}", soft_wrap=True)
        for detail in details[:MAX_DETAILS]:
            err.print(f"  {escape(_one_line(detail))}", soft_wrap=True)
        if len(details) > MAX_DETAILS:
            err.print(f"  and {len(details) - MAX_DETAILS} more", soft_wrap=True)


def _one_line(text: str) -> str:
    """Without control characters: an error may quote text from anybody."""
    return "".join(character if character.isprintable() else "\ufffd" for character in " ".join(text.split()))


def interrupted(message: str = "interrupted") -> None:
    if err.is_terminal:
        err.print()  # the terminal has echoed ^C
    note(message)


def note(message: str, command: str = "") -> None:
    """An aside on stderr; see `sentence`."""
    _prose(err, message, command, "dim")


def row(markup: str) -> None:
    """One line of a list: cut at a terminal's edge, whole in a file or a pipe."""
    if out.is_terminal:
        out.print(markup, no_wrap=True, overflow="ellipsis")
    else:
        out.print(markup, soft_wrap=True)


def sentence(text: str, command: str = "", style: str = "dim") -> None:
    """Prose: wrapped between words at a terminal's edge, one line in a file or a pipe.

    `command` is what to type: it is never broken, so that it can be copied, but gets its own line where needed.
    """
    _prose(out, text, command, style)


def _prose(console: Console, text: str, command: str, style: str) -> None:
    text = without_control_characters(text)
    together = f"{text}  {command}" if command else text
    if not console.is_terminal or (command and cell_len(together) <= console.width):
        console.print(Text(together, style=style), soft_wrap=True)
        return
    console.print(Text(text, style=style))
    if command:
        console.print(Text(f"  {command}", style=style), soft_wrap=True)


def hanging(head: str, text: str) -> None:
    """`head`, which is markup, and prose that stays to the right of it where a terminal's edge wraps it."""
    table = Table.grid()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(head, Text(text))
    out.print(table)


def plain_table(gap: int = 2, **options: Any) -> Table:
    """A table without lines, its columns `gap` spaces apart."""
    return Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), **options)


def question_view(question: Question) -> RenderableType:
    """The stem, and the code highlighted."""
    parts: list[RenderableType] = [Text(without_control_characters(question.stem), style="bold")]
    if question.code:
        from rich.syntax import Syntax

        source = without_control_characters(question.code)
        code: RenderableType = Text(source)
        if out.is_terminal:  # it pads its lines with spaces
            code = Syntax(source, "python", background_color="default", word_wrap=True)
        parts += ["", Padding.indent(code, 2)]
    return Group(*parts)


def answer_view(
    question: Question, answer: Answer, *, correct_index: int | None = None, note: str = ""
) -> RenderableType:
    """Choices with probability bars, the chosen one marked, one line of figures; right or wrong where known."""
    table = plain_table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    choices = [without_control_characters(choice) for choice in question.choices]
    for i, (choice, probability) in enumerate(zip(choices, answer.probabilities, strict=True)):
        chosen = i == answer.index
        style = "bold green" if chosen and correct_index in (None, i) else "bold red" if chosen else ""
        table.add_row(
            Text(f"{'▶' if chosen else ' '} {LETTERS[i]}", style=style),
            Text(bar(probability, BAR_WIDTH).ljust(BAR_WIDTH), style="green" if chosen else "blue"),
            f"{probability:.1%}",
            Text(choice, style=style),
        )
    figures = without_control_characters(
        f"confidence {answer.confidence:.1%} · letter mass {answer.letter_mass:.3f} · version {answer.model_version}"
    )
    parts: list[RenderableType] = ["", table, "", Text(" · ".join(filter(None, [figures, note])), style="dim")]
    if correct_index is not None:
        correct = f"{LETTERS[correct_index]}, {choices[correct_index]}"
        verdict = (
            Text("✓ right", style="bold green")
            if answer.index == correct_index
            else Text(f"✗ wrong: the answer is {correct}", style="bold red")
        )
        parts.append(verdict)
    return Group(*parts)


class RateColumn(ProgressColumn):
    """Items per second, over the last stretch."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f}/s" if speed else "", style="dim")


@contextmanager
def downloads() -> Iterator[Callable[[str, int, int], None]]:
    """A bar per file on stderr with sizes and rates; the yielded function takes the file, bytes so far and in all."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with _bars(*columns, TimeRemainingColumn(), transient=False) as update:
        yield update


@contextmanager
def phases() -> Iterator[Callable[[str, int, int], None]]:
    """A bar per phase on stderr; the yielded function takes the phase's name, how much is done and the total."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn())
    with _bars(*columns, TimeRemainingColumn(), transient=True) as update:
        yield update


@contextmanager
def _bars(*columns: ProgressColumn, transient: bool) -> Iterator[Callable[[str, int, int], None]]:
    bars = Progress(*columns, console=err, transient=transient)
    tasks: dict[str, TaskID] = {}

    def update(name: str, done: int, total: int) -> None:
        bars.start()  # only now: a display without bars would leave an empty line
        if name not in tasks:
            tasks[name] = bars.add_task(escape(name), total=total or None)
        bars.update(tasks[name], completed=done, total=total or None)

    try:
        yield update
    finally:
        if tasks:
            bars.stop()
