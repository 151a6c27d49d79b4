"""A version's weights: safetensors files, memory-mapped, never executed.

Only safetensors is read: a pickle (`pytorch_model.bin`) can run code on load and is refused by name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"


class VersionError(RuntimeError):
    """A folder is not a usable model version; the message says what is missing or wrong."""


def read_json(path: Path) -> dict:
    """The JSON object in a file; VersionError with the path when it is absent or broken."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise VersionError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise VersionError(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise VersionError(f"{path}: must hold a JSON object")
    return data


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a version, in the index's order."""
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    if (folder / INDEX_FILE).is_file():
        names = dict.fromkeys(read_json(folder / INDEX_FILE).get("weight_map", {}).values())
        files = [folder / name for name in names]
        for name, file in zip(names, files, strict=True):
            if Path(name).name != name or not file.is_file():
                raise VersionError(f"{folder}: {INDEX_FILE} names {name}, which is not there")
        return files
    found = ", ".join(sorted(p.name for p in folder.iterdir())[:12]) if folder.is_dir() else "no such folder"
    if any(folder.glob("*.bin")):
        raise VersionError(f"{folder}: holds pickled weights (*.bin); only safetensors are loaded. Found: {found}")
    raise VersionError(f"{folder}: no {SINGLE_FILE}. Found: {found}")


def prefetch(folder: Path) -> int:
    """Asks the kernel to read a version's weights ahead into the page cache; returns the bytes asked for.

    Costs nothing and returns at once, so it can run before torch is imported: the disk works while Python imports.
    """
    total = 0
    if not hasattr(os, "posix_fadvise"):
        return total
    for file in weight_files(folder):
        with file.open("rb") as f:
            size = os.fstat(f.fileno()).st_size
            os.posix_fadvise(f.fileno(), 0, size, os.POSIX_FADV_WILLNEED)
            total += size
    return total


class Weights:
    """The tensors of a version by name, converted to one dtype and device; LoRA adapters are merged on the way.

    A tensor whose file dtype and device already fit is a view of the mapped file: nothing is copied.
    """

    def __init__(self, folder: Path, *, dtype: torch.dtype, device: torch.device) -> None:
        from safetensors import SafetensorError, safe_open

        self._dtype, self._device = dtype, device
        self._base, adapter = _split_adapter(folder)
        self._where: dict[str, object] = {}
        try:
            for file in weight_files(self._base):
                handle = safe_open(file, framework="pt", device="cpu")
                self._where.update(dict.fromkeys(handle.keys(), handle))
        except SafetensorError as error:
            raise VersionError(f"{file}: {error}") from None
        self._lora = _Lora(adapter) if adapter else None

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def get(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """The tensor called `name`; VersionError when it is absent or its shape is another."""
        handle = self._where.get(name)
        if handle is None:
            raise VersionError(f"{self._base}: the weights have no tensor {name}")
        tensor = handle.get_tensor(name)  # type: ignore[attr-defined]
        if tuple(tensor.shape) != shape:
            raise VersionError(f"{self._base}: {name} has shape {tuple(tensor.shape)}, config.json says {shape}")
        if not tensor.dtype.is_floating_point:
            raise VersionError(f"{self._base}: {name} is {tensor.dtype}, only float weights are read")
        if self._lora is not None:
            tensor = self._lora.merged(name, tensor)
        return tensor.to(device=self._device, dtype=self._dtype)


def _split_adapter(folder: Path) -> tuple[Path, Path | None]:
    """(base folder, adapter folder or None). A LoRA version keeps its base in `base/`, so it is whole by itself."""
    if not (folder / ADAPTER_CONFIG).is_file():
        return folder, None
    base = folder / "base"
    return (base if base.is_dir() else folder), folder


class _Lora:
    """A peft LoRA adapter: W' = W + B A * alpha / r (Hu et al. 2021, arXiv 2106.09685)."""

    def __init__(self, folder: Path) -> None:
        from safetensors.torch import load_file

        config = read_json(folder / ADAPTER_CONFIG)
        if config.get("peft_type", "LORA") != "LORA" or config.get("use_dora") or config.get("bias", "none") != "none":
            raise VersionError(f"{folder}: only plain LoRA adapters are merged, this is {config.get('peft_type')}")
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        if config.get("rank_pattern") or config.get("alpha_pattern"):
            raise VersionError(f"{folder}: adapters with rank_pattern or alpha_pattern are not merged")
        self._scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
        self._tensors = load_file(folder / ADAPTER_FILE)

    def merged(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        stem = "base_model.model." + name.removesuffix(".weight")
        a, b = self._tensors.get(f"{stem}.lora_A.weight"), self._tensors.get(f"{stem}.lora_B.weight")
        if a is None or b is None:
            return weight
        delta = (b.float() @ a.float()) * self._scale
        return (weight.float() + delta).to(weight.dtype)
