"""The lock files, with hashes: the project's from pyproject.toml, the images' from their requirements.in.

The project's are one file for all Pythons that it allows, told apart by markers. An image's lock has the project's own
versions, and fewer packages. A line `# without: NAME` in a requirements.in leaves a package out that others require and
this image never imports. torch is in no requirements.lock, because scripts/setup and each image choose its build;
predictor/torch-cuda.lock is the CUDA build.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.markers import Marker

from tools import process
from tools.errors import CommandFailedError, ToolError
from tools.project import ROOT, torch_requirement

UV = ROOT / ".venv/bin/uv"
COMPILE = (str(UV), "pip", "compile", "--no-annotate", "--quiet")
PYTHONS = ("3.11", "3.12", "3.13")
IMAGE_PYTHON = "3.11"
PLATFORM = ("--python-platform", "x86_64-manylinux_2_28")
HEADER = ("--custom-compile-command", "scripts/tools lock", "--generate-hashes")
LOCKS: Mapping[str, tuple[str, ...]] = {
    "requirements.lock": (),
    "requirements-dev.lock": ("--extra", "test", "--extra", "lint", "--constraint", "requirements.lock"),
    "requirements-bench.lock": ("--all-extras", "--constraint", "requirements-dev.lock"),
}
"""To run the product; to develop and test it as well; to measure it as well."""
NVIDIA = (
    "cublas", "cuda-cupti", "cuda-nvrtc", "cuda-runtime", "cudnn-cu13", "cufft", "cufile", "curand", "cusolver",
    "cusparse", "cusparselt-cu13", "nccl-cu13", "nvjitlink", "nvshmem-cu13", "nvtx",
)  # fmt: skip
CUDA_PACKAGES = (
    "torch", "triton", "cuda-bindings", "cuda-pathfinder", "cuda-toolkit", *(f"nvidia-{name}" for name in NVIDIA)
)  # fmt: skip
"""torch's build brings them, never the lock."""
MACHINE = {
    "sys_platform": "linux", "platform_machine": "x86_64", "implementation_name": "cpython",
    "platform_python_implementation": "CPython", "platform_system": "Linux", "os_name": "posix",
}  # fmt: skip
"""What the locks are for, as markers name it."""
_REQUIREMENT = re.compile(r"^(?P<pin>[A-Za-z0-9][^ ;]*==[^ ;]*) ; (?P<marker>.*?)(?P<end> \\)?$", re.MULTILINE)


def lock_project() -> None:
    """Resolves once for all Pythons; versions that a lock has are kept where they still fit."""
    _install_uv()
    for lock, options in LOCKS.items():
        command = [*COMPILE, "pyproject.toml", "--universal", "--python-version", PYTHONS[0], *HEADER]
        _resolve([*command, *_without(CUDA_PACKAGES), *options, "--output-file", lock], lock)
        path = ROOT / lock
        path.write_text(with_python_markers(path.read_text(encoding="utf-8")), encoding="utf-8")


def check_project() -> None:
    """Has the resolver take each lock as its input, for each Python."""
    _install_uv()
    for lock in LOCKS:
        for python in PYTHONS:
            _resolve([*COMPILE, *PLATFORM, "--python-version", python, "--no-header", lock], f"{lock}, Python {python}")
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
        constrained = ("--constraint", str(constraints))
        target = (*PLATFORM, "--python-version", IMAGE_PYTHON)
        _resolve([*COMPILE, str(source), *target, "--no-header", *constrained, "--output-file", str(closure)], "torch")
        # What comes with torch and is not in the project's lock belongs to its CUDA build.
        with_torch, project = package_names(closure.read_text(encoding="utf-8")), package_names(locked)
        cuda, plain = sorted(with_torch - project), sorted(with_torch & project)
        _lock_image(str(source), "predictor/torch-cuda.lock", plain, *target, *constrained)
        for name in ("functions", "predictor", "pipelines", "deploy/mlflow"):
            requirements = f"{name}/requirements.in"
            without = left_out((ROOT / requirements).read_text(encoding="utf-8"))
            _lock_image(requirements, f"{name}/requirements.lock", [*cuda, *without], *target, *constrained)


def package_names(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z][a-z0-9-]*)", lock, re.MULTILINE))


def left_out(requirements: str) -> list[str]:
    """By its lines `# without: NAME`."""
    return re.findall(r"^# without: *(\S+)", requirements, re.MULTILINE)


def with_python_markers(lock: str) -> str:
    """The requirements with markers that say only which Pythons they are for; without one where it is all of them."""
    return _REQUIREMENT.sub(_with_python_marker, lock)


def _with_python_marker(requirement: re.Match[str]) -> str:
    pin, end, marker = requirement["pin"], requirement["end"] or "", Marker(requirement["marker"])
    pythons = [
        python
        for python in PYTHONS
        if marker.evaluate({**MACHINE, "python_version": python, "python_full_version": f"{python}.0"})
    ]
    if len(pythons) == len(PYTHONS):
        return pin + end
    names = " or ".join(f"python_version == '{python}'" for python in pythons)
    return f"{pin} ; {names}{end}" if pythons else ""


def _lock_image(source: str, lock: str, without: Iterable[str], *options: str) -> None:
    _resolve([*COMPILE, source, *options, *HEADER, *_without(without), "--output-file", lock], lock)
    count = len(package_names((ROOT / lock).read_text(encoding="utf-8")))
    print(f"{lock:<36} {count:3d} packages", flush=True)


def _resolve(command: list[str], what: str) -> None:
    try:
        process.run(command, quiet=True)
    except CommandFailedError:
        raise ToolError(f"{what}: the resolver found no solution") from None


def _without(names: Iterable[str]) -> list[str]:
    return [f"--no-emit-package={name}" for name in names]


def _install_uv() -> None:
    if not UV.exists():
        process.run([sys.executable, "-m", "pip", "install", "--quiet", "uv"])
