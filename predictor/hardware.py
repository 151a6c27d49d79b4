"""Which device and number format to run on, and why.

The selection follows from what the machine has and carries its reason, for log lines and `mcqa model show`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("auto", "bfloat16", "float32", "int8")


class HardwareError(RuntimeError):
    """The requested device or number format is not available on this machine."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """`dtype` is what activations are computed in; with `int8` the linear layers' weights are quantised."""

    device: torch.device
    dtype: torch.dtype
    int8: bool
    threads: int
    reason: str

    @property
    def dtype_name(self) -> str:
        return "int8" if self.int8 else str(self.dtype).removeprefix("torch.")


def select_hardware(device: str = "auto", dtype: str = "auto") -> Hardware:
    """The device and dtype to use. `auto` picks CUDA before CPU, and bfloat16 wherever the hardware computes in it.

    Raises HardwareError when an explicit choice is not available.
    """
    if device not in DEVICES:
        raise HardwareError(f"device {device!r} is unknown; choose one of {', '.join(DEVICES)}")
    if dtype not in DTYPES:
        raise HardwareError(f"dtype {dtype!r} is unknown; choose one of {', '.join(DTYPES)}")
    import torch

    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise HardwareError("device cuda was requested, but torch finds no CUDA GPU; use --device cpu or auto")
    if device == "cuda" or (device == "auto" and has_cuda):
        return _cuda(dtype)
    return _cpu(dtype)


def _cuda(dtype: str) -> Hardware:
    if dtype == "int8":
        raise HardwareError("dtype int8 is for the CPU (VNNI); on CUDA use bfloat16")
    import torch

    name = torch.cuda.get_device_name()
    chosen, why = torch.bfloat16, f"CUDA device {name} computes in bfloat16"
    if dtype == "float32" or not torch.cuda.is_bf16_supported(including_emulation=False):
        chosen = torch.float32
        why = f"CUDA device {name}, float32 requested" if dtype == "float32" else f"CUDA device {name} has no bfloat16"
    return Hardware(torch.device("cuda"), chosen, False, usable_cpus(), why)


def _cpu(dtype: str) -> Hardware:
    import torch

    cpu, threads = torch.device("cpu"), usable_cpus()
    instructions = bfloat16_instructions()
    if dtype == "float32":
        return Hardware(cpu, torch.float32, False, threads, "float32 requested")
    if dtype == "bfloat16":
        how = f"with {instructions}" if instructions else "emulated: this CPU has no bfloat16 instructions"
        return Hardware(cpu, torch.bfloat16, False, threads, f"bfloat16 requested, {how}")
    if dtype == "int8":
        if not vnni_instructions():
            raise HardwareError("dtype int8 needs a CPU with AVX512-VNNI; use --dtype auto")
        base = torch.bfloat16 if instructions else torch.float32
        return Hardware(cpu, base, True, threads, "int8 requested; AVX512-VNNI multiplies it")
    if instructions:
        return Hardware(cpu, torch.bfloat16, False, threads, f"no CUDA GPU; the CPU has {instructions}")
    return Hardware(cpu, torch.float32, False, threads, "no CUDA GPU; the CPU has no bfloat16 instructions")


_BELOW_VNNI = frozenset({"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE"})
_BELOW_BF16 = _BELOW_VNNI | {"AVX512_CORE_VNNI"}
_BELOW_AMX = _BELOW_BF16 | {"AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10_1_512"}
"""oneDNN's values of ONEDNN_MAX_CPU_ISA that leave the named instructions out (its CPU dispatcher control)."""


def bfloat16_instructions() -> str | None:
    """The bfloat16 matrix instructions that oneDNN will use, by name; None where it emulates them."""
    import torch

    has, limit = torch.cpu.get_capabilities(), _instruction_limit()
    if has.get("amx_bf16") and limit not in _BELOW_AMX:
        return "AMX-BF16"
    if has.get("avx512_bf16") and limit not in _BELOW_BF16:
        return "AVX512-BF16"
    return "Arm BF16" if has.get("bf16") else None


def vnni_instructions() -> bool:
    """Whether oneDNN will multiply bytes with AVX512-VNNI."""
    import torch

    return bool(torch.cpu.get_capabilities().get("avx512_vnni")) and _instruction_limit() not in _BELOW_VNNI


def _instruction_limit() -> str:
    """The limit set for oneDNN: `torch.cpu.get_capabilities` reports what the CPU has, whatever the limit."""
    return (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "").upper()


def usable_cpus(cgroup: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """CPUs this process may use: OMP_NUM_THREADS, else the smaller of its affinity and its container's CPU limit.

    torch counts the host's cores, which starts far too many threads under a Kubernetes CPU limit.
    """
    requested = os.environ.get("OMP_NUM_THREADS", "")
    if requested.isdigit() and int(requested) > 0:
        return int(requested)
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    try:
        quota, period = cgroup.read_text().split()
    except (OSError, ValueError):
        return count
    if quota == "max":
        return count
    return max(1, min(count, round(int(quota) / int(period))))
