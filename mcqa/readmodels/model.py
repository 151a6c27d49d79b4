"""What a model version is, from its files alone: no weights are read, only safetensors' headers."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.backoff import describe_error
from common.question import LETTERS
from mcqa.errors import CommandError
from predictor.version_files import read_json


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """`dtypes` counts parameters by number format, `files` bytes by name.

    `letters` are those that are one token, None where that is unknown.
    """

    source: str
    architecture: str
    dtypes: dict[str, int]
    files: dict[str, int]
    letters: str | None = None
    context: int | None = None

    @property
    def parameters(self) -> int:
        return sum(self.dtypes.values())

    @property
    def bytes(self) -> int:
        return sum(self.files.values())


def of_folder(folder: Path, source: str) -> ModelFacts:
    """The facts of a folder in Hugging Face layout; CommandError or VersionError when it is not one."""
    config = read_json(folder / "config.json")
    files = {p.name: p.stat().st_size for p in sorted(folder.iterdir()) if p.is_file()}
    weights = [folder / name for name in files if name.endswith(".safetensors")]
    if not weights:
        raise CommandError(f"{folder} has no .safetensors file: other weight formats are not loaded")
    dtypes: Counter[str] = Counter()
    for file in weights:
        dtypes.update(_dtypes(file))
    architecture = (config.get("architectures") or [config.get("model_type", "unknown")])[0]
    context = config.get("max_position_embeddings")
    return ModelFacts(source, architecture, dict(dtypes), files, _letters(folder / "tokenizer.json"), context)


def of_hub(repository: str, revision: str | None, source: str) -> ModelFacts:
    """The facts that the Hugging Face Hub reports about a repository, without downloading it."""
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=30)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        at = f" at revision {revision}" if revision else ""
        raise CommandError(f"the Hugging Face Hub has no {repository}{at}, or it needs a token (HF_TOKEN)") from None
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise CommandError(
            f"the Hugging Face Hub did not answer for {repository} ({describe_error(error)}): check the network, set "
            "HF_ENDPOINT to a mirror, or name a local folder"
        ) from None
    config: dict[str, Any] = info.config or {}
    dtypes = dict(info.safetensors.parameters) if info.safetensors else {}
    files = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or []}
    architecture = (config.get("architectures") or [config.get("model_type", "unknown")])[0]
    return ModelFacts(source, architecture, dtypes, files)


def _dtypes(file: Path) -> dict[str, int]:
    """Parameters by dtype from the header: 8 bytes of length, then JSON (safetensors' format description)."""
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if size > file.stat().st_size:
            raise CommandError(_incomplete(file, "its header is longer than the file"))
        try:
            header = json.loads(stream.read(size))
        except ValueError as error:
            raise CommandError(_incomplete(file, str(error))) from None
    dtypes: Counter[str] = Counter()
    for name, tensor in header.items():
        if name != "__metadata__":
            dtypes[tensor["dtype"]] += math.prod(tensor["shape"])
    return dict(dtypes)


def _incomplete(file: Path, reason: str) -> str:
    return f"{file} is not a complete safetensors file ({reason}): fetch it again"


def _letters(tokenizer: Path) -> str | None:
    if not tokenizer.is_file():
        return None
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(tokenizer))
    return "".join(x for x in LETTERS if len(loaded.encode(x, add_special_tokens=False).ids) == 1)
