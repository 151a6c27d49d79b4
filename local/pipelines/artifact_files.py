"""Files of a run that may be read: only what a task of it declared, and only inside the run's own folder."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from local.pipelines.run_view import RunView
from local.pipelines.task_values import Artifact

# A step's HTML comes from data: it may be shown, but must not reach anything else. In the sandbox it has an origin of
# its own, and nothing of it runs.
HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-cache",
}

TEXT, BINARY = "text/plain; charset=utf-8", "application/octet-stream"
_TYPES = {"system.HTML": "text/html; charset=utf-8", "system.Markdown": "text/markdown; charset=utf-8"}
_PAGES = (".html", ".htm")
_SHOWN = ("image/", "audio/", "video/", "application/pdf")
"""What a browser shows that is not text. Nothing of it runs in the sandbox, not even a picture's scripts."""
SNIFFED = 8192
"""Bytes of a file that tell whether it is text."""


def find(view: RunView, place: str) -> tuple[Artifact, Path | None] | None:
    """The artifact at `place` in the run's folder, or the one whose folder it is in; and the file or folder itself,
    None when there is none (some artifacts are metadata alone). None for anything that no artifact covers: neither
    `..` nor a link leads out of the artifact, and a pipe or a device, which may never end, is not found.
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


def media_type(artifact: Artifact, place: str, file: Path) -> str:
    """What a browser is to take the file for: HTML and Markdown for what they are, every other text for plain text.

    A script or style sheet that a step wrote would otherwise be one that a page of this server could load as its own.
    """
    # The type says what the artifact's own file is, not what else a folder of that type holds.
    if artifact.place == place and (declared := _TYPES.get(artifact.type)):
        return declared
    if file.suffix.lower() in _PAGES:
        return _TYPES["system.HTML"]
    guessed, encoding = mimetypes.guess_type(file.name)
    if guessed and encoding is None and guessed.startswith(_SHOWN):
        return guessed
    return TEXT if _is_text(file) else BINARY


def _is_text(file: Path) -> bool:
    """UTF-8 without NUL; its last character may be incomplete, since only the beginning is read."""
    with file.open("rb") as opened:
        content = opened.read(SNIFFED)
    if b"\0" in content:
        return False
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return len(content) == SNIFFED and error.start >= SNIFFED - 3
    return True


def listing(folder: Path) -> str:
    """The names in a folder, each on a line; a folder's ends in a slash."""
    return "".join(f"{entry.name}{'/' if entry.is_dir() else ''}\n" for entry in sorted(folder.iterdir()))


def _inside(path: Path, root: Path) -> Path | None:
    try:
        found = path.resolve(strict=True)
    except (OSError, ValueError, RuntimeError):  # none, a name with a NUL, a loop of links
        return None
    return found if found.is_relative_to(root.resolve()) and (found.is_file() or found.is_dir()) else None
