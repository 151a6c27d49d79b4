"""The lock files, with hashes: the project's from pyproject.toml, the images' from their requirements.in.

One lock holds for every Python that pyproject.toml allows, with markers; `check_project` confirms it.
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

from packaging.markers import Marker

from tools import process
from tools.project import ROOT, torch_requirement

UV = ROOT / ".venv/bin/uv"
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORM = ("--python-platform", "x86_64-manylinux_2_28")
EVERY_PYTHON = ("--universal", "--python-version", PYTHONS[0])
IMAGE = (*PLATFORM, "--python-version", "3.11")
PROJECT_LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-bench.lock")
_MACHINE = {
    "sys_platform": "linux",
    "platform_machine": "x86_64",
    "platform_system": "Linux",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}
_MARKED = re.compile(r"^(?P<pin>[A-Za-z0-9][^ ;]*==[^ ;]*) ; (?P<marker>.*?)(?P<end> \\)?$", re.MULTILINE)
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
    run, dev, bench = PROJECT_LOCKS
    _compile_project(run)
    _compile_project(dev, "--extra", "test", "--extra", "lint", "--extra", "docs", "--constraint", run)
    _compile_project(bench, "--all-extras", "--constraint", dev)


def check_project() -> None:
    """Has the resolver take each of the project's locks as its input, for each Python; ToolError where one fails."""
    _install_uv()
    for lock in PROJECT_LOCKS:
        for python in PYTHONS:
            command = [str(UV), "pip", "compile", lock, *PLATFORM, "--python-version", python, "--no-annotate"]
            process.run([*command, "--quiet", "--no-header"], quiet=True)
            print(f"{lock}: resolves for Python {python}", flush=True)


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
        command = [str(UV), "pip", "compile", str(source), *IMAGE, "--no-annotate", "--quiet", "--no-header"]
        process.run([*command, "--constraint", str(constraints), "--output-file", str(closure)], quiet=True)
        # What comes with torch and is not in the project's lock belongs to its CUDA build.
        with_torch, project = package_names(closure.read_text(encoding="utf-8")), package_names(locked)
        cuda, plain = sorted(with_torch - project), sorted(with_torch & project)
        constrained = ("--constraint", str(constraints))
        _compile(str(source), "predictor/torch-cuda.lock", plain, *constrained, show=True)
        for name in ("functions", "predictor", "pipelines", "deploy/mlflow", "ui"):
            requirements = f"{name}/requirements.in"
            without = left_out((ROOT / requirements).read_text(encoding="utf-8"))
            _compile(requirements, f"{name}/requirements.lock", [*cuda, *without], *constrained, show=True)


def package_names(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z][a-z0-9-]*)", lock, re.MULTILINE))


def left_out(requirements: str) -> list[str]:
    """By its lines `# without: NAME`."""
    return re.findall(r"^# without: *(\S+)", requirements, re.MULTILINE)


def plain_markers(lock: str) -> str:
    """The lock with markers that name Pythons only: none on a requirement that every Python has.

    The resolver also writes down the machine of pyproject.toml's [tool.uv]. On another one pip would install nothing
    and report success.
    """
    return _MARKED.sub(_plain, lock)


def _plain(match: re.Match[str]) -> str:
    marker, end = Marker(match["marker"]), match["end"] or ""
    pythons = [
        python
        for python in PYTHONS
        if marker.evaluate({**_MACHINE, "python_version": python, "python_full_version": f"{python}.0"})
    ]
    if len(pythons) == len(PYTHONS):
        return f"{match['pin']}{end}"
    condition = " or ".join(f"python_version == '{python}'" for python in pythons)
    return f"{match['pin']} ; {condition}{end}" if pythons else ""


def _compile_project(lock: str, *options: str) -> None:
    _compile("pyproject.toml", lock, CUDA_PACKAGES, *options, target=EVERY_PYTHON)
    path = ROOT / lock
    path.write_text(plain_markers(path.read_text(encoding="utf-8")), encoding="utf-8")


def _compile(
    source: str,
    lock: str,
    not_emitted: Iterable[str],
    *options: str,
    target: Iterable[str] = IMAGE,
    show: bool = False,
) -> None:
    command = [str(UV), "pip", "compile", source, *target, "--generate-hashes", "--no-annotate", "--quiet"]
    command += ["--custom-compile-command", COMMAND, *(f"--no-emit-package={name}" for name in not_emitted)]
    process.run([*command, *options, "--output-file", lock], quiet=True)
    if show:
        count = len(package_names((ROOT / lock).read_text(encoding="utf-8")))
        print(f"{lock:<36} {count:3d} packages", flush=True)


def _install_uv() -> None:
    if not UV.exists():
        process.run([sys.executable, "-m", "pip", "install", "--quiet", "uv"])
