"""The lock files, with hashes: the project's from pyproject.toml, the images' from their requirements.in.

An image's lock has the project's own versions, and fewer packages. A line `# without: NAME` in a requirements.in leaves
a package out that others ask for and this image never imports. torch is in no requirements.lock, because scripts/setup
and each image choose its build; predictor/torch-cuda.lock is the CUDA build.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tools import process
from tools.project import ROOT, torch_requirement

UV = ROOT / ".venv/bin/uv"
TARGET = ("--python-platform", "x86_64-manylinux_2_28", "--python-version", "3.11")
COMMAND = "scripts/tools lock"
NVIDIA = [
    "cublas",
    "cuda-cupti",
    "cuda-nvrtc",
    "cuda-runtime",
    "cudnn-cu13",
    "cufft",
    "cufile",
    "curand",
    "cusolver",
    "cusparse",
    "cusparselt-cu13",
    "nccl-cu13",
    "nvjitlink",
    "nvshmem-cu13",
    "nvtx",
]
CUDA_PACKAGES = (
    "torch", "triton", "cuda-bindings", "cuda-pathfinder", "cuda-toolkit", *(f"nvidia-{name}" for name in NVIDIA)
)  # fmt: skip
"""torch's build brings them, never the lock."""


def lock_project() -> None:
    """requirements.lock (to run), requirements-dev.lock (to test and lint), requirements-bench.lock (to measure)."""
    _install_uv()
    run, dev, bench = "requirements.lock", "requirements-dev.lock", "requirements-bench.lock"
    _compile("pyproject.toml", run, CUDA_PACKAGES)
    _compile("pyproject.toml", dev, CUDA_PACKAGES, "--extra", "test", "--extra", "lint", "--constraint", run)
    _compile("pyproject.toml", bench, CUDA_PACKAGES, "--all-extras", "--constraint", dev)


def lock_images() -> None:
    """Each image's requirements.lock. Run after `lock_project`."""
    _install_uv()
    torch = torch_requirement()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        constraints, source, closure = work / "constraints", work / "torch", work / "closure"
        locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")
        constraints.write_text(f"{locked}\n{torch}\n", encoding="utf-8")
        source.write_text(f"{torch}\n", encoding="utf-8")
        command = [str(UV), "pip", "compile", str(source), *TARGET, "--no-annotate", "--quiet", "--no-header"]
        process.run([*command, "--constraint", str(constraints), "--output-file", str(closure)], quiet=True)
        # What comes with torch and is not in the project's lock belongs to its CUDA build.
        with_torch, project = package_names(closure.read_text(encoding="utf-8")), package_names(locked)
        cuda, plain = sorted(with_torch - project), sorted(with_torch & project)
        constrained = ("--constraint", str(constraints))
        _compile(str(source), "predictor/torch-cuda.lock", plain, *constrained, show=True)
        for name in ("functions", "predictor", "pipelines", "deploy/mlflow"):
            requirements = f"{name}/requirements.in"
            without = left_out((ROOT / requirements).read_text(encoding="utf-8"))
            _compile(requirements, f"{name}/requirements.lock", [*cuda, *without], *constrained, show=True)


def package_names(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z][a-z0-9-]*)", lock, re.MULTILINE))


def left_out(requirements: str) -> list[str]:
    """By its lines `# without: NAME`."""
    return re.findall(r"^# without: *(\S+)", requirements, re.MULTILINE)


def _compile(source: str, lock: str, not_emitted: Iterable[str], *options: str, show: bool = False) -> None:
    command = [str(UV), "pip", "compile", source, *TARGET, "--generate-hashes", "--no-annotate", "--quiet"]
    command += ["--custom-compile-command", COMMAND, *(f"--no-emit-package={name}" for name in not_emitted)]
    process.run([*command, *options, "--output-file", lock], quiet=True)
    if show:
        count = len(package_names((ROOT / lock).read_text(encoding="utf-8")))
        print(f"{lock:<36} {count:3d} packages", flush=True)


def _install_uv() -> None:
    if not UV.exists():
        process.run([sys.executable, "-m", "pip", "install", "--quiet", "uv"])
