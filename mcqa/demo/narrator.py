"""The demo's output: one line per thing that happens, with the time since the start, and a live line of traffic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mcqa import terminal


class Narrator:
    """Prints lines; on a terminal it also keeps a live last line."""

    def __init__(self, console: Console = terminal.out) -> None:
        self.console = console
        self.began = time.monotonic()
        self._live: Live | None = None

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def line(self, text: str, *details: str, mark: str = "•", colour: str = "cyan") -> None:
        minutes, seconds = divmod(int(self.elapsed), 60)
        head = Text.assemble((f"{minutes}:{seconds:02d} ", "dim"), (f"{mark} ", f"bold {colour}"), text)
        self.console.print(head, soft_wrap=True)
        for detail in details:
            self.console.print(Text(f"       {detail}", style="dim"), soft_wrap=True)

    def good(self, text: str, *details: str) -> None:
        self.line(text, *details, mark="✓", colour="green")

    def bad(self, text: str, *details: str) -> None:
        self.line(text, *details, mark="✗", colour="red")

    def chapter(self, text: str) -> None:
        self.console.print()
        self.console.print(Text(text, style="bold"))

    @contextmanager
    def live(self, state: Callable[[], str]) -> Iterator[None]:
        """Shows `state()` below the lines, several times a second, on a terminal only."""
        if not self.console.is_terminal:
            yield
            return

        class Line:
            def __rich__(self) -> Text:
                return Text(state(), style="dim", overflow="ellipsis", no_wrap=True)

        with Live(Line(), console=self.console, refresh_per_second=4, transient=True):
            yield
