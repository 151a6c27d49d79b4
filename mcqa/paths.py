"""Paths and commands as the user would type them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def absolute(path: Path) -> Path:
    """The absolute path without `..`; symbolic links stay, unlike with `Path.resolve`: .venv/bin/python is one."""
    return Path(os.path.normpath(path.absolute()))


def displayed(path: Path) -> str:
    """The path relative to the working directory where it is below it, else absolute."""
    path = absolute(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def mcqa_command() -> str:
    """How the user starts this program from where they are: by name where their PATH has it, else by its path."""
    script = Path(sys.executable).parent / "mcqa"
    on_path = shutil.which("mcqa")
    if on_path and script.exists() and Path(on_path).samefile(script):
        return "mcqa"
    return displayed(script) if script.exists() else f"{displayed(Path(sys.executable))} -m mcqa"
