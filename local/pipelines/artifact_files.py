"""Files of a run that may be read: only what a task of it declared, and only inside the run's own folder."""

from __future__ import annotations

from pathlib import Path

from local.pipelines.run_view import RunView
from local.pipelines.task_values import Artifact

# A step's HTML comes from data: it may be shown, but must not reach anything else.
HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-cache",
}


def find(view: RunView, place: str) -> tuple[Artifact, Path | None] | None:
    """The artifact at `place` in the run's folder, or the one whose folder it is in; and the file or folder itself,
    None when there is none (some artifacts are metadata alone). None for anything that no artifact covers: neither
    `..` nor a link leads out of the artifact.
    """
    if not place:  # the run's own folder; an artifact that is elsewhere has no place
        return None
    for artifact in view.artifacts:
        if artifact.place == place:
            return artifact, _inside(view.folder / artifact.place, view.folder)
        if artifact.is_folder and place.startswith(f"{artifact.place}/"):
            file = _inside(view.folder / place, view.folder / artifact.place)
            return (artifact, file) if file else None
    return None


def listing(folder: Path) -> str:
    """The names in a folder, each on a line; a folder's ends in a slash."""
    return "".join(f"{entry.name}{'/' if entry.is_dir() else ''}\n" for entry in sorted(folder.iterdir()))


def _inside(path: Path, root: Path) -> Path | None:
    try:
        found = path.resolve(strict=True)
    except (OSError, ValueError, RuntimeError):  # none, a name with a NUL, a loop of links
        return None
    return found if found.is_relative_to(root.resolve()) else None
