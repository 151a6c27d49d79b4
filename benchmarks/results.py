"""One row per figure, with its target; printed as a table and stored as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.real_size import CACHE


@dataclass(frozen=True, slots=True)
class Row:
    """A measured figure. `at_least` and `at_most` are the target, where there is one."""

    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return f"≤ {self.at_most:g}" if self.at_most is not None else ""

    @property
    def met(self) -> bool | None:
        if self.at_least is not None:
            return self.value >= self.at_least
        if self.at_most is not None:
            return self.value <= self.at_most
        return None


def report(title: str, rows: Sequence[Row]) -> None:
    """Prints the rows and writes them to .cache/benchmarks/<title>.json."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column, justify in (("figure", "left"), ("value", "right"), ("unit", "left"), ("target", "left"), ("", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        mark = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[row.met]
        value = f"{row.value:.3g}" if row.value < 1000 else f"{row.value:.0f}"
        table.add_row(row.name, value, row.unit, row.target, mark)
    Console(width=110).print(table)
    CACHE.mkdir(parents=True, exist_ok=True)
    figures = [asdict(row) | {"met": row.met} for row in rows]
    (CACHE / f"{title.split(':')[0]}.json").write_text(json.dumps(figures, indent=2))


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
