"""Builds the documentation site in build/site: `make docs`.

    .venv/bin/python -m tools.docs [--write]

First the generated pages and the diagrams have to be current (with --write they are rewritten). Then Zensical builds
strictly: a link or an anchor that leads nowhere is an error. Last, no page may load a script, a style, a font or a
picture from another host. MkDocs with Material, whose successor Zensical is, gets no updates after May 2027.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tools import diagrams, reference
from tools.project import ROOT

SITE = ROOT / "build" / "site"

_LOADED = re.compile(
    r"<(?:script|img|iframe|link(?=[^>]*rel=\"?(?:stylesheet|preconnect|icon)))[^>]*?(?:src|href)=\"?(https?:[^\" >]+)"
)
_STYLE = re.compile(r"url\(\"?'?(https?:[^\"')]+)|@import[^;]*(https?:[^\"');]+)")


def foreign_resources(site: Path) -> list[str]:
    """`page: address` for everything that a page loads from another host."""
    remarks = []
    for path in sorted(site.rglob("*")):
        if path.suffix in {".html", ".css"}:
            text = path.read_text(encoding="utf-8")
            pattern = _LOADED if path.suffix == ".html" else _STYLE
            remarks += [f"{path.relative_to(site)}: {''.join(match.groups(''))}" for match in pattern.finditer(text)]
    return remarks


def main(arguments: list[str]) -> int:
    if reference.main(arguments) or diagrams.main(arguments):
        print("docs: run .venv/bin/python -m tools.docs --write", file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", "mkdocs.yml"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if built.returncode:
        # Zensical ends a strict build with a traceback of its own behind its remarks.
        print((built.stdout + built.stderr).partition("Traceback")[0], file=sys.stderr)
        return 1
    remarks = foreign_resources(SITE)
    for remark in remarks:
        print(f"docs: loads from outside: {remark}", file=sys.stderr)
    if not remarks:
        print(f"docs: {SITE.relative_to(ROOT)}/index.html")
    return 1 if remarks else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
