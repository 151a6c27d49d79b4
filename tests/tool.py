"""The project's tools (tools/) as a test runs them: a process, or in this one."""

from __future__ import annotations

import sys
from pathlib import Path

from typer.testing import CliRunner, Result

from tools.cli import app

ROOT = Path(__file__).resolve().parents[1]
TOOL = (sys.executable, "-m", "tools")
"""What scripts/tools runs once .venv is there; the working directory must be the checkout."""


def invoke(*arguments: str) -> Result:
    """Of an in-process run: exit_code, stdout, stderr."""
    return CliRunner().invoke(app, arguments, prog_name="scripts/tools")
