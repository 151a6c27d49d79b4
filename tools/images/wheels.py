"""Fills a folder with the packages of the images, hashes checked, for builds without an index."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tools import process
from tools.images import engine as engines
from tools.project import ROOT, torch_requirement

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
WITH_TORCH = ("predictor", "pipelines")


def download(folder: Path, names: Sequence[str], *, cuda: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pip += ["--dest", str(folder)]
    for name in names:
        lock = engines.folder_of(name) / "requirements.lock"
        process.run([*pip, "--require-hashes", "--requirement", str(lock)])
        if name not in WITH_TORCH:
            continue
        if cuda:
            lock = ROOT / "predictor" / "torch-cuda.lock"
            process.run([*pip, "--require-hashes", "--requirement", str(lock)])
        else:
            index = os.environ.get("TORCH_INDEX") or CPU_INDEX
            process.run([*pip, "--extra-index-url", index, "--retries", "0", torch_requirement()])
    print(f"images: {sum(path.is_file() for path in folder.rglob('*'))} packages in {folder}")
