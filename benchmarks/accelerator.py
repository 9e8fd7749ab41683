"""Measures training, planning and imagining on an accelerator against this machine's processor.

``python -m benchmarks.accelerator`` takes what Lightning Fabric finds (CUDA, or Apple's MPS), in the precision that
commands take there, and writes a file of rows like `benchmarks.run`'s: the baseline is the processor.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks import imagining, planning, training
from benchmarks.measured import Measured
from benchmarks.run import chosen, fit, measure, model, read, search, table
from worldmodel.command import command
from worldmodel.errors import ConfigError
from worldmodel.hardware import prepare_threads
from worldmodel.trainer import make_fabric


@command
def main() -> None:
    """Measures, writes the file, and prints the table."""
    given = arguments().parse_args()
    names = chosen(given.only, list(ROWS))
    prepare_threads()
    device = make_fabric("auto", 1, "auto").device
    if device.type == "cpu":
        raise ConfigError("there is no accelerator here that torch can use: run this where there is one")
    measure(ROWS, names, given.file)
    print(torch.cuda.get_device_name(device) if device.type == "cuda" else device)
    print(table(read(given.file)))


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator", description=__doc__)
    parser.add_argument("file", type=Path, help="where rows are kept, as JSON")
    parser.add_argument("--only", default="", metavar="NAMES", help="beginnings of rows' names, with commas between")
    return parser


def train(name: str, *, batch: int, **changes: float) -> Measured:
    """A named model's training."""
    return training.against_cpu(model(name, **changes), fit(name, batch), accelerator="auto")


def plan(**changes: int) -> Measured:
    """The control model's planning."""
    return planning.against_cpu(model("control"), search(**changes), accelerator="auto")


def imagine(*, draw: bool, rows: int) -> Measured:
    """The control model's imagination."""
    return imagining.against_cpu(model("control"), accelerator="auto", draw=draw, rows=rows)


ROWS: dict[str, Callable[[], Measured]] = {
    "train.control": partial(train, "control", batch=64),
    "train.svg_prime.k025m0125": partial(train, "svg_prime", batch=16, K=0.25, M=0.125),
    "train.svg_prime.k1m1": partial(train, "svg_prime", batch=4, K=1.0, M=1.0),
    "train.svg_prime.k5m3": partial(train, "svg_prime", batch=1, K=5.0, M=3.0),
    "plan.default": plan,
    "plan.1000x12x10": partial(plan, candidates=1000, horizon=12, iterations=10, elites=100),
    "imagine.features": partial(imagine, draw=False, rows=1024),
    "imagine.frames": partial(imagine, draw=True, rows=1024),
}


if __name__ == "__main__":
    main()
