"""Models of the Hugging Face Hub, through huggingface_hub and its cache; the only module that imports it.

HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean what they mean to that library. It fetches all but the large
files: its own download of a file starts from scratch when the process was stopped, so large files are downloaded here,
verified against their SHA-256, and put where its cache expects them.
"""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.hf_api import BlobLfsInfo, RepoSibling
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    filter_repo_objects,
    get_session,
    hf_raise_for_status,
)
from tqdm import tqdm

from common.backoff import describe_error
from predictor.storage.download import CHUNK_BYTES, Progress, download
from predictor.storage.errors import StorageError, TransientError
from predictor.storage.version_folder import DATA_SUFFIXES, locked, require_space, require_version

log = logging.getLogger(__name__)

ALLOW = [f"*{suffix}" for suffix in DATA_SUFFIXES]
# Sub-folders of a repository hold other formats of the same model (onnx/, original/).
IGNORE = ["*/*"]
LARGE_BYTES = 1 << 20
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


def cached(repo: str, revision: str | None, *, cache: Path | None) -> Path | None:
    """The snapshot's folder if the Hub's cache holds it completely; never uses the network."""
    try:
        return _snapshot(repo, revision, cache, local_files_only=True)
    except (LocalEntryNotFoundError, StorageError):
        return None
    except HFValidationError as error:
        raise StorageError(describe_error(error)) from None


def resolve(repo: str, revision: str | None, *, cache: Path | None, progress: Progress) -> Path:
    """The snapshot's folder in the Hub's cache (or in `cache`), fetched if it is not complete there.

    A branch whose snapshot is complete is not checked for updates: name a commit or tag to get another state of it.
    """
    if folder := cached(repo, revision, cache=cache):
        return folder
    with _storage_errors(repo, revision):
        info = HfApi().model_info(repo, revision=revision, files_metadata=True)
        files = {f.rfilename: f for f in info.siblings or []}
        wanted = list(filter_repo_objects(files, allow_patterns=ALLOW, ignore_patterns=IGNORE))
        if not any(name.endswith(".safetensors") for name in wanted):
            names = ", ".join(sorted(files)[:12]) or "nothing"
            raise StorageError(f"no safetensors in this repository; other formats are not loaded. Found: {names}")
        rest = 0
        for file in (files[name] for name in wanted):
            if file.lfs and file.lfs.size >= LARGE_BYTES:
                _fetch_large(repo, str(info.sha), file, file.lfs, cache, progress)
            else:
                rest += file.size or 0
        return _snapshot(repo, revision, cache, tqdm_class=_bar(lambda n: progress("other files", min(n, rest), rest)))


def _snapshot(repo: str, revision: str | None, cache: Path | None, **options: Any) -> Path:
    folder = snapshot_download(
        repo, revision=revision, cache_dir=cache, allow_patterns=ALLOW, ignore_patterns=IGNORE, **options
    )
    require_version(Path(folder), f"hf://{repo}" + (f"@{revision}" if revision else ""))
    return Path(folder)


def _fetch_large(
    repo: str, commit: str, file: RepoSibling, lfs: BlobLfsInfo, cache: Path | None, progress: Progress
) -> None:
    """Completes one LFS file as a blob of the Hub's cache, whose blobs are named by their SHA-256."""
    sha, size, name = lfs.sha256, lfs.size, file.rfilename
    storage = Path(cache or constants.HF_HUB_CACHE).expanduser() / repo_folder_name(repo_id=repo, repo_type="model")
    blob, part = storage / "blobs" / sha, storage / "blobs" / f"{sha}.resume.incomplete"
    blob.parent.mkdir(parents=True, exist_ok=True)
    with locked(storage / f".{sha}.lock"):
        if not blob.exists():
            require_space(blob.parent, size - (part.stat().st_size if part.exists() else 0), name)
            download(
                functools.partial(_stream, hf_hub_url(repo, name, revision=commit)),
                part,
                size,
                name=name,
                report=lambda done: progress(name, done, size),
                errors=httpx2.TransportError,
            )
            if _sha256(part) != sha:
                part.unlink()
                raise StorageError(f"{name}: its SHA-256 differs from the repository's: it was removed, try again")
            part.replace(blob)
    progress(name, size, size)


@contextmanager
def _stream(url: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
    """The response to a GET of one file. Redirects to the content network do not forward the token."""
    merged = {**build_hf_headers(), "Accept-Encoding": "identity", **headers}
    timeout = httpx2.Timeout(constants.HF_HUB_DOWNLOAD_TIMEOUT, read=60.0)
    with get_session().stream("GET", url, headers=merged, timeout=timeout) as response:
        if response.status_code in TRANSIENT_STATUSES:
            after = response.headers.get("retry-after", "")
            raise TransientError(f"{response.status_code} of the Hub", float(after) if after.isdigit() else None)
        if response.status_code != 416:
            hf_raise_for_status(response)
        yield response


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while chunk := f.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _bar(report: Callable[[int], None]) -> type[tqdm]:
    """A tqdm class that prints nothing and reports the bytes of the bar with the most progress."""
    lock, furthest = threading.Lock(), [0]

    class Bar(tqdm):  # type: ignore[misc]  # untyped
        monitor_interval = 0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": False, "file": io.StringIO()})

        def update(self, n: float | None = 1) -> bool | None:
            refreshed: bool | None = super().update(n)
            with lock:
                if self.unit == "B" and self.n > furthest[0]:
                    furthest[0] = int(self.n)
                    report(furthest[0])
            return refreshed

    # tqdm's default lock starts a helper process.
    Bar.set_lock(threading.RLock())
    return Bar


@contextmanager
def _storage_errors(repo: str, revision: str | None) -> Iterator[None]:
    """Turns what the library raises into a StorageError that says what to do."""
    hub = constants.ENDPOINT
    try:
        yield
    except GatedRepoError:
        raise StorageError(f"gated: accept its terms at {hub}/{repo}, then set HF_TOKEN") from None
    except RepositoryNotFoundError:
        raise StorageError(f"no such model at {hub}, or a private one: check the name, or set HF_TOKEN") from None
    except RevisionNotFoundError:
        raise StorageError(f"no revision {revision or 'main'} in this repository: see {hub}/{repo}/commits") from None
    except HFValidationError as error:
        raise StorageError(describe_error(error)) from None
    except OfflineModeIsEnabled:
        where = constants.HF_HUB_CACHE
        raise StorageError(
            f"not complete in {where} and HF_HUB_OFFLINE is set: unset it, or name a local folder"
        ) from None
    except (LocalEntryNotFoundError, httpx2.TransportError) as error:
        cause = error.__cause__ or error
        reason = describe_error(cause) if isinstance(cause, Exception) else str(cause)
        hint = "check the network, set HF_ENDPOINT to a mirror, or name a local folder"
        raise StorageError(f"cannot reach {hub} ({reason}): {hint}") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "?"
        raise StorageError(f"{hub} answered {status}: try again later, or name a local folder") from None
