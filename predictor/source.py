"""A model version's folder on local disk, from wherever its URI says it is.

    models/tiny · ~/models/x · file:///models/x     a local folder
    mlflow://name/version                           a registered version, by number: MLFLOW_TRACKING_URI and friends
    hf://owner/model[@revision]                     the Hugging Face Hub: HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE

KServe writes a revision behind a colon, hf://owner/model:revision; that means the same.

Only data is ever fetched (safetensors, JSON, Jinja, text); a pickle never is. `python -m predictor.source SRC DEST`
puts a version into a folder: it is the entrypoint of KServe's ClusterStorageContainer and needs httpx for mlflow://,
huggingface_hub for hf:// and nothing for local folders. Importing this module needs the standard library only.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from predictor.source_files import (
    Progress,
    Record,
    SourceError,
    data_files,
    human,
    listing,
    locked,
    require_space,
    require_version,
)

__all__ = ["Progress", "SourceError", "fetch", "log_progress", "parse", "resolve", "version_name"]

log = logging.getLogger("predictor.source")

FORMS = "a local folder, mlflow://name/version or hf://owner/model[@revision]"
WORK = ".fetch"
_STORED = {
    "mlflow-artifacts": "a place in MLflow's artifact store",
    "runs": "an artifact of an MLflow run",
    "dbfs": "a place in Databricks' file system",
}


@dataclass(frozen=True, slots=True)
class Local:
    path: Path


@dataclass(frozen=True, slots=True)
class Registered:
    """A version in MLflow's model registry."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Hub:
    """A model repository on the Hugging Face Hub."""

    repo: str
    revision: str | None


def parse(uri: str) -> Local | Registered | Hub:
    """What a URI names; SourceError, with the form to write, when it is none of ours."""
    uri = uri.strip()
    scheme, separator, rest = uri.partition(":")
    if not uri:
        raise SourceError(f"no model given: write {FORMS}")
    if scheme == "models" and separator:
        raise SourceError(f"{uri}: MLflow's models: URIs may name an alias, which moves: write mlflow://name/version")
    if scheme == "mlflow" and separator:
        return _parse_mlflow(uri, rest)
    if scheme == "hf" and separator:
        # The Hub's own URLs write a revision behind @, KServe's storage URIs behind a colon.
        repo = re.split("[@:]", rest.removeprefix("//"), maxsplit=1)[0]
        at, revision = rest.removeprefix("//")[len(repo) :][:1], rest.removeprefix("//")[len(repo) + 1 :]
        if not rest.startswith("//") or not re.fullmatch(r"[\w.-]+/[\w.-]+", repo) or (at and not revision):
            raise SourceError(f"{uri}: write hf://owner/model or hf://owner/model@revision")
        return Hub(repo, revision or None)
    if scheme == "file" and separator:
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise SourceError(f"{uri}: a file: URI has an absolute path, as in file:///models/x")
        return Local(Path(unquote(parts.path)))
    if scheme in _STORED and separator:
        raise SourceError(f"{uri}: {_STORED[scheme]}, no version: register it, and write mlflow://name/version")
    # One letter may be a drive's, and a folder's name may hold a colon.
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|[A-Za-z][A-Za-z0-9+.-]+:/", uri) and not Path(uri).exists():
        raise SourceError(f"{uri}: {scheme}:// is no known source: write {FORMS}")
    return Local(Path(uri).expanduser())


def _parse_mlflow(uri: str, rest: str) -> Registered:
    name, _, version = unquote(rest.removeprefix("//")).rstrip("/").partition("/")
    if re.fullmatch(r"[1-9][0-9]{0,17}", version) and name not in ("", ".", "..") and rest.startswith("//"):
        return Registered(name, version)
    alias = name.partition("@")[2] or version
    if not alias or not name:
        raise SourceError(f"{uri}: write mlflow://name/version with the version's number, as in mlflow://coding-mcqa/7")
    raise SourceError(
        f"{uri}: {alias!r} is no version number; versions never change but aliases and stages move, so what serves "
        f"must name a number: write mlflow://{name.partition('@')[0]}/7"
    )


def version_name(uri: str) -> str:
    """The name of a version for logs and answers.

    The registry's number for mlflow:// (canary analysis joins on it), the model's name for hf:// (with the revision
    if one is given), and for a folder what its record of origin says, else the folder's name.
    """
    source = parse(uri)
    if isinstance(source, Registered):
        return source.version
    if isinstance(source, Hub):
        return source.repo.partition("/")[2] + (f"@{source.revision}" if source.revision else "")
    record = Record.read(source.path)
    return record.version if record else source.path.resolve().name


def resolve(uri: str, *, progress: Progress | None = None, cache: Path | None = None) -> Path:
    """The absolute path of the version's folder, downloaded if it is not on this machine yet.

    `cache` defaults to MCQA_CACHE or ~/.cache/coding-mcqa, for hf:// to the Hub's own. An interrupted download goes
    on where it stopped; processes that want the same version wait for one another; a version appears whole or not
    at all. Raises SourceError, always one line.
    """
    source = parse(uri)
    with _explained(uri):
        if isinstance(source, Local):
            _require_local(source.path, uri)
            return source.path.resolve()
        if isinstance(source, Hub):
            from predictor import source_hf

            return source_hf.resolve(source.repo, source.revision, cache=cache, progress=progress or _silent)
        from predictor import source_mlflow

        return source_mlflow.resolve(
            source.name, source.version, cache=cache or _cache(), progress=progress or _silent
        ).resolve()


