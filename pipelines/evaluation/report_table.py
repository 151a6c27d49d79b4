"""The report for the terminal: one rich renderable, figures and subjects side by side where it is wide enough."""

from __future__ import annotations

from dataclasses import dataclass

from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from common.proportions import Proportion
from pipelines.evaluation.report import Report

BAR_WIDTH = 16


def render(report: Report) -> RenderableType:
    """A title line, the figures, accuracy by subject, the letters, and what was skipped."""
    questions, model = report.questions, report.model
    where = ", ".join(filter(None, [model.dtype, model.device]))
    title = f"[bold]{escape(model.version)}[/]{f' ({where})' if where else ''} on {escape(questions.bank)}"
    title += f" · {questions.split} · {len(report.records)} questions · debias {report.debias}"
    tables = [_figures(report), _letters(report)]
    parts: list[RenderableType] = [title, Columns(tables, padding=(0, 4))]
    if set(report.subjects) != {""}:
        parts.append(_subjects(report))
    if report.skipped:
        first = report.skipped[0]
        parts.append(f"[yellow]{len(report.skipped)} skipped[/], the first: {escape(first.id)}: {escape(first.reason)}")
    return Group(*parts)


def _figures(report: Report) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, title="", padding=(0, 2, 0, 0))
    table.add_column("metric", style="cyan", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("note", style="dim")
    table.add_row(
        "accuracy", f"[bold]{report.accuracy.value:.1%}[/]", f"{interval(report.accuracy)}, chance {report.chance:.1%}"
    )
    table.add_row("Brier", f"{report.brier:.3f}", "0 best, 2 worst")
    table.add_row("NLL", f"{report.nll:.3f}", "nats per question")
    if report.ece is None:
        table.add_row("ECE", "-", report.ece_reason)
    else:
        table.add_row("ECE", f"{report.ece:.3f}", f"{len(report.bins)} bins")
    table.add_row("letter bias (RStd)", f"{report.rstd:.3f}", "spread of recall over letters")
    if report.rotations is not None:
        flips = report.rotations
        table.add_row("rotation flips", f"{flips.value:.1%}", f"{interval(flips)}, {flips.total} questions")
    table.add_row("letter mass", f"{report.letter_mass:.3f}", "of the whole vocabulary")
    table.add_row(
        "speed",
        f"{report.questions_per_second:,.1f}/s",
        f"{report.tokens_per_second:,.0f} tokens/s, {report.seconds:.1f} s",
    )
    return table


def _letters(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("letter", style="cyan")
    for name in ("right", "chosen", "recall"):
        table.add_column(name, justify="right")
    for letter, row in report.letters.items():
        recall = row["recall"]
        table.add_row(letter, f"{row['right']}", f"{row['chosen']}", "-" if recall is None else f"{recall:.1%}")
    return table


def _subjects(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("subject", style="cyan", no_wrap=True)
    table.add_column("questions", justify="right", no_wrap=True)
    table.add_column("accuracy", justify="right", no_wrap=True)
    table.add_column("95% interval", no_wrap=True)
    table.add_column("")
    for name, accuracy in sorted(report.subjects.items(), key=lambda item: -item[1].value):
        row = (str(accuracy.total), f"{accuracy.value:.1%}", interval(accuracy), _Bar(accuracy.value))
        table.add_row(name or "(none)", *row)
    return table


def interval(proportion: Proportion) -> str:
    return f"{proportion.low:.1%} - {proportion.high:.1%}"


@dataclass(frozen=True, slots=True)
class _Bar:
    """A bar that takes the room there is: in a narrow terminal it shrinks before the figures do."""

    value: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(bar(self.value, min(BAR_WIDTH, options.max_width)), no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(0, BAR_WIDTH)


def bar(value: float, width: int = BAR_WIDTH) -> str:
    """A value within 0..1 as a bar of eighth blocks, `width` cells at 1."""
    full, part = divmod(round(max(0.0, min(1.0, value)) * width * 8), 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")
