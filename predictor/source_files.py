"""What all sources of model versions share: which files a version holds, downloads that resume, locks, the record.

A finished version's folder carries `source.json`, written last: where it came from, its version, its files and sizes.
Standard library only.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from predictor.weights import ADAPTER_CONFIG, VersionError, read_json, weight_files

log = logging.getLogger(__name__)

RECORD = "source.json"
DATA_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt")
# Formats that run code when they are loaded, and code itself.
CODE_SUFFIXES = frozenset(
    {".bin", ".ckpt", ".dill", ".dll", ".h5", ".joblib", ".keras", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"}
    | {".py", ".pyc", ".sh", ".so"}
)
TRIES = 5
CHUNK = 1 << 20

Progress = Callable[[str, int, int], None]
"""Called with (file, bytes done, bytes in all) as a file grows and once at its end; 0 in all is unknown."""


class SourceError(RuntimeError):
    """A model version cannot be had. One line: what failed, what was found, what to do next."""


class TransientError(Exception):
    """A request failed in a way that may pass; `after` seconds is what the server asked to wait."""

    def __init__(self, message: str, after: float | None = None) -> None:
        self.after = after
        super().__init__(message)


class Response(Protocol):
    """A streamed response of httpx."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def iter_bytes(self) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Record:
    """Where a fetched folder came from. `location` is the artifact store's own address, which no two uploads share."""

    source: str
    version: str
    location: str = ""
    files: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Record | None:
        """The folder's record; None where there is none that can be read."""
        try:
            raw = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            files = {str(name): int(size) for name, size in raw["files"].items()}
            return cls(str(raw["source"]), str(raw["version"]), str(raw["location"]), files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, folder: Path) -> None:
        part = folder / f".{RECORD}.part"
        with part.open("w", encoding="utf-8") as f:
            f.write(json.dumps(asdict(self), indent=2) + "\n")
            f.flush()
            os.fsync(f.fileno())
        part.replace(folder / RECORD)

    def matches(self, folder: Path) -> bool:
        """Whether every file is there with its size."""
        return bool(self.files) and all(_size(folder / name) == size for name, size in self.files.items())


def require_version(folder: Path, uri: str = "") -> None:
    """SourceError, with what was found, unless `folder` holds a configuration, a tokenizer and safetensors."""
    name = uri or str(folder)
    if not folder.is_dir():
        raise SourceError(f"{name}: no such folder" if not folder.exists() else f"{name}: a file, not a model's folder")
    missing = [file for file in ("config.json", "tokenizer.json") if not (folder / file).is_file()]
    if missing:
        raise SourceError(f"{name}: no model version, it lacks {' and '.join(missing)}. Found: {listing(folder)}")
    adapter = (folder / ADAPTER_CONFIG).is_file()
    base = folder / "base" if adapter and (folder / "base").is_dir() else folder
    try:
        weight_files(base)
    except VersionError as error:
        if adapter and base == folder:
            wanted = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path", "its base model")
            raise SourceError(f"{name}: a LoRA adapter without its base: put {wanted} into its folder base/") from None
        raise SourceError(f"{name}: {error}" if uri else str(error)) from None


def listing(folder: Path, most: int = 12) -> str:
    names = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir())
    return (", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")) or "nothing"


def data_files(folder: Path) -> dict[str, Path]:
    """The version's own files by relative name, links followed: data only, the record and hidden files left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if not hidden and path.is_file() and path.suffix in DATA_SUFFIXES and str(name) != RECORD:
            found[name.as_posix()] = path.resolve()
    return found


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on a file or folder; the kernel lets go of it when the process dies, however it dies."""
    import fcntl

    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another process is fetching into %s: waiting for it", path.parent)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def require_space(folder: Path, needed: int, name: str) -> None:
    """SourceError unless the disk of `folder`, which exists, has room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SourceError(f"{name}: needs {human(needed)}, the disk of {folder} has {human(free)} free")


def download(
    stream: Callable[[dict[str, str]], AbstractContextManager[Response]],
    part: Path,
    size: int | None,
    *,
    name: str,
    report: Callable[[int], None],
    errors: type[Exception],
    tries: int = TRIES,
) -> None:
    """Completes the file `part`, going on where an earlier attempt stopped, and checks its size.

    `stream(headers)` opens the response to a GET with those headers (status 200, 206 or 416) or raises
    TransientError; `errors` is the client's transport error, transient too. Tries that bring bytes do not count
    against `tries`. SourceError when the tries are used up or the size is another.
    """
    failures = 0
    while True:
        have = _size(part) or 0
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
            raise TransientError(f"the connection closed after {total:,} of {size:,} bytes")
        except (TransientError, errors) as error:
            failures = 1 if (_size(part) or 0) > have else failures + 1
            if failures >= tries:
                raise SourceError(f"{name}: {describe(error)}; gave up after {tries} tries") from None
            log.warning("%s: %s; trying again", name, describe(error))
            backoff(failures, error)


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
        raise TransientError("the server answered with another range than the one asked for")
    if response.status_code == 200:
        have = 0
    with part.open("r+b" if have else "wb") as f:
        f.seek(have)
        report(have)
        reported = have
        # In pieces as they come: with a chunk size, httpx would drop what it has gathered when the connection breaks.
        for chunk in response.iter_bytes():
            have += len(chunk)
            if size is not None and have > size:
                f.truncate(0)
                raise SourceError(f"{name}: longer than the {size:,} bytes its listing gives")
            f.write(chunk)
            if have - reported >= CHUNK:
                report(have)
                reported = have
        report(have)
        f.flush()
        os.fsync(f.fileno())
    return have


def backoff(failures: int, error: Exception) -> None:
    """Sleeps 0.5, 1, 2, … seconds with jitter, or what the server asked for, at most 30."""
    wait = getattr(error, "after", None)
    if wait is None:
        wait = 0.5 * 2 ** (failures - 1) * random.uniform(0.75, 1.25)
    time.sleep(min(wait, 30.0))


def describe(error: Exception) -> str:
    """An error on one line, with its type where the text alone would say little."""
    text = " ".join(str(error).split())
    return text if isinstance(error, TransientError) else f"{type(error).__name__}: {text}" if text else repr(error)


def human(count: float) -> str:
    """Bytes in decimal units."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
