"""A version's weights: safetensors files, memory-mapped, never executed.

Only safetensors is read: a pickle (`pytorch_model.bin`) can run code on load and is refused by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from predictor.errors import VersionError
from predictor.lora_adapter import ADAPTER_CONFIG, ADAPTER_FILE, EMBEDDING, HEAD, LoraAdapter
from predictor.version_files import has_file, read_json, short_repr

if TYPE_CHECKING:
    import torch

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_FLOATS = ("float64", "float32", "bfloat16", "float16")
# Older checkpoints contain the rotary angles, which follow from config.json.
_DERIVED = ".rotary_emb.inv_freq"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a version, in the index's order.

    VersionError when there are none, or when one would not be read: its tensors would be silently left out.
    """
    single = folder / SINGLE_FILE
    if has_file(folder / INDEX_FILE):
        files = [folder / name for name in dict.fromkeys(_weight_map(folder).values())]
        for file in files:
            if file.parent != folder or not has_file(file):
                raise VersionError(f"{folder}: {INDEX_FILE} names {short_repr(file.name)}, which is not there")
    elif has_file(single):
        files = [single]
    else:
        names = ", ".join(sorted(p.name for p in folder.iterdir())[:12]) if folder.is_dir() else "no such folder"
        if any(folder.glob("*.bin")):
            raise VersionError(
                f"{folder}: contains pickled weights (*.bin); only safetensors are loaded. Found: {names}"
            )
        raise VersionError(f"{folder}: no {SINGLE_FILE}. Found: {names}")
    adapter = {ADAPTER_FILE} if has_file(folder / ADAPTER_CONFIG) else set()
    others = {p.name for p in folder.glob("*.safetensors")} - {file.name for file in files} - adapter
    if others:
        why = f"without {ADAPTER_CONFIG}" if ADAPTER_FILE in others else f"{INDEX_FILE} does not name it"
        raise VersionError(f"{folder}: {min(others)} would be left out: {why}")
    return files


def _weight_map(folder: Path) -> dict[str, str]:
    files = read_json(folder / INDEX_FILE).get("weight_map")
    valid = isinstance(files, dict) and files and all(isinstance(v, str) and "\0" not in v for v in files.values())
    if not valid:
        raise VersionError(f"{folder / INDEX_FILE}: weight_map must be an object of tensors and their files")
    return dict(files or {})


def prefetch(folder: Path) -> int:
    """Asks the kernel to read a version's weights ahead into the page cache; returns the number of bytes.

    Costs nothing and returns at once, so it can run before torch is imported: the disk works while Python imports.
    """
    total = 0
    if not hasattr(os, "posix_fadvise"):
        return total
    base, adapter = _split_adapter(folder)
    files = weight_files(base)
    if adapter and has_file(adapter / ADAPTER_FILE):
        files.append(adapter / ADAPTER_FILE)
    for file in files:
        with file.open("rb") as f:
            size = os.fstat(f.fileno()).st_size
            os.posix_fadvise(f.fileno(), 0, size, os.POSIX_FADV_WILLNEED)
            total += size
    return total


class Weights:
    """The tensors of a version by name, converted to one dtype and device; LoRA adapters are merged on the way.

    A tensor whose dtype and device already fit is a view of the mapped file: nothing is copied. VersionError when the
    files and their index disagree, or an adapter cannot be merged completely.
    """

    def __init__(self, folder: Path, *, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype, self._device = dtype, device
        self._base, adapter = _split_adapter(folder)
        self._tensors = _open(self._base)
        self._used: set[str] = set()
        self._adapter = LoraAdapter(adapter, self._tensors) if adapter else None

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def get(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """The tensor `name`; VersionError when it is absent or its shape differs."""
        tensor = self._read(name)
        if self._adapter is not None:
            tensor = self._adapter.merged(name, tensor)
        return self._fit(name, tensor, shape)

    def head(self, shape: tuple[int, ...]) -> torch.Tensor | None:
        """The output matrix of a model with tied embeddings; None if it is the embedding itself.

        An adapter may train one of the two, which makes them two.
        """
        if HEAD in self._tensors and not self._read(HEAD).equal(self._read(EMBEDDING)):
            raise VersionError(
                f"{self._base}: {HEAD} would be left out: config.json ties it to {EMBEDDING}, which differs; "
                "set tie_word_embeddings to false"
            )
        if self._adapter is None or not self._adapter.splits_tied_head:
            return None
        return self._fit(HEAD, self._adapter.merged(HEAD, self._read(EMBEDDING)), shape)

    def require_all_used(self) -> None:
        """VersionError, with its name, when a tensor was never read: the weights are another model's."""
        left = [name for name in self._tensors if name not in self._used and not name.endswith(_DERIVED)]
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            raise VersionError(
                f"{self._base}: {short_repr(left[0], 120)}{more} would be left out: config.json has no place for it"
            )

    def _read(self, name: str) -> torch.Tensor:
        handle = self._tensors.get(name)
        if handle is None:
            raise VersionError(f"{self._base}: the weights have no tensor {name}")
        self._used.add(name)
        try:
            tensor: torch.Tensor = handle.get_tensor(name)
        except Exception as error:  # noqa: BLE001 - the library's own, and torch's for an unknown dtype
            raise VersionError(f"{self._base}: {name}: {error}") from None
        return tensor

    def _fit(self, name: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        if tuple(tensor.shape) != shape:
            raise VersionError(f"{self._base}: {name} has shape {tuple(tensor.shape)}, config.json says {shape}")
        if str(tensor.dtype).removeprefix("torch.") not in _FLOATS:
            raise VersionError(f"{self._base}: {name} is {tensor.dtype}, only float weights are read")
        return tensor.to(device=self._device, dtype=self._dtype)


def _open(folder: Path) -> dict[str, Any]:
    """Each tensor's open file by its name; VersionError unless each is present once, where the index says."""
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, Any] = {}
    file_of: dict[str, str] = {}
    for file in weight_files(folder):
        try:
            handle: Any = safe_open(file, framework="pt", device="cpu")
            names = list(handle.keys())
        except (SafetensorError, OSError, ValueError) as error:
            raise VersionError(f"{file}: {error}") from None
        for name in names:
            if name in tensors:
                raise VersionError(f"{folder}: {short_repr(name, 120)} is both in {file_of[name]} and in {file.name}")
            tensors[name], file_of[name] = handle, file.name
    if has_file(folder / INDEX_FILE):
        index = _weight_map(folder)
        for name in sorted(index.keys() | file_of.keys()):
            if index.get(name) != file_of.get(name):
                says = f"{INDEX_FILE} says {index.get(name) or 'nowhere'}"
                raise VersionError(f"{folder}: {short_repr(name, 120)} is in {file_of.get(name) or 'no file'}, {says}")
    return tensors


def _split_adapter(folder: Path) -> tuple[Path, Path | None]:
    """(base folder, adapter folder or None). A LoRA version keeps its base in `base/`, so it is self-contained."""
    if not has_file(folder / ADAPTER_CONFIG):
        return folder, None
    base = folder / "base"
    if not base.is_dir():
        return folder, folder
    if has_file(base / ADAPTER_CONFIG):
        raise VersionError(f"{base}: an adapter's base must be plain weights, this is an adapter too: merge it first")
    beside = sorted(p.name for p in folder.glob("*.safetensors") if p.name != ADAPTER_FILE)
    if beside:
        raise VersionError(f"{folder}: {beside[0]} would be left out: the adapter's base is in {base.name}/")
    return base, folder
