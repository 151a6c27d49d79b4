"""What the verbs print: answers with bars, errors on one line, progress on stderr so that stdout can be piped."""

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
from mcqa import streams
from pipelines.evaluation.table import bar

BAR_WIDTH = 20
RULE_WIDTH = 60
NO_EDGE = 1_000_000
MOST_DETAILS = 10


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would end the process with code 1 here; `cli` knows better."""
        raise BrokenPipeError

    @property
    def size(self) -> ConsoleDimensions:
        """What is no terminal has no edge to wrap at, unless COLUMNS says where."""
        if self.is_terminal or self._width is not None:
            return super().size
        return ConsoleDimensions(NO_EDGE, 25)

    @size.setter
    def size(self, chosen: tuple[int, int]) -> None:
        self._width, self._height = chosen

    def rule(self, title: TextType = "", *, style: str | Style = "rule.line", **options: Any) -> None:
        width = None if self.is_terminal else min(self.width, RULE_WIDTH)
        self.print(Rule(title, style=style, **options), width=width)


out = _Console(highlight=False)
err = _Console(stderr=True, highlight=False)


def line(text: str, end: str = "\n") -> None:
    """Text for programs, or somebody else's: on stdout as it is, at once."""
    if sys.stdout is not None:
        sys.stdout.write(text + end)
        sys.stdout.flush()


def json_line(data: Any, indent: int | None = None) -> None:
    """JSON as people read it; with escapes where stdout cannot write it so, which is the same JSON."""
    text = json.dumps(data, ensure_ascii=False, indent=indent)
    line(text if streams.holds(text, sys.stdout) else json.dumps(data, indent=indent))


def error(message: str, details: Sequence[str] = ()) -> None:
    """One line whatever the terminal's width, so that it can be grepped; below it one for each of some details."""
    with suppress(OSError):  # the exit code tells it, too
        err.print(f"[bold red]error:[/] {escape(_one_line(message))}", soft_wrap=True)
        for detail in details[:MOST_DETAILS]:
            err.print(f"  {escape(_one_line(detail))}", soft_wrap=True)
        if len(details) > MOST_DETAILS:
            err.print(f"  and {len(details) - MOST_DETAILS} more", soft_wrap=True)


def _one_line(text: str) -> str:
    """Without what could steer a terminal: an error may quote anybody's words."""
    return "".join(one if one.isprintable() else "\ufffd" for one in " ".join(text.split()))


def interrupted(message: str = "interrupted") -> None:
    if err.is_terminal:
        err.print()  # the terminal has echoed ^C
    note(message)


def note(message: str, command: str = "") -> None:
    """An aside on stderr; see `sentence`."""
    _prose(err, message, command, "dim")


def row(markup: str) -> None:
    """One line of a list: cut at a terminal's edge, whole for whoever reads it otherwise."""
    if out.is_terminal:
        out.print(markup, no_wrap=True, overflow="ellipsis")
    else:
        out.print(markup, soft_wrap=True)


def sentence(text: str, command: str = "", style: str = "dim") -> None:
    """Prose: wrapped between words at a terminal's edge, one line for whoever reads it otherwise.

    `command` is what to type: it is never broken, so that it can be copied, but gets its own line where it has to.
    """
    _prose(out, text, command, style)


def _prose(console: Console, text: str, command: str, style: str) -> None:
    together = f"{text}  {command}" if command else text
    if not console.is_terminal or (command and cell_len(together) <= console.width):
        console.print(Text(together, style=style), soft_wrap=True)
        return
    console.print(Text(text, style=style))
    if command:
        console.print(Text(f"  {command}", style=style), soft_wrap=True)


def hanging(head: str, text: str) -> None:
    """`head`, which is markup, and prose that keeps to the right of it where a terminal's edge wraps it."""
    table = Table.grid()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(head, Text(text))
    out.print(table)


def question_view(question: Question) -> RenderableType:
    """The stem, and the code highlighted."""
    parts: list[RenderableType] = [Text(question.stem, style="bold")]
    if question.code:
        from rich.syntax import Syntax

        code: RenderableType = Text(question.code)
        if out.is_terminal:  # it fills its lines with spaces
            code = Syntax(question.code, "python", background_color="default", word_wrap=True)
        parts += ["", Padding.indent(code, 2)]
    return Group(*parts)


def answer_view(question: Question, answer: Answer, *, right: int | None = None, note: str = "") -> RenderableType:
    """Choices with probability bars, the chosen one marked, one line of figures; right or wrong where it is known."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for i, (choice, probability) in enumerate(zip(question.choices, answer.probabilities, strict=True)):
        chosen = i == answer.index
        style = "bold green" if chosen and right in (None, i) else "bold red" if chosen else ""
        table.add_row(
            Text(f"{'▶' if chosen else ' '} {LETTERS[i]}", style=style),
            Text(bar(probability, BAR_WIDTH).ljust(BAR_WIDTH), style="green" if chosen else "blue"),
            f"{probability:.1%}",
            Text(choice, style=style),
        )
    figures = (
        f"confidence {answer.confidence:.1%} · letter mass {answer.letter_mass:.3f} · version {answer.model_version}"
    )
    parts: list[RenderableType] = ["", table, "", Text(" · ".join(filter(None, [figures, note])), style="dim")]
    if right is not None:
        verdict = (
            Text("✓ right", style="bold green")
            if answer.index == right
            else Text(f"✗ wrong: the answer is {LETTERS[right]}, {question.choices[right]}", style="bold red")
        )
        parts.append(verdict)
    return Group(*parts)


class RateColumn(ProgressColumn):
    """Things a second, over the last stretch."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f}/s" if speed else "", style="dim")


@contextmanager
def downloads() -> Iterator[Callable[[str, int, int], None]]:
    """A bar a file on stderr with sizes and rates; the yielded function takes the file, bytes done and bytes in all."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with _bars(*columns, TimeRemainingColumn(), transient=False) as update:
        yield update


@contextmanager
def phases() -> Iterator[Callable[[str, int, int], None]]:
    """A bar a phase on stderr; the yielded function takes the phase's name, how much is done, how much there is."""
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
