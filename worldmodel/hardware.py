"""What the processor is good at, and how to ask it of torch."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from worldmodel.errors import ConfigError

PRECISIONS = ("bf16-mixed", "32-true")  # as Lightning Fabric names them

# Processor flags (as Linux names them) of instructions that multiply bfloat16.
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


def bf16_supported() -> bool:
    """Whether this processor multiplies bfloat16 itself.

    Elsewhere torch still accepts bfloat16 but emulates it, slower than float32; torch's own
    ``_is_mkldnn_bf16_supported`` says yes to both, so the processor's flags decide. False where the system lists no
    flags (macOS, Windows), and on other architectures than x86-64, where the gain has not been measured.
    """
    return not BF16_FLAGS.isdisjoint(_processor_flags())


def default_precision(accelerator: str) -> str:
    """Lightning Fabric's precision for an accelerator: ``bf16-mixed`` where bfloat16 is fast, else ``32-true``.

    Args:
        accelerator: Fabric's name of it: ``cpu``, ``cuda``, ``gpu``, ``mps``, or ``auto`` for the one Fabric picks.
    """
    if accelerator == "auto":
        accelerator = auto_accelerator()
    if accelerator in ("cuda", "gpu") and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = accelerator == "cpu" and bf16_supported()
    return "bf16-mixed" if fast else "32-true"


def chosen_precision(precision: str, accelerator: str) -> str:
    """One of `PRECISIONS`: the one asked for, or the accelerator's own for ``auto``; ConfigError for another."""
    if precision not in ("auto", *PRECISIONS):
        raise ConfigError(f"precision is {precision!r}: set auto or one of {', '.join(PRECISIONS)}")
    return default_precision(accelerator) if precision == "auto" else precision


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Computes within as Fabric's ``autocast`` does on this device, in one of `PRECISIONS`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed")


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Computes in the tensors' own precision within; torch knows no autocast on the meta device, which counts work."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def auto_accelerator() -> str:
    """The accelerator that Fabric's ``auto`` means here: ``cuda``, ``mps`` or ``cpu``."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def prepare_threads() -> None:
    """Sets torch's threads up for this process; to be called before any computation.

    Numbers below 1e-38 count as zero: processors are slow on them, and decaying states and gradients reach them.
    Threads started later inherit that, those already running do not. No more threads than `usable_cores`, unless
    ``OMP_NUM_THREADS`` says otherwise: torch counts the machine's cores, not the container's share of them.
    """
    torch.set_flush_denormal(True)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))


def usable_cores() -> int:
    """Cores this process may use: its affinity, and its control group's quota rounded up; at least 1."""
    affine = hasattr(os, "sched_getaffinity")  # Linux
    cores = len(os.sched_getaffinity(0)) if affine else os.cpu_count() or 1
    return min(cores, _cgroup_cores() or cores)


def cpp_compiler() -> str | None:
    """Path of the C++ compiler `torch.compile` would call (``CXX``, else the system's usual one); None without one."""
    return shutil.which(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++"))


def python_headers() -> Path | None:
    """Folder of Python.h; None where Python came without (Debian: package python3-dev)."""
    folder = Path(sysconfig.get_path("include"))
    return folder if (folder / "Python.h").exists() else None


def _processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    if not cpuinfo.exists():
        return frozenset()
    for line in cpuinfo.read_text().splitlines():
        key, _, values = line.partition(":")
        if key.strip() == "flags":
            return frozenset(values.split())
    return frozenset()


def _cgroup_cores(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int | None:
    """Cores in a control group's quota, from its file of ``quota period`` or ``max period``; None if unlimited."""
    if not cpu_max.exists():
        return None
    quota, period = cpu_max.read_text().split()
    return None if quota == "max" else max(1, -(-int(quota) // int(period)))
