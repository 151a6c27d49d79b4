"""Which code a loop runs: a digest of its processes' sources, which differs once the checkout has been updated."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from local.platform.settings import ROOT, Folder

SOURCES = (
    "common", "functions", "knative", "kserve", "local", "mcqa", "pipelines", "predictor", "requirements.lock", "ui"
)  # fmt: skip
"""What runs in the loop: of the command line what the page reads. No tests, no documentation."""
_SUFFIXES = frozenset({".css", ".html", ".js", ".json", ".jsonl", ".lock", ".py", ".toml", ".yaml"})


def code_digest(root: Path = ROOT) -> str:
    """Of the contents, so that neither git nor a file's time matters. 32 hexadecimal digits; takes about 20 ms."""
    digest = hashlib.sha256()
    for path in _files(root):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:32]


def _files(root: Path) -> Iterator[Path]:
    for source in SOURCES:
        if (root / source).is_file():
            yield root / source
        for folder, folders, names in os.walk(root / source):
            folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
            for name in sorted(names):
                # A hidden one is an editor's: Emacs marks a file that is being edited with a dangling link.
                if Path(name).suffix in _SUFFIXES and not name.startswith("."):
                    yield Path(folder, name)


async def end_outdated_processes(folder: Folder, code: str) -> None:
    """Ends what a killed supervisor of other code left behind, which would be adopted otherwise; records `code`."""
    from local.serving.settings import GATEWAY
    from local.serving.workload import find_left_behind

    note = folder.path / "code"
    if note.exists() and note.read_text() != code:
        for place in (folder.processes, folder.serving, folder.serving / GATEWAY):
            for process in find_left_behind(place):
                await process.stop(10.0)
                process.forget()
    note.write_text(code)
