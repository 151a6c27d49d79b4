"""Models of the Hugging Face Hub, through huggingface_hub and its cache; the only module that imports it.

HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean what they mean to that library. It fetches all but the large
files: its own download of a file starts again from nothing when the process was stopped, so those are completed here
and put, checked against their SHA-256, where its cache expects them.
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

from predictor.source_files import (
    CHUNK,
    DATA_SUFFIXES,
    Progress,
    SourceError,
    TransientError,
    describe,
    download,
    locked,
    require_space,
    require_version,
)

log = logging.getLogger(__name__)

ALLOW = [f"*{suffix}" for suffix in DATA_SUFFIXES]
# Sub-folders of a repository hold other formats of the same model (onnx/, original/).
IGNORE = ["*/*"]
LARGE = 1 << 20
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


def cached(repo: str, revision: str | None, *, cache: Path | None) -> Path | None:
    """The snapshot's folder when the Hub's cache holds it whole; nothing is asked over the network."""
    try:
        return _snapshot(repo, revision, cache, local_files_only=True)
    except (LocalEntryNotFoundError, SourceError):
        return None
    except HFValidationError as error:
        raise SourceError(describe(error)) from None


def resolve(repo: str, revision: str | None, *, cache: Path | None, progress: Progress) -> Path:
    """The snapshot's folder in the Hub's cache (or in `cache`), fetched if it is not there whole.

    A branch that is there whole is not asked for again: name a commit or tag to get another state of it.
    """
    if folder := cached(repo, revision, cache=cache):
        return folder
    with _explained(repo, revision):
        info = HfApi().model_info(repo, revision=revision, files_metadata=True)
        files = {f.rfilename: f for f in info.siblings or []}
        wanted = list(filter_repo_objects(files, allow_patterns=ALLOW, ignore_patterns=IGNORE))
        if not any(name.endswith(".safetensors") for name in wanted):
            found = ", ".join(sorted(files)[:12]) or "nothing"
            raise SourceError(f"no safetensors in this repository; other formats are not loaded. Found: {found}")
        rest = 0
        for file in (files[name] for name in wanted):
            if file.lfs and file.lfs.size >= LARGE:
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
                raise SourceError(f"{name}: its SHA-256 is not the repository's: it was removed, try again")
            part.replace(blob)
    progress(name, size, size)


@contextmanager
def _stream(url: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
    """The response to a GET of one file. Redirects to the content network do not carry the token along."""
    merged = {**build_hf_headers(), "Accept-Encoding": "identity", **headers}
    timeout = httpx2.Timeout(constants.HF_HUB_DOWNLOAD_TIMEOUT, read=60.0)
    with get_session().stream("GET", url, headers=merged, timeout=timeout) as response:
        if response.status_code in PASSING:
            after = response.headers.get("retry-after", "")
            raise TransientError(f"{response.status_code} of the Hub", float(after) if after.isdigit() else None)
        if response.status_code != 416:
            hf_raise_for_status(response)
        yield response


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while chunk := f.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _bar(report: Callable[[int], None]) -> type[tqdm]:
    """A tqdm class that prints nothing and reports the bytes of the bar that is furthest."""
    lock, furthest = threading.Lock(), [0]

    class Bar(tqdm):
        monitor_interval = 0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": False, "file": io.StringIO()})

        def update(self, n: float | None = 1) -> bool | None:
            done = super().update(n)
            with lock:
                if self.unit == "B" and self.n > furthest[0]:
                    furthest[0] = int(self.n)
                    report(furthest[0])
            return done

    # tqdm's default lock starts a helper process.
    Bar.set_lock(threading.RLock())
    return Bar


@contextmanager
def _explained(repo: str, revision: str | None) -> Iterator[None]:
    """Turns what the library raises into a SourceError that says what to do."""
    hub = constants.ENDPOINT
    try:
        yield
    except GatedRepoError:
        raise SourceError(f"gated: accept its conditions at {hub}/{repo}, then set HF_TOKEN") from None
    except RepositoryNotFoundError:
        raise SourceError(f"no such model at {hub}, or a private one: check the name, or set HF_TOKEN") from None
    except RevisionNotFoundError:
        raise SourceError(f"no revision {revision or 'main'} in this repository: see {hub}/{repo}/commits") from None
    except HFValidationError as error:
        raise SourceError(describe(error)) from None
    except OfflineModeIsEnabled:
        where = constants.HF_HUB_CACHE
        raise SourceError(f"not whole in {where} and HF_HUB_OFFLINE is set: unset it, or name a local folder") from None
    except (LocalEntryNotFoundError, httpx2.TransportError) as error:
        cause = error.__cause__ or error
        reason = describe(cause) if isinstance(cause, Exception) else str(cause)
        hint = "check the network, set HF_ENDPOINT to a mirror, or name a local folder"
        raise SourceError(f"cannot reach {hub} ({reason}): {hint}") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "?"
        raise SourceError(f"{hub} answered {status}: try again later, or name a local folder") from None
