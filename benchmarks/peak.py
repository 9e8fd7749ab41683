"""The machine's peak: the most that a convolution and a matrix product give, which shares of are reported elsewhere.

Ours is the precision that training takes here, with channels last; the baseline is the same in float32, as torch lays
it out by default.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.measured import Measured, fastest, rate
from worldmodel.hardware import default_precision

GIGA = 1e9


class Conv(NamedTuple):
    """A 3x3 convolution of b maps of side x side."""

    b: int
    inputs: int
    outputs: int
    side: int

    @property
    def gigaflop(self) -> float:
        """A multiply-add counts as two."""
        return 2 * 9 * self.b * self.inputs * self.outputs * self.side**2 / GIGA


CONVS = (  # what encoders, decoders and recurrent networks are made of
    Conv(64, 64, 64, 32),
    Conv(64, 256, 256, 16),
    Conv(64, 512, 512, 8),
    Conv(16, 512, 2048, 8),
)
SIZES = (512, 1024, 2048)  # of products, from those that a core's cache holds on


def dtype() -> torch.dtype:
    """What training multiplies in on this processor."""
    return torch.bfloat16 if default_precision("cpu") == "bf16-mixed" else torch.float32


def conv(shapes: tuple[Conv, ...] = CONVS, *, budget: float = 2.0) -> Measured:
    """GFLOP/s of the best of some shapes, and of that shape's baseline.

    Extra: ``training``, the best of the shapes' forward and backward passes together, which is what an update consists
    of; it is no more than the peak, and often less.
    """
    found = []
    for shape in shapes:
        ours, plain = convolution(shape, dtype(), torch.channels_last), convolution(shape, torch.float32)
        forward, baseline = fastest(ours.forward, plain.forward, budget=budget)
        (both,) = fastest(ours.forward_and_backward, budget=budget)
        found.append((shape.gigaflop / forward, shape.gigaflop / baseline, 3 * shape.gigaflop / both))
    value, baseline, _ = max(found)
    return rate(value, baseline, "GFLOP/s", training=max(training for _, _, training in found))


def matmul(sizes: tuple[int, ...] = SIZES, *, budget: float = 2.0) -> Measured:
    """GFLOP/s of an n x n by n x n product of the best n, and of that n's baseline."""
    found = []
    for n in sizes:
        squares = torch.randn(n, n, dtype=dtype()), torch.randn(n, n)
        found.append(
            [2 * n**3 / GIGA / time for time in fastest(*(partial(torch.mm, x, x) for x in squares), budget=budget)]
        )
    value, baseline = max(found)
    return rate(value, baseline, "GFLOP/s")


class Passes(NamedTuple):
    """A convolution to time, without and with its gradients."""

    forward: Callable[[], Tensor]
    forward_and_backward: Callable[[], None]


def convolution(shape: Conv, dtype: torch.dtype, layout: torch.memory_format = torch.contiguous_format) -> Passes:
    """Of random maps and kernels."""
    x = torch.randn(shape.b, shape.inputs, shape.side, shape.side, dtype=dtype).to(memory_format=layout)
    kernel = torch.randn(shape.outputs, shape.inputs, 3, 3, dtype=dtype).to(memory_format=layout)
    leaves = x.clone().requires_grad_(), kernel.clone().requires_grad_()
    gradient = torch.ones_like(torch.conv2d(x, kernel, padding=1))

    def forward_and_backward() -> None:
        torch.autograd.grad(torch.conv2d(*leaves, padding=1), leaves, gradient)

    return Passes(lambda: torch.conv2d(x, kernel, padding=1), forward_and_backward)
