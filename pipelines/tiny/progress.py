"""Training progress: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from pipelines.tiny.training_loop import Progress, ProgressCallback


@contextlib.contextmanager
def progress_display(title: str, enabled: bool) -> Iterator[ProgressCallback | None]:
    """A callback that draws the progress; None when it is not enabled."""
    console = Console(stderr=True)
    if not enabled:
        yield None
    elif not console.is_terminal:
        yield _lines(title, console)
    else:
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("step {task.fields[step]} · loss {task.fields[loss]:.3f}"),
            TextColumn("accuracy {task.fields[accuracy]:.1%} · {task.fields[rate]:.1f} steps/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=console) as bar:
            task = bar.add_task(title, total=1.0, step=0, loss=0.0, accuracy=0.0, rate=0.0)

            def draw(p: Progress) -> None:
                bar.update(
                    task,
                    completed=p.share,
                    step=p.step,
                    loss=p.loss,
                    accuracy=p.accuracy,
                    rate=p.step / max(p.seconds, 0.1),
                )

            yield draw
            bar.update(task, completed=1.0)


def _lines(title: str, console: Console, every: float = 15.0) -> ProgressCallback:
    last = time.monotonic() - every

    def print_line(p: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            last = time.monotonic()
            left = p.seconds * (1 - p.share) / p.share if p.share else 0.0
            rate = p.step / max(p.seconds, 0.1)
            console.print(
                f"{title}: {p.share:.0%} step {p.step} loss {p.loss:.3f} accuracy {p.accuracy:.1%} "
                f"{rate:.2f} steps/s {left:.0f} s left",
                highlight=False,
                soft_wrap=True,
            )

    return print_line
