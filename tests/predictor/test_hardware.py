import os

import pytest
import torch

from predictor import hardware
from predictor.hardware import HardwareError, select_hardware, usable_cpus


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what a machine without CUDA does")
def test_without_cuda_the_cpus_instructions_decide(monkeypatch) -> None:
    monkeypatch.setattr(hardware, "bfloat16_instructions", lambda: "AVX512-BF16")
    assert (select_hardware().dtype_name, select_hardware().reason) == (
        "bfloat16",
        "no CUDA GPU; the CPU has AVX512-BF16",
    )
    monkeypatch.setattr(hardware, "bfloat16_instructions", lambda: None)
    assert (select_hardware().dtype_name, select_hardware().reason) == (
        "float32",
        "no CUDA GPU; the CPU has no bfloat16 instructions",
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what a machine without CUDA does")
def test_cuda_asked_for_but_absent() -> None:
    with pytest.raises(HardwareError, match="no CUDA GPU"):
        select_hardware("cuda")


def test_an_explicit_dtype_is_met() -> None:
    assert select_hardware("cpu", "float32").dtype == torch.float32
    assert select_hardware("cpu", "bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize(("device", "dtype"), [("tpu", "auto"), ("cpu", "float8")])
def test_unknown_names_list_the_known_ones(device, dtype) -> None:
    with pytest.raises(HardwareError, match="is unknown; choose one of"):
        select_hardware(device, dtype)


EVERYTHING = {"avx512_vnni": True, "avx512_bf16": True, "amx_bf16": True}


@pytest.mark.parametrize(
    ("limit", "bfloat16", "vnni"),
    [
        ("", "AMX-BF16", True),
        ("all", "AMX-BF16", True),
        ("AVX512_CORE_AMX", "AMX-BF16", True),
        ("AVX512_CORE_FP16", "AVX512-BF16", True),
        ("AVX512_CORE_BF16", "AVX512-BF16", True),
        ("AVX512_CORE_VNNI", None, True),
        ("AVX512_CORE", None, False),
        ("avx2", None, False),
        ("SSE41", None, False),
    ],
)
@pytest.mark.parametrize("variable", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_instructions_that_onednn_may_not_use_do_not_count(monkeypatch, variable, limit, bfloat16, vnni) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setenv(variable, limit)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: EVERYTHING)
    assert hardware.bfloat16_instructions() == bfloat16
    assert hardware.vnni_instructions() == vnni


def test_int8_needs_vnni(monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(HardwareError, match="AVX512-VNNI"):
        select_hardware("cpu", "int8")


@pytest.mark.parametrize(
    ("text", "limit"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("junk", None)]
)
def test_a_containers_cpu_limit_bounds_the_threads(tmp_path, monkeypatch, text, limit) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "cpu.max").write_text(text)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert usable_cpus(tmp_path / "cpu.max") == (limit or available)
    assert usable_cpus(tmp_path / "absent") == available


def test_the_number_of_threads_can_be_set(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert usable_cpus(tmp_path / "absent") == 3
