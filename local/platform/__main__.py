"""`python -m local.platform --dir .local`: the platform in the foreground; `mcqa up` starts it in the background."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from local.platform.settings import FOLDER, Folder, PlatformError


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m local.platform", description="The whole loop on this machine.")
    parser.add_argument("--dir", type=Path, default=FOLDER, help="the state of the loop [default: %(default)s]")
    folder = Folder(parser.parse_args(argv).dir.resolve())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        folder.make()
        lock = _lock(folder)
        from local.platform.supervisor import Supervisor

        settings = folder.save(folder.settings())
        with lock:
            asyncio.run(Supervisor(folder, settings).run())
    except (PlatformError, OSError) as error:
        print(f"local.platform: {error}", file=sys.stderr)
        return 1
    return 0


def _lock(folder: Folder) -> IO[str]:
    lock = folder.lock()
    if lock is None:
        raise PlatformError(f"{folder.path} is in use by process {folder.running()}: end it with `mcqa down`")
    return lock


if __name__ == "__main__":
    sys.exit(main())
