"""A model version's folder on local disk, from wherever its URI (predictor/storage/uri.py) says it is.

`resolve` gives the folder, downloaded into a cache if necessary; `fetch` puts the version into a given folder.
Settings: MLFLOW_TRACKING_URI and friends for mlflow://; HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE for hf://.
Importing this module needs the standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from predictor.storage.download import Progress
from predictor.storage.errors import StorageError
from predictor.storage.uri import HubModel, LocalFolder, MlflowVersion, parse
from predictor.storage.version_folder import (
    Provenance,
    data_files,
    list_names,
    locked,
    require_space,
    require_version,
)

WORK_FOLDER = ".fetch"


def version_name(uri: str) -> str:
    """The name of a version for logs and answers.

    The registry's number for mlflow:// (canary analysis joins on it), the model's name for hf:// (with the revision
    if one is given), and for a folder what its provenance says, else the folder's name.
    """
    source = parse(uri)
    if isinstance(source, MlflowVersion):
        return source.version
    if isinstance(source, HubModel):
        return source.repo.partition("/")[2] + (f"@{source.revision}" if source.revision else "")
    provenance = Provenance.read(source.path)
    return provenance.version if provenance else source.path.resolve().name


def resolve(uri: str, *, progress: Progress | None = None, cache: Path | None = None) -> Path:
    """The absolute path of the version's folder, downloaded if it is not on this machine yet.

    `cache` defaults to MCQA_CACHE or ~/.cache/coding-mcqa, for hf:// to the Hub's own. An interrupted download
    continues where it stopped; processes that want the same version wait for one another; a version appears complete
    or not at all. Raises StorageError, always one line.
    """
    source = parse(uri)
    with _one_line_errors(uri):
        if isinstance(source, LocalFolder):
            _require_local(source.path, uri)
            return source.path.resolve()
        if isinstance(source, HubModel):
            from predictor.storage import huggingface

            return huggingface.resolve(source.repo, source.revision, cache=cache, progress=progress or _no_progress)
        from predictor.storage import mlflow

        return mlflow.resolve(
            source.name, source.version, cache=cache or _cache(), progress=progress or _no_progress
        ).resolve()


def fetch(uri: str, dest: Path, *, progress: Progress | None = None) -> Path:
    """Puts the version's files into the folder `dest`, which is created, empty, or an earlier fetch of the same URI.

    A complete earlier fetch is left as it is. What a cache of this machine holds is copied; otherwise the download
    goes into `dest` itself, so that the disk never holds it twice. The root's `config.json` comes last, except for the
    provenance: a folder without it is not a version. Raises StorageError.
    """
    source = parse(uri)
    with _one_line_errors(uri):
        if isinstance(source, LocalFolder):
            _require_local(source.path, uri)
        dest.mkdir(parents=True, exist_ok=True)
        with locked(dest):
            work, version = dest / WORK_FOLDER, version_name(uri)
            _require_same_source(dest, uri)
            provenance = Provenance.read(dest)
            if provenance and provenance.matches(dest) and not isinstance(source, LocalFolder):
                return dest
            work.mkdir(exist_ok=True)
            Provenance(uri, version).write(work)
            folder = _cached(source) or resolve(uri, progress=progress, cache=work)
            _place(folder, dest, progress or _no_progress)
            sizes = {name: path.stat().st_size for name, path in data_files(dest).items()}
            Provenance(uri, version, files=sizes).write(dest)
            shutil.rmtree(work)
    return dest


@contextmanager
def _one_line_errors(uri: str) -> Iterator[None]:
    """Every error on one line that begins with the URI."""
    try:
        yield
    except StorageError as error:
        text = " ".join(str(error).split())
        raise StorageError(text if text.startswith(uri) else f"{uri}: {text}") from None
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise StorageError(f"{uri}: {error.strerror or error}{where}") from None
    except ImportError as error:
        package = {"tqdm": "huggingface_hub"}.get(error.name or "", error.name)
        raise StorageError(f"{uri}: needs the package {package}: pip install {package}") from None


def _require_local(path: Path, uri: str) -> None:
    if not path.exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", uri) and not uri.startswith("."):
        raise StorageError(f"{uri}: no such folder; a model of the Hugging Face Hub is written hf://{uri}")
    require_version(path, uri)


def _require_same_source(dest: Path, uri: str) -> None:
    """StorageError unless `dest` is empty or was begun with the same URI: two versions' files must not mix."""
    others = [p.name for p in dest.iterdir() if p.name not in (WORK_FOLDER, "lost+found")]
    provenance = Provenance.read(dest / WORK_FOLDER) or Provenance.read(dest)
    if provenance is None and others:
        raise StorageError(f"{dest} is not empty: choose an empty folder. Found: {list_names(dest)}")
    if provenance and provenance.source != uri:
        if others:
            raise StorageError(f"{dest} holds {provenance.source}: choose an empty folder")
        shutil.rmtree(dest / WORK_FOLDER)


def _cached(source: LocalFolder | MlflowVersion | HubModel) -> Path | None:
    """The folder when this machine's caches hold the complete version."""
    if isinstance(source, HubModel):
        from predictor.storage import huggingface

        return huggingface.cached(source.repo, source.revision, cache=None)
    if isinstance(source, MlflowVersion):
        from predictor.storage import mlflow

        return mlflow.cached(source.name, source.version, cache=_cache())
    return None


def _place(folder: Path, dest: Path, progress: Progress) -> None:
    """Links what is below `dest` itself into its place, copies the rest; each file appears complete."""
    files = data_files(folder)
    inside = {name: path.is_relative_to(dest.resolve()) for name, path in files.items()}
    require_space(dest, sum(p.stat().st_size for name, p in files.items() if not inside[name]), "the copy")
    for name, path in sorted(files.items(), key=lambda item: (item[0] == "config.json", item[0])):
        target, part = dest / name, dest / WORK_FOLDER / "part"
        target.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        if inside[name]:
            part.hardlink_to(path)
        else:
            shutil.copyfile(path, part)
            progress(name, part.stat().st_size, part.stat().st_size)
        part.replace(target)
    for name in data_files(dest).keys() - files.keys():
        (dest / name).unlink()


def _cache() -> Path:
    return Path(os.environ.get("MCQA_CACHE") or "~/.cache/coding-mcqa").expanduser()


def _no_progress(file: str, done: int, total: int) -> None:
    """A Progress that reports nothing."""
