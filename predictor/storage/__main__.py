"""`python -m predictor.storage SRC DEST`: the entry point of KServe's ClusterStorageContainer, its storage initializer.

Needs httpx2 for mlflow://, huggingface_hub for hf:// and nothing for local folders.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from predictor.storage.download import log_progress
from predictor.storage.errors import StorageError
from predictor.storage.resolver import fetch
from predictor.storage.uri import FORMS
from predictor.storage.version_folder import Provenance

log = logging.getLogger("predictor.storage")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: 0 when DEST holds the version, 1 with one line when it cannot be had, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m predictor.storage", description="Puts a model version into a folder. Logs JSON lines on stderr."
    )
    parser.add_argument("src", metavar="SRC", help=FORMS)
    parser.add_argument("dest", metavar="DEST", type=Path, help="folder to put it into")
    args = parser.parse_args(argv)
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    began = time.monotonic()
    try:
        folder = fetch(args.src, args.dest, progress=log_progress())
    except StorageError as error:
        log.error(str(error))  # noqa: TRY400 - one line for people
        return 1
    record = Provenance.read(folder)
    files = record.files if record else {}
    fields = {
        "source": args.src,
        "folder": str(folder),
        "version": record.version if record else "",
        "files": len(files),
        "bytes": sum(files.values()),
        "seconds": round(time.monotonic() - began, 3),
    }
    log.info("fetched", extra={"fields": fields})
    return 0


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        return json.dumps(line, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
