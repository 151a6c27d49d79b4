"""What CI may run: verbs of the Makefile, and scripts of the repository."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from tools.cli import app

ROOT = Path(__file__).resolve().parents[1]
ASSIGNMENT = re.compile(r"[A-Z_]+=")


def verbs(makefile: str) -> set[str]:
    """The targets that have a recipe or prerequisites: what `make NAME` would do something for."""
    result = set()
    lines = makefile.splitlines()
    for number, line in enumerate(lines):
        if match := re.match(r"([a-z][a-z0-9 -]*):(?!=)([^#]*)(#.*)?$", line):
            body = number + 1 < len(lines) and lines[number + 1].startswith("\t")
            if body or (match[2].strip() and "=" not in match[2]):
                result |= set(match[1].split())
    return result


def problem(command: str) -> str | None:
    """Why this is no command that a person finds in the repository; None when it is one."""
    if "\n" in command.strip() or re.search(r"[;&|<>`]|\$\(", command):
        return "is more than one plain command"
    program, *arguments = shlex.split(command)
    if program == "make":
        targets = [argument for argument in arguments if not ASSIGNMENT.match(argument)]
        known = verbs((ROOT / "Makefile").read_text())
        if len(targets) != 1 or targets[0] not in known:
            return f"names no verb of the Makefile: {', '.join(targets) or 'none'}"
        return None
    script = ROOT / program
    if not program.startswith("scripts/") or not script.is_file() or not os.access(script, os.X_OK):
        return "is neither a make verb nor an executable script of scripts/"
    if program == "scripts/tools" and (not arguments or arguments[0] not in tool_names()):
        return f"names no tool: {' '.join(arguments[:1]) or 'none'}"
    return None


def tool_names() -> set[str]:
    """The commands of `scripts/tools`."""
    return {command.name or "" for command in app.registered_commands}
