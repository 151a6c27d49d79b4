"""Downloads that continue where an earlier attempt stopped. Standard library only: the caller has the HTTP client."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from common.backoff import describe_error, wait_before_retry
from predictor.storage.errors import StorageError, TransientError

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
CHUNK_BYTES = 1 << 20

Progress = Callable[[str, int, int], None]
"""Called with (file, bytes done, total bytes) as a file grows and once at its end; a total of 0 is unknown."""


class Response(Protocol):
    """A streamed response of httpx2."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def iter_bytes(self) -> Iterator[bytes]: ...


def download(
    stream: Callable[[dict[str, str]], AbstractContextManager[Response]],
    part: Path,
    size: int | None,
    *,
    name: str,
    report: Callable[[int], None],
    errors: type[Exception],
    attempts: int = MAX_ATTEMPTS,
) -> None:
    """Completes the file `part`, continuing where an earlier attempt stopped, and checks its size.

    `stream(headers)` opens the response to a GET with those headers (status 200, 206 or 416) or raises
    TransientError; `errors` is the client's transport error, transient too. Attempts that bring bytes
    do not count against `attempts`. StorageError when the attempts are used up or the size differs.
    """
    failures = 0
    while True:
        have = size_of(part) or 0
        if size is not None and have > size:
            part.unlink()
            have = 0
        if have == size and part.exists():
            report(have)
            return
        try:
            with stream({"Range": f"bytes={have}-"} if have else {}) as response:
                total = _append(response, part, have, size, name, report)
            if size in (None, total):
                return
            raise TransientError(  # noqa: TRY301 - retried below like what `stream` raises
                f"the connection closed after {total:,} of {size:,} bytes"
            )
        except (TransientError, errors) as error:
            failures = 1 if (size_of(part) or 0) > have else failures + 1
            reason = str(error) if isinstance(error, TransientError) else describe_error(error)
            if failures >= attempts:
                raise StorageError(f"{name}: {reason}; gave up after {attempts} attempts") from None
            log.warning("%s: %s; retrying", name, reason)
            wait_before_retry(failures, getattr(error, "retry_after", None))


def _append(
    response: Response, part: Path, have: int, size: int | None, name: str, report: Callable[[int], None]
) -> int:
    """Writes the body behind the `have` bytes there are, or from the start when the server sends all of it."""
    total = response.headers.get("content-range", "").rpartition("/")[2]
    if response.status_code == 416 or (size is not None and total.isdigit() and int(total) != size):
        if size is None and total == str(have):
            return have
        part.unlink(missing_ok=True)
        raise TransientError(f"the server says it has {total or 'no'} bytes, not {size or have}: starting over")
    if response.status_code == 206 and not response.headers.get("content-range", "").startswith(f"bytes {have}-"):
        raise TransientError("the server answered with a different range than requested")
    if response.status_code == 200:
        have = 0
    with part.open("r+b" if have else "wb") as f:
        f.seek(have)
        report(have)
        reported = have
        # Without a chunk size, with which httpx2 would drop what it has buffered when the connection breaks.
        for chunk in response.iter_bytes():
            have += len(chunk)
            if size is not None and have > size:
                f.truncate(0)
                raise StorageError(f"{name}: longer than the {size:,} bytes that its listing gives")
            f.write(chunk)
            if have - reported >= CHUNK_BYTES:
                report(have)
                reported = have
        report(have)
        f.flush()
        os.fsync(f.fileno())
    return have


def log_progress(seconds: float = 5.0, logger: logging.Logger = log) -> Progress:
    """A Progress that logs one line per file, and every few seconds while it grows, with sizes and rate."""
    began: dict[str, tuple[float, int]] = {}
    last: dict[str, float] = {}

    def report(file: str, done: int, total: int) -> None:
        now = time.monotonic()
        start, already = began.setdefault(file, (now, done))
        complete = bool(total) and done >= total
        if now - last.setdefault(file, now) < seconds and not complete:
            return
        if complete and last[file] == float("inf"):
            return
        last[file] = float("inf") if complete else now
        rate = (done - already) / max(now - start, 1e-3)
        text = f"{file}: {format_bytes(done)}" + (f" of {format_bytes(total)}" if total else "")
        fields = {"file": file, "done": done, "total": total, "bytes_per_second": round(rate)}
        logger.info(f"{text}, {format_bytes(rate)}/s", extra={"fields": fields})

    return report


def format_bytes(count: float) -> str:
    """Bytes in decimal units."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
