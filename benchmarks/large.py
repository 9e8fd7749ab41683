"""Takes training steps of a large SVG′, and says their memory and time: ``python -m benchmarks.large 5 3``."""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import replace

import torch

from benchmarks.run import fit, model
from benchmarks.training import episodes, updates
from benchmarks.workload import CARTPOLE, new_model
from worldmodel.command import command
from worldmodel.hardware import default_precision, prepare_threads
from worldmodel.memory import GB, memory_of
from worldmodel.trainer import make_fabric


@command
def main() -> None:
    """Says what a step should take, takes some, and says what they took."""
    given = arguments().parse_args()
    prepare_threads()
    spec = replace(CARTPOLE, frame_size=(given.size, given.size))
    config, train = model("svg_prime", K=given.K, M=given.M), fit("svg_prime", given.batch)
    fabric = make_fabric(given.accelerator, 1, "auto")
    said = memory_of(
        config, train, spec, bfloat16=default_precision(given.accelerator) == "bf16-mixed", device=fabric.device
    )
    print(f"{said.parameters / 1e6:.1f} M parameters; {said}", flush=True)
    seconds = []
    with episodes(train, spec) as replay:
        run = updates(new_model(config, spec), train, replay, given.accelerator)
        for _ in range(given.steps):
            start = time.perf_counter()
            terms = next(run)
            seconds.append(time.perf_counter() - start)
            print(f"loss {terms['loss']:.3f} in {seconds[-1]:.2f} s", flush=True)
    print(f"peak {peak(fabric.device) / GB:.2f} GB; fastest step {min(seconds):.2f} s")


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__)
    parser.add_argument("K", type=float, help="of encoder and decoder")
    parser.add_argument("M", type=float, help="of the recurrent networks")
    parser.add_argument("--batch", type=int, default=1, help="windows of 12 frames")
    parser.add_argument("--size", type=int, default=64, help="pixels of a frame's side")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--accelerator", default="auto", help="of Lightning Fabric")
    return parser


def peak(device: torch.device) -> int:
    """Most bytes that were taken: of a GPU's memory, or by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
