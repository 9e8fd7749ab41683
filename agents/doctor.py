"""Says what this machine gives the main job: ``python -m agents.doctor``.

The main job learns cartpole swing-up from pixels (``python -m agents.cem_plan``). Exit status 0 when it can run here,
1 when it cannot.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from worldmodel.build import build
from worldmodel.command import command
from worldmodel.config import ModelConfig
from worldmodel.errors import EnvError
from worldmodel.hardware import (
    auto_accelerator,
    bf16_supported,
    cpp_compiler,
    default_precision,
    prepare_threads,
    python_headers,
    usable_cores,
)
from worldmodel.provenance import processor
from worldmodel.trainer import TrainConfig, Trainer, make_fabric

DISK_GB = 1.0  # the main job's episodes, checkpoints and pictures, generously
SECONDS = 0.4  # each speed is measured for


class Row(NamedTuple):
    """A line of the report; `fatal` if the main job cannot run because of it."""

    name: str
    value: str
    fatal: bool = False


@command
def main() -> None:
    """Prints the report, a line as soon as it is known."""
    prepare_threads()
    fatal = []
    for row in report():
        print(f"{row.name:<16}{row.value}", flush=True)
        if row.fatal:
            fatal.append(row.name)
    if fatal:
        print(f"\nThe main job cannot run here: see {', '.join(fatal)} above.")
        sys.exit(1)
    print("\nThe main job can run here: python -m agents.cem_plan")


def report() -> Iterator[Row]:
    """Everything this machine gives, cheapest first."""
    yield Row("Python", f"{platform.python_version()} ({sys.executable})")
    yield Row("torch", torch.__version__)
    yield Row("processor", processor())
    yield Row("cores", f"{usable_cores()} usable of {os.cpu_count()}; torch uses {torch.get_num_threads()} threads")
    yield Row("bfloat16", "in the processor" if bf16_supported() else "not in the processor: float32 is faster there")
    yield from accelerators()
    yield compilation()
    yield disk(Path.cwd())
    opengl = drawing()
    yield opengl
    device = torch.device(auto_accelerator())
    yield Row("precision", f"{default_precision(device.type)} on {device.type} (what precision=auto means)")
    yield Row("convolution", speeds(device, convolution))
    yield Row("matrix product", speeds(device, matrix_product))
    if not opengl.fatal:
        yield main_job()


def main_job() -> Row:
    """How long ``python -m agents.cem_plan`` takes here with its defaults, from a few of its own steps."""
    # not above: see drawing
    from agents.forecast import forecast
    from agents.planners import make_planner
    from agents.planning import PlanningAgent, usual_horizon
    from agents.schedule import Schedule
    from envs import env_spec, make_env

    with initialize_config_module("configs", version_base="1.3"):
        composed = compose("cem_plan", overrides=["run=unused"])
    settings = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    env = make_env(settings["env"], rendering=settings["rendering"])
    spec = env_spec(env)
    fabric = make_fabric(settings["accelerator"], settings["devices"], settings["precision"])
    model = build(ModelConfig.from_mapping(settings["model"]), spec)
    trainer = Trainer(model, TrainConfig.from_mapping(settings["train"]), fabric)
    schedule = Schedule(**{field.name: settings[field.name] for field in fields(Schedule)})
    agent = PlanningAgent(model, make_planner(settings["planner"], spec, horizon=usual_horizon(model)))
    return Row("main job", forecast(schedule, env, agent, trainer))


def accelerators() -> Iterator[Row]:
    """A row for each CUDA device, or one that says there is none."""
    if not torch.cuda.is_available():
        yield Row("CUDA", "none")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield Row(f"CUDA {index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")


def compilation() -> Row:
    """What torch.compile needs to make faster code for the processor."""
    compiler = cpp_compiler()
    if compiler is None:
        return Row("C++ compiler", "none, so no torch.compile: for more speed apt-get install g++, or set CXX")
    if python_headers() is None:
        return Row("C++ compiler", f"{compiler}, but no Python.h: no torch.compile; apt-get install python3-dev")
    return Row("C++ compiler", f"{compiler}: torch.compile can be used")


def disk(folder: Path) -> Row:
    """Free space where a run would be written."""
    free = shutil.disk_usage(folder).free / 1e9
    if free < DISK_GB:
        return Row("disk", f"{free:.1f} GB free in {folder}: the main job wants {DISK_GB:.0f} GB", fatal=True)
    return Row("disk", f"{free:.1f} GB free in {folder}")


def drawing() -> Row:
    """The OpenGL that would draw the environment, tried."""
    # not above: a foreign package called envs must meet check_origin, not an ImportError
    from envs.rendering import GL_HELP, choose_gl, draws

    given = os.environ.get("MUJOCO_GL")
    try:
        backend = choose_gl()
    except EnvError as error:
        return Row("OpenGL", str(error), fatal=True)
    if given and not draws(backend):
        mend = f"unset it and run this again, or {GL_HELP}"
        return Row("OpenGL", f"MUJOCO_GL is {backend}, which does not draw here: {mend}", fatal=True)
    return Row("OpenGL", f"{backend} draws" + (" (MUJOCO_GL)" if given else ""))


class Workload(NamedTuple):
    """Something to time."""

    run: Callable[[], object]
    flop: int  # of one run; a multiply-add counts as two


def speeds(device: torch.device, make: Callable[[torch.device, torch.dtype], Workload]) -> str:
    """Measured GFLOP/s in float32 and, where default_precision would use it, in bfloat16."""
    full = gigaflops(device, make(device, torch.float32))
    if default_precision(device.type) == "32-true":
        return f"{full:,.0f} GFLOP/s float32"  # an emulated bfloat16 could take minutes to measure
    mixed = gigaflops(device, make(device, torch.bfloat16))
    return f"{full:,.0f} GFLOP/s float32, {mixed:,.0f} bfloat16"


def convolution(device: torch.device, dtype: torch.dtype) -> Workload:
    """3x3, 64 to 64 channels, on 64 maps of 32x32, channels last: the encoder's and decoder's main work."""
    b, c, h, w = 64, 64, 32, 32
    x = torch.ones(b, c, h, w, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    kernel = torch.ones(c, c, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    return Workload(lambda: torch.conv2d(x, kernel, padding=1), 2 * b * c * c * 9 * h * w)


def matrix_product(device: torch.device, dtype: torch.dtype) -> Workload:
    """1024x1024 by 1024x1024: the dense recurrence's main work."""
    n = 1024
    x = torch.ones(n, n, device=device, dtype=dtype)
    return Workload(lambda: x @ x, 2 * n**3)


@torch.inference_mode()
def gigaflops(device: torch.device, workload: Workload) -> float:
    """The workload's best of as many runs as fit in SECONDS, after one to warm up."""
    _timed(device, workload.run)
    end = time.perf_counter() + SECONDS
    best = _timed(device, workload.run)
    while time.perf_counter() < end:
        best = min(best, _timed(device, workload.run))
    return workload.flop / best / 1e9


def _timed(device: torch.device, run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
