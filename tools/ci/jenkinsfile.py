"""Lints the Jenkinsfile with npm-groovy-lint (CodeNarc, which parses with Groovy's own compiler)."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tools import process
from tools.errors import ToolError
from tools.project import ROOT, find_program

VERSION = "16.1.1"
OLDEST_NODE = 20
INSTALLED = ROOT / ".cache/groovy-lint"
RULES = ROOT / ".jenkins/groovylint.json"


def lint(jenkinsfile: Path) -> int:
    """The linter's exit status. It is installed where it is missing."""
    _check_programs()
    stamp = INSTALLED / "version"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8").strip() != VERSION:
        INSTALLED.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--prefix", str(INSTALLED), "--no-audit", "--no-fund", "--loglevel", "error"]
        process.run([*command, f"npm-groovy-lint@{VERSION}"], quiet=True)
        stamp.write_text(f"{VERSION}\n", encoding="utf-8")
    linter = INSTALLED / "node_modules/npm-groovy-lint/lib/index.js"
    # It looks for files below the folder it is in: one that holds nothing else.
    with tempfile.TemporaryDirectory() as work:
        shutil.copy(jenkinsfile, Path(work) / "Jenkinsfile")
        command = ["node", str(linter), "--noserver", "--config", str(RULES), "--failon", "warning", "--nolintafter"]
        command += ["--files", "Jenkinsfile"]
        return subprocess.run(command, cwd=work, stdin=subprocess.DEVNULL, check=False).returncode


def _check_programs() -> None:
    needed = f"(Node {OLDEST_NODE} or newer, Java 17)"
    for program in ("node", "npm", "java"):
        if find_program(program) is None:
            raise ToolError(f"{program} is not installed {needed}", exit_code=2)
    version = process.output(["node", "--version"]).strip()
    match = re.match(r"v(\d+)\.", version)
    if match is None or int(match.group(1)) < OLDEST_NODE:
        raise ToolError(f"Node {version} is too old {needed}", exit_code=2)
