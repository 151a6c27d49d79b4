"""Lock files from pyproject.toml, with hashes: one file for all Pythons that it allows, told apart by markers.

torch is left out: scripts/setup chooses its build. Its CUDA packages come with that build, never from a lock.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from packaging.markers import Marker

ROOT = Path(__file__).resolve().parent.parent
UV = [str(ROOT / ".venv" / "bin" / "uv"), "pip", "compile", "--no-annotate", "--quiet"]
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORM = "x86_64-manylinux_2_28"
LOCKS: dict[str, list[str]] = {
    "requirements.lock": [],
    "requirements-dev.lock": ["--extra", "test", "--extra", "lint", "--constraint", "requirements.lock"],
    "requirements-bench.lock": ["--all-extras", "--constraint", "requirements-dev.lock"],
}
_NVIDIA = (
    "cublas cuda-cupti cuda-nvrtc cuda-runtime cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 nccl-cu13 "
    "nvjitlink nvshmem-cu13 nvtx"
)
_CUDA = ("triton", "cuda-bindings", "cuda-pathfinder", "cuda-toolkit")
LEFT_OUT = ("torch", *_CUDA, *(f"nvidia-{part}" for part in _NVIDIA.split()))
_REQUIREMENT = re.compile(r"^(?P<pin>[A-Za-z0-9][^ ;]*==[^ ;]*) ; (?P<marker>.*?)(?P<end> \\)?$", re.MULTILINE)


def main(arguments: list[str]) -> int:
    try:
        for lock, options in LOCKS.items():
            if arguments != ["--check"]:
                write(lock, options)
            check(lock)
    except subprocess.CalledProcessError as error:
        print(f"lock: {error.cmd[-1]}: the resolver found no solution", file=sys.stderr)
        return 1
    return 0


def write(lock: str, options: list[str]) -> None:
    """Resolves once for all Pythons; versions that the lock has are kept where they still fit."""
    left_out = [f"--no-emit-package={name}" for name in LEFT_OUT]
    header = ["--custom-compile-command", "scripts/lock", "--generate-hashes"]
    command = [*UV, "pyproject.toml", "--universal", "--python-version", PYTHONS[0], *header, *left_out, *options]
    subprocess.run([*command, "--output-file", lock], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    path = ROOT / lock
    path.write_text(_REQUIREMENT.sub(_plain, path.read_text()))


def check(lock: str) -> None:
    """Has the resolver take the lock as its input, for each Python; CalledProcessError where it cannot be installed."""
    for python in PYTHONS:
        command = [*UV, "--python-platform", PLATFORM, "--python-version", python, "--no-header", lock]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        print(f"{lock}: resolves for Python {python}", flush=True)


def _plain(found: re.Match[str]) -> str:
    """The requirement with a marker that says only which Pythons it is for; without one where it is for all."""
    marker = Marker(found["marker"])
    machine = {"sys_platform": "linux", "platform_machine": "x86_64", "implementation_name": "cpython"}
    machine |= {"platform_python_implementation": "CPython", "platform_system": "Linux", "os_name": "posix"}
    pythons = [p for p in PYTHONS if marker.evaluate({**machine, "python_version": p, "python_full_version": f"{p}.0"})]
    end = found["end"] or ""
    if len(pythons) == len(PYTHONS):
        return found["pin"] + end
    return f"{found['pin']} ; {_any(pythons)}{end}" if pythons else ""


def _any(pythons: list[str]) -> str:
    return " or ".join(f"python_version == '{python}'" for python in pythons)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
