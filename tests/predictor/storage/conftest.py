from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def version(tmp_path: Path) -> Path:
    folder = tmp_path / "local" / "tiny-3"
    folder.mkdir(parents=True)
    for name, content in {
        "config.json": b"{}",
        "tokenizer.json": b"{}",
        "model.safetensors": os.urandom(1000),
        "calibration.json": b"{}",
        "training_args.bin": b"a pickle",
        "README.md": b"# tiny",
    }.items():
        (folder / name).write_bytes(content)
    return folder
