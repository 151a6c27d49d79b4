"""Looks through the images for what they must not hold, and for known vulnerabilities.

Where trivy is installed it finds vulnerabilities that are HIGH or CRITICAL and have a fix; deploy/trivyignore.yaml
excuses some, each with a reason and an end.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools import process
from tools.errors import ToolError
from tools.images import contents
from tools.images import engine as engines
from tools.project import DEPLOY, ROOT

FETCH_TRIVY = "scripts/fetch-trivy"
DATABASE_ATTEMPTS = 3
FOUND = 10
"""trivy's exit status for a vulnerability, as we ask it for."""
QUIET = {"TRIVY_DISABLE_TELEMETRY": "true", "TRIVY_SKIP_VERSION_CHECK": "true", "TRIVY_QUIET": "true"}


def scan(
    names: Sequence[str], *, registry: str, tag: str, asked: str, require_trivy: bool, environ: Mapping[str, str]
) -> bool:
    """Whether nothing was found."""
    engine = engines.choose_installed(asked, (engines.PODMAN, engines.DOCKER))
    env = {**environ, **QUIET}
    trivy = shutil.which("trivy")
    if trivy is None and require_trivy:
        trivy = process.output([FETCH_TRIVY]).strip()
    if trivy:
        _download_database(trivy, env)
    clean = True
    with tempfile.TemporaryDirectory() as work:
        for name in names:
            image = f"{registry}/{name}:{tag}"
            clean &= _scan_contents(engine, image, Path(work))
            if trivy:
                clean &= _scan_vulnerabilities(engine, trivy, image, Path(work), env)
            else:
                print("  known vulnerabilities: not looked for (trivy is not installed)", flush=True)
    return clean


def _download_database(trivy: str, env: Mapping[str, str]) -> None:
    """Once for all images. It is kept in ~/.cache/trivy, and fetched again when it is out of date."""
    for attempt in range(1, DATABASE_ATTEMPTS + 1):
        if process.status([trivy, "image", "--download-db-only"], env=env) == 0:
            return
        if attempt < DATABASE_ATTEMPTS:
            time.sleep(attempt * 20)
    raise ToolError("could not fetch trivy's database: try again, or name a mirror in TRIVY_DB_REPOSITORY", exit_code=2)


def _scan_contents(engine: str, image: str, work: Path) -> bool:
    inspected = process.attempt([engine, "image", "inspect", image], show_errors=True)
    if inspected.returncode:
        raise ToolError(f"no image {image}: make images", exit_code=2)
    container = process.output([engine, "create", image]).strip()
    files = work / "files.tar"
    try:
        process.run([engine, "export", "--output", str(files), container])
    finally:
        process.run([engine, "rm", container], quiet=True)
    (configuration,) = json.loads(inspected.stdout)
    problems = sorted(contents.findings(contents.read(files), configuration))
    files.unlink()
    print("\n".join(contents.report(image, problems)), flush=True)
    return not problems


def _scan_vulnerabilities(engine: str, trivy: str, image: str, work: Path, env: Mapping[str, str]) -> bool:
    """By the image's archive: without a daemon podman has no socket that trivy could ask."""
    archive = work / "image.tar"
    saved = process.attempt([engine, "save", "--output", str(archive), image])
    if saved.returncode:
        reason = process.last_line(saved.stdout + saved.stderr)
        raise ToolError(f"{engine} could not save {image}: {reason}", exit_code=2)
    command = [trivy, "image", "--input", str(archive), "--skip-db-update", "--scanners", "vuln"]
    command += ["--severity", "HIGH,CRITICAL", "--ignore-unfixed"]
    command += ["--ignorefile", str((DEPLOY / "trivyignore.yaml").relative_to(ROOT)), "--timeout", "20m"]
    status = process.status([*command, "--exit-code", str(FOUND)], env=env)
    archive.unlink()
    if status not in (0, FOUND):
        raise ToolError(f"trivy ended with status {status} at {image}", exit_code=2)
    if status == FOUND:
        advice = "see above; take the fixed version, or excuse it in deploy/trivyignore.yaml"
    else:
        advice = "none that is HIGH or CRITICAL, has a fix and is not excused"
    print(f"  known vulnerabilities: {advice}", flush=True)
    return status == 0
