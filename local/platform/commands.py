"""The product's programs that the platform runs, by name: the platform imports none of the product."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name

from local.platform.settings import ROOT, PlatformError

MIGRATE = ("functions.migrate",)
"""Makes the database's tables; deploy/jobs/migrate.yaml on a cluster."""
BOOTSTRAP = ("pipelines.bootstrap",)
"""The registry's first version and its webhook; deploy/jobs/bootstrap.yaml on a cluster."""
COMPILE_PIPELINE = ("pipelines.retraining", "compile")
UPLOAD_PIPELINE = ("pipelines.upload",)
PAGE = ("ui",)
"""Serves the page; deploy/ui on a cluster."""
STORAGE_RESOLVER = "predictor.storage.resolver:resolve"
"""A function from a storageUri to a local folder: the one behind the command of the ClusterStorageContainer in kserve/.
In this process, because each start of a replica waits for it.
"""


def python_module(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module."""
    return [sys.executable, "-m", module, *arguments]


def storage_resolver() -> Callable[[str], Path]:
    resolver: Callable[[str], Path] = resolve_name(STORAGE_RESOLVER)
    return resolver


async def run(name: str, argv: Sequence[str], environment: Mapping[str, str], logs: Path) -> None:
    """Runs a command to its end, its output in a log; PlatformError with its last line when it fails."""
    path = logs / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=ROOT, env=dict(environment), stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
    if code:
        lines = path.read_text(errors="replace").strip().splitlines()
        raise PlatformError(f"{name} ended with {code}: {lines[-1] if lines else 'it printed nothing'}"[:300])
