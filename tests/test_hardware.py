"""The processor's abilities, from known descriptions of one."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from worldmodel import hardware
from worldmodel.errors import ConfigError


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """Kept, as torch does by default, before and after each test."""
    torch.set_flush_denormal(False)
    yield
    torch.set_flush_denormal(False)


@pytest.mark.parametrize(
    ("cpuinfo", "supported"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu avx512f amx_bf16 amx_tile\n", True),
        # torch's own answer for this one is yes: it emulates
        ("flags\t\t: fpu avx2 avx512f avx512bw avx512vl avx512dq\n", False),
        ("model name\t: avx512_bf16\nvmx flags\t: avx512_bf16\n", False),
        ("", False),
    ],
)
def test_bf16_is_decided_by_the_processors_flags(
    cpuinfo: str, supported: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo)
    flags = hardware._processor_flags(path)
    monkeypatch.setattr(hardware, "_processor_flags", lambda: flags)
    assert hardware.bf16_supported() is supported


def test_a_system_without_cpuinfo_has_no_flags(tmp_path: Path) -> None:
    assert hardware._processor_flags(tmp_path / "nothing") == frozenset()


@pytest.mark.parametrize(
    ("accelerator", "cuda", "cpu_bf16", "cuda_bf16", "precision"),
    [
        ("cpu", False, True, False, "bf16-mixed"),
        ("cpu", False, False, False, "32-true"),
        ("cpu", True, False, True, "32-true"),
        ("auto", False, True, False, "bf16-mixed"),
        ("auto", True, False, True, "bf16-mixed"),
        ("auto", True, True, False, "32-true"),
        ("cuda", True, False, True, "bf16-mixed"),
        ("gpu", True, True, False, "32-true"),
        ("mps", False, True, False, "32-true"),
    ],
)
def test_precision_follows_the_accelerator_that_computes(
    accelerator: str,
    cuda: bool,
    cpu_bf16: bool,
    cuda_bf16: bool,
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: cuda_bf16)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(hardware, "bf16_supported", lambda: cpu_bf16)
    assert hardware.default_precision(accelerator) == precision


def test_a_precision_is_taken_as_asked_for_or_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "bf16_supported", lambda: True)
    assert hardware.chosen_precision("auto", "cpu") == "bf16-mixed"
    assert hardware.chosen_precision("32-true", "cpu") == "32-true"
    with pytest.raises(ConfigError, match="precision is '16-mixed': set auto or one of bf16-mixed, 32-true"):
        hardware.chosen_precision("16-mixed", "cpu")


def test_autocast_computes_in_the_precision() -> None:
    layer, found = torch.nn.Linear(2, 2), {}
    for precision in hardware.PRECISIONS:
        with hardware.autocast(torch.device("cpu"), precision):
            found[precision] = layer(torch.zeros(1, 2)).dtype
    assert found == {"bf16-mixed": torch.bfloat16, "32-true": torch.float32}


@pytest.mark.parametrize(("cpu_max", "cores"), [("200000 100000\n", 2), ("150000 100000\n", 2), ("max 100000\n", None)])
def test_a_control_groups_quota_is_rounded_up_to_cores(cpu_max: str, cores: int | None, tmp_path: Path) -> None:
    path = tmp_path / "cpu.max"
    path.write_text(cpu_max)
    assert hardware._cgroup_cores(path) == cores


def test_no_control_group_means_no_quota(tmp_path: Path) -> None:
    assert hardware._cgroup_cores(tmp_path / "nothing") is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
def test_usable_cores_are_those_of_the_affinity() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert hardware.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_threads_are_cut_to_the_usable_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(hardware, "usable_cores", lambda: 3)
    hardware.prepare_threads()
    assert chosen == [3]
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    hardware.prepare_threads()
    assert chosen == [3]


def test_denormals_become_zero() -> None:
    tiny = torch.full((1,), 2e-38)  # float32 is normal down to 1.2e-38
    assert (tiny * 0.1).item() > 0
    hardware.prepare_threads()
    assert (tiny * 0.1).item() == 0
    assert torch.get_num_threads() <= hardware.usable_cores() or "OMP_NUM_THREADS" in os.environ


def test_compilation_needs_a_compiler_and_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "some-c++"
    compiler.touch(mode=0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    assert hardware.cpp_compiler() == str(compiler)
    assert hardware.python_headers() is None
    (tmp_path / "Python.h").touch()
    assert hardware.python_headers() == tmp_path
    monkeypatch.setenv("CXX", str(tmp_path / "nothing"))
    assert hardware.cpp_compiler() is None


def test_the_usual_compiler_is_looked_up_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hardware.cpp_compiler() is None
    usual = tmp_path / ("clang++" if sys.platform == "darwin" else "g++")
    usual.touch(mode=0o755)
    assert hardware.cpp_compiler() == str(usual)
