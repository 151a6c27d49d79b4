"""`mcqa logs`: what the loop's processes wrote."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from common.names import NAMESPACE
from local.platform.settings import Folder
from mcqa import loop, terminal
from mcqa.errors import CommandError
from mcqa.loop import FolderOption
from mcqa.paths import displayed


def logs(
    name: Annotated[
        str | None, typer.Argument(help="A part, a function, a revision or a run. Without one, the logs are listed.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Last lines of each log.")] = 40,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing as lines are written.")] = False,
    directory: FolderOption = None,
) -> None:
    """Show a log of the loop: supervisor, broker, mlflow, pipelines, ui, a function, the model's revisions, a run."""
    folder = loop.folder(directory)
    paths_by_name = files(folder)
    if name is None:
        terminal.note(f"{loop.name(folder)}{'' if paths_by_name else ' has no logs: start it with `mcqa up`'}")
        for log, path in sorted(paths_by_name.items()):
            terminal.row(f"{log:<28} [dim]{displayed(path)}[/]")
        return
    paths = matching(paths_by_name, name)
    if not paths:
        names = ", ".join(sorted(paths_by_name)) or "none: run `mcqa up`"
        raise CommandError(f"there is no log of {name!r}; found {names}")
    for path in paths:
        if len(paths) > 1:
            terminal.out.rule(path.stem, style="dim")
        written = path.read_text(errors="replace").splitlines()
        if not written and not follow:
            terminal.note(f"{path.stem} has written nothing yet")
        for line in written[-lines:] if lines else ():
            terminal.line(line)
    if follow:
        for line in _follow(paths):
            terminal.line(line, end="")


def files(folder: Folder) -> dict[str, Path]:
    """Every log by its name: parts and steps of the platform, revisions, runs of pipelines."""
    paths = {"supervisor": folder.log} if folder.log.exists() else {}
    for place in (
        folder.processes / "logs" / "platform",
        folder.processes / "logs",
        folder.serving / "logs" / NAMESPACE,
    ):
        paths |= {path.stem: path for path in place.glob("*.log")}
    runs = folder.path / "pipelines" / "runs"
    return paths | {path.parent.name: path for path in runs.glob("*/*.log")}


def matching(paths: dict[str, Path], name: str) -> list[Path]:
    """The log of exactly this name, else those of the revisions of the service of this name, in order."""
    if name in paths:
        return [paths[name]]
    for prefix in ((f"{name}-0", f"{name}-predictor-0"), name):
        if matches := [path for log, path in sorted(paths.items()) if log.startswith(prefix)]:
            return matches
    return []


def _follow(paths: list[Path]) -> Iterator[str]:
    ends = {path: path.stat().st_size for path in paths}
    while True:
        for path, end in ends.items():
            size = path.stat().st_size
            if size < end:  # truncated
                end = 0
            if size > end:
                with path.open("rb") as file:
                    file.seek(end)
                    data = file.read()
                complete = data.rfind(b"\n") + 1
                ends[path] = end + complete
                yield data[:complete].decode(errors="replace")
        time.sleep(0.2)
