"""checkov over the rendered overlays: no secret value, no `latest`, no privilege, no missing limit.

Its exceptions, each with the reason, are in deploy/checkov.yaml.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools import process
from tools.errors import ToolError
from tools.manifests import render
from tools.project import DEPLOY, ROOT

VERSION = "3.3.30"
ENVIRONMENT = ROOT / ".cache/checkov"


def check(program: str, options: Sequence[str], environ: Mapping[str, str]) -> int:
    """checkov's exit status. `program` "": one of this version, in an environment of its own."""
    program = program or _installed()
    with tempfile.TemporaryDirectory() as work:
        render.write(Path(work))
        command = [program, "--directory", work, "--config-file", str((DEPLOY / "checkov.yaml").relative_to(ROOT))]
        return process.status([*command, *options], env={**environ, "BC_SKIP_MAPPING": "TRUE"})


def _installed() -> str:
    """Apart from .venv: it pins some eighty packages, several of them ours in other versions."""
    program = ENVIRONMENT / "bin/checkov"
    try:
        version = process.attempt([str(program), "--version"]).stdout.strip()
    except ToolError:
        version = ""
    if version != VERSION:
        print(f"manifests-check: installs checkov {VERSION} into {ENVIRONMENT.relative_to(ROOT)}", flush=True)
        process.run([sys.executable, "-m", "venv", str(ENVIRONMENT)])
        pip = [str(ENVIRONMENT / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        process.run([*pip, f"checkov=={VERSION}"])
    return str(program)