def fetch(uri: str, dest: Path, *, progress: Progress | None = None) -> Path:
    """Puts the version's files into the folder `dest`, which is made, empty, or an earlier fetch of the same URI.

    A complete earlier fetch is left as it is. What a cache of this machine holds is copied; otherwise the download
    goes into `dest` itself and is there twice at no time. The root's `config.json` comes last but for the record: a
    folder without it is no version. Raises SourceError.
    """
    source = parse(uri)
    with _explained(uri):
        if isinstance(source, Local):
            _require_local(source.path, uri)
        dest.mkdir(parents=True, exist_ok=True)
        with locked(dest):
            work, version = dest / WORK, version_name(uri)
            _require_ours(dest, uri)
            record = Record.read(dest)
            if record and record.matches(dest) and not isinstance(source, Local):
                return dest
            work.mkdir(exist_ok=True)
            Record(uri, version).write(work)
            folder = _cached(source) or resolve(uri, progress=progress, cache=work)
            _place(folder, dest, progress or _silent)
            sizes = {name: path.stat().st_size for name, path in data_files(dest).items()}
            Record(uri, version, files=sizes).write(dest)
            shutil.rmtree(work)
    return dest


def log_progress(seconds: float = 5.0, logger: logging.Logger = log) -> Progress:
    """A Progress that logs a line a file, and every so many seconds while one is under way, with sizes and rate."""
    began: dict[str, tuple[float, int]] = {}
    last: dict[str, float] = {}

    def report(file: str, done: int, total: int) -> None:
        now = time.monotonic()
        start, had = began.setdefault(file, (now, done))
        over = bool(total) and done >= total
        if now - last.setdefault(file, now) < seconds and not over:
            return
        if over and last[file] == float("inf"):
            return
        last[file] = float("inf") if over else now
        rate = (done - had) / max(now - start, 1e-3)
        text = f"{file}: {human(done)}" + (f" of {human(total)}" if total else "") + f", {human(rate)}/s"
        fields = {"file": file, "done": done, "total": total, "bytes_per_second": round(rate)}
        logger.info(text, extra={"fields": fields})

    return report


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: 0 when DEST holds the version, 1 with one line when it cannot be had, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m predictor.source", description="Puts a model version into a folder. Logs JSON lines on stderr."
    )
    parser.add_argument("src", metavar="SRC", help=FORMS)
    parser.add_argument("dest", metavar="DEST", type=Path, help="folder to put it into")
    args = parser.parse_args(argv)
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("httpx", "httpx2", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    began = time.monotonic()
    try:
        folder = fetch(args.src, args.dest, progress=log_progress())
    except SourceError as error:
        log.error(str(error))
        return 1
    record = Record.read(folder)
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


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Every error on one line that begins with the URI."""
    try:
        yield
    except SourceError as error:
        text = " ".join(str(error).split())
        raise SourceError(text if text.startswith(uri) else f"{uri}: {text}") from None
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise SourceError(f"{uri}: {error.strerror or error}{where}") from None
    except ImportError as error:
        package = {"httpx2": "huggingface_hub", "tqdm": "huggingface_hub"}.get(error.name or "", error.name)
        raise SourceError(f"{uri}: needs the package {package}: pip install {package}") from None


def _require_local(path: Path, uri: str) -> None:
    if not path.exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", uri) and not uri.startswith("."):
        raise SourceError(f"{uri}: no such folder; a model of the Hugging Face Hub is written hf://{uri}")
    require_version(path, uri)


def _require_ours(dest: Path, uri: str) -> None:
    """SourceError unless `dest` is empty or was begun with the same URI: two versions' files must not mix."""
    others = [p.name for p in dest.iterdir() if p.name not in (WORK, "lost+found")]
    record = Record.read(dest / WORK) or Record.read(dest)
    if record is None and others:
        raise SourceError(f"{dest} is not empty: choose an empty folder. Found: {listing(dest)}")
    if record and record.source != uri:
        if others:
            raise SourceError(f"{dest} holds {record.source}: choose an empty folder")
        shutil.rmtree(dest / WORK)


def _cached(source: Local | Registered | Hub) -> Path | None:
    """The folder when this machine's caches hold it whole."""
    if isinstance(source, Hub):
        from predictor import source_hf

        return source_hf.cached(source.repo, source.revision, cache=None)
    if isinstance(source, Registered):
        from predictor import source_mlflow

        return source_mlflow.cached(source.name, source.version, cache=_cache())
    return None


def _place(folder: Path, dest: Path, progress: Progress) -> None:
    """Links what lies below `dest` itself into its place, copies what lies elsewhere; each file appears whole."""
    files = data_files(folder)
    inside = {name: path.is_relative_to(dest.resolve()) for name, path in files.items()}
    require_space(dest, sum(p.stat().st_size for name, p in files.items() if not inside[name]), "the copy")
    for name, path in sorted(files.items(), key=lambda item: (item[0] == "config.json", item[0])):
        target, part = dest / name, dest / WORK / "part"
        target.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        if inside[name]:
            os.link(path, part)
        else:
            shutil.copyfile(path, part)
            progress(name, part.stat().st_size, part.stat().st_size)
        part.replace(target)
    for name in data_files(dest).keys() - files.keys():
        (dest / name).unlink()


def _cache() -> Path:
    return Path(os.environ.get("MCQA_CACHE") or "~/.cache/coding-mcqa").expanduser()


def _silent(file: str, done: int, total: int) -> None:
    """A Progress for those who want none."""


if __name__ == "__main__":
    # As __main__ this module would hold a second SourceError that the sources' errors are no instances of.
    from predictor.source import main as run

    sys.exit(run())
