"""The folder of a model version: which files it holds, whether it is complete, where it was downloaded from.

A finished folder carries `source.json`, written last: where it came from, its version, its files and their sizes.
Standard library only.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from predictor.errors import VersionError
from predictor.lora_adapter import ADAPTER_CONFIG
from predictor.storage.download import format_bytes, size_of
from predictor.storage.errors import StorageError
from predictor.version_files import read_json
from predictor.weights import weight_files

log = logging.getLogger(__name__)

PROVENANCE_FILE = "source.json"
DATA_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt")
# Formats that run code when they are loaded, and code itself.
CODE_SUFFIXES = frozenset(
    {".bin", ".ckpt", ".dill", ".dll", ".h5", ".joblib", ".keras", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"}
    | {".py", ".pyc", ".sh", ".so"}
)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a fetched folder came from. `location` is the artifact store's own address, which no two uploads share."""

    source: str
    version: str
    location: str = ""
    files: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Provenance | None:
        """The folder's record; None where there is none that can be read."""
        try:
            raw = json.loads((folder / PROVENANCE_FILE).read_text(encoding="utf-8"))
            files = {str(name): int(size) for name, size in raw["files"].items()}
            return cls(str(raw["source"]), str(raw["version"]), str(raw["location"]), files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, folder: Path) -> None:
        part = folder / f".{PROVENANCE_FILE}.part"
        with part.open("w", encoding="utf-8") as f:
            f.write(json.dumps(asdict(self), indent=2) + "\n")
            f.flush()
            os.fsync(f.fileno())
        part.replace(folder / PROVENANCE_FILE)

    def matches(self, folder: Path) -> bool:
        """Whether every file is there with its size."""
        return bool(self.files) and all(size_of(folder / name) == size for name, size in self.files.items())


def require_version(folder: Path, uri: str = "") -> None:
    """StorageError, with what was found, unless `folder` holds a configuration, a tokenizer and safetensors."""
    name = uri or str(folder)
    if not folder.is_dir():
        raise StorageError(
            f"{name}: no such folder" if not folder.exists() else f"{name}: a file, not a model's folder"
        )
    missing = [file for file in ("config.json", "tokenizer.json") if not (folder / file).is_file()]
    if missing:
        raise StorageError(f"{name}: not a model version: lacks {' and '.join(missing)}. Found: {list_names(folder)}")
    adapter = (folder / ADAPTER_CONFIG).is_file()
    base = folder / "base" if adapter and (folder / "base").is_dir() else folder
    try:
        weight_files(base)
    except VersionError as error:
        if adapter and base == folder:
            wanted = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path", "its base model")
            raise StorageError(f"{name}: a LoRA adapter without its base: put {wanted} into its folder base/") from None
        raise StorageError(f"{name}: {error}" if uri else str(error)) from None


def list_names(folder: Path, most: int = 12) -> str:
    names = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir())
    return (", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")) or "nothing"


def data_files(folder: Path) -> dict[str, Path]:
    """The version's own files by relative name, links followed: data only, provenance and hidden files left out."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if not hidden and path.is_file() and path.suffix in DATA_SUFFIXES and str(name) != PROVENANCE_FILE:
            files[name.as_posix()] = path.resolve()
    return files


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
    """StorageError unless the disk of `folder`, which exists, has room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(f"{name}: needs {format_bytes(needed)}, the disk of {folder} has {format_bytes(free)} free")
