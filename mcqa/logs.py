"""`mcqa logs`: what the loop's processes wrote."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from common.names import NAMESPACE
from local.platform.settings import Folder
from mcqa import local, loop, terminal
from mcqa.errors import CommandError
from mcqa.loop import FolderOption


def logs(
    name: Annotated[
        str | None, typer.Argument(help="A part, a function, a revision or a run; without it, what there is.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Last lines of each log.")] = 40,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they are written.")] = False,
    directory: FolderOption = None,
) -> None:
    """Show a log of the loop: supervisor, broker, mlflow, pipelines, a function, the model's revisions, a run."""
    folder = loop.folder(directory)
    found = files(folder)
    if name is None:
        terminal.note(f"{loop.named(folder)}{'' if found else ' has no logs: start it with `mcqa up`'}")
        for one, path in sorted(found.items()):
            terminal.row(f"{one:<28} [dim]{local.shown(path)}[/]")
        return
    paths = matching(found, name)
    if not paths:
        raise CommandError(f"there is no log of {name!r}; found {', '.join(sorted(found)) or 'none: run `mcqa up`'}")
    for path in paths:
        if len(paths) > 1:
            terminal.out.rule(path.stem, style="dim")
        written = path.read_text(errors="replace").splitlines()
        if not written and not follow:
            terminal.note(f"{path.stem} has written nothing yet")
        for line in written[-lines:] if lines else ():
            terminal.line(line)
    if follow:
        for line in _followed(paths):
            terminal.line(line, end="")


def files(folder: Folder) -> dict[str, Path]:
    """Every log by its name: parts and steps of the platform, revisions, runs of pipelines."""
    found = {"supervisor": folder.log} if folder.log.exists() else {}
    for place in (
        folder.processes / "logs" / "platform",
        folder.processes / "logs",
        folder.serving / "logs" / NAMESPACE,
    ):
        found |= {path.stem: path for path in place.glob("*.log")}
    runs = folder.path / "pipelines" / "runs"
    return found | {path.parent.name: path for path in runs.glob("*/*.log")}


def matching(found: dict[str, Path], name: str) -> list[Path]:
    """The log of exactly this name, else those of the revisions of a service of this name, in order."""
    if name in found:
        return [found[name]]
    wanted = (f"{name}-0", f"{name}-predictor-0")
    revisions = sorted(one for one in found if one.startswith(wanted))
    return [found[one] for one in revisions] or [path for one, path in sorted(found.items()) if one.startswith(name)]


def _followed(paths: list[Path]) -> Iterator[str]:
    ends = {path: path.stat().st_size for path in paths}
    while True:
        for path, end in ends.items():
            size = path.stat().st_size
            if size < end:  # begun anew
                end = 0
            if size > end:
                with path.open("rb") as file:
                    file.seek(end)
                    data = file.read()
                whole = data.rfind(b"\n") + 1
                ends[path] = end + whole
                yield data[:whole].decode(errors="replace")
        time.sleep(0.2)
