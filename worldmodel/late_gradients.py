"""Wide convolutions in a loop over time: as matrix products, with one product for a kernel's gradient in the end.

Back-propagation through time computes a kernel's gradient at each step, and adds them up: for SVG′ 19 million numbers
from a few hundred positions. Here a step's backward pass gives its input's gradient alone. Its output's gradient goes
on to a function that stands before the loop, and has those of all steps when its turn comes.
On small maps, products of patches are faster than oneDNN's convolutions, too: in ms, of 8 maps of 8x8 and 1024 to 2048
channels in bfloat16, on a core of an AMD EPYC,

                                       convolution    product
    output                                      56         41
    input's gradient                            69         45
    kernel's gradient                          149         58
    kernel's gradient, 5 steps at once         424        261
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

WIDE = 2**20  # weights of a kernel; narrower ones are no slower as convolutions, nor are any on a GPU

_loop: ContextVar[_Loop | None] = ContextVar("loop", default=None)


@contextmanager
def late_gradients(steps: int) -> Iterator[None]:
    """Within, wide `Conv3x3` layers that learn compute as said above on a CPU: autograd's gradients, but for rounding.

    Nothing notices, as autograd would, when weights or inputs are changed in place before the backward pass.

    Args:
        steps: how many calls of a layer, with maps of one shape, have their kernel's gradient from one product; after
            as many calls another one begins.
    """
    token = _loop.set(_Loop(steps))
    try:
        yield
    finally:
        _loop.reset(token)


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution that keeps height and width, and minds `late_gradients`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        loop = _loop.get()
        learns = torch.is_grad_enabled() and weight.requires_grad
        if loop is None or not learns or weight.numel() < WIDE or input.device.type != "cpu":
            return super()._conv_forward(input, weight, bias)
        x = input.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else input
        y: Tensor = _Step.apply(x, *loop.next(weight, bias, x))
        return y


def wide_kernels(module: nn.Module) -> list[Tensor]:
    """Those that `late_gradients` holds as matrices, until the backward pass is done."""
    convolutions = (each for each in module.modules() if isinstance(each, Conv3x3))
    return [each.weight for each in convolutions if each.weight.numel() >= WIDE]


class _Loop:
    """Steps to come, and what they share: each layer's matrix, and the products for its gradient."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.matrices: dict[tuple[Tensor, torch.dtype], tuple[Tensor, Tensor | None]] = {}
        self.kernels: dict[tuple[Tensor, torch.Size, torch.dtype], _Kernel] = {}

    def next(self, weight: Tensor, bias: Tensor | None, x: Tensor) -> tuple[Tensor, _Kernel]:
        """The next stand-in for a layer's maps of the size and type of `x`, and what it belongs to."""
        if (weight, x.dtype) not in self.matrices:
            matrix = weight.to(x.dtype).permute(0, 2, 3, 1).flatten(1)
            self.matrices[weight, x.dtype] = matrix, None if bias is None else bias.to(x.dtype)
        key = (weight, x.shape, x.dtype)
        kernel = self.kernels.get(key)
        if kernel is None or not kernel.stand_ins:
            kernel = self.kernels[key] = _Kernel(*self.matrices[weight, x.dtype], x, self.steps)
        return kernel.stand_ins.pop(), kernel


class _Kernel:
    """A layer's weights, and the steps that share one product for their gradient.

    Attributes:
        matrix, bias: (outputs, 9 inputs) and (outputs,), in the precision of products.
        inputs: (b, inputs, h, w) of each step so far; without history, which leads back here and would never be freed.
        stand_ins: (b, outputs, h, w) of zeros for each step to come, the next one last; its gradient will be that of
            the step's output.
    """

    def __init__(self, matrix: Tensor, bias: Tensor | None, x: Tensor, steps: int) -> None:
        self.matrix = matrix.detach()
        self.bias = None if bias is None else bias.detach()
        self.inputs: list[Tensor] = []
        self.stand_ins = list(reversed(_Gradients.apply(matrix, bias, x.detach(), self.inputs, steps)))


class _Step(torch.autograd.Function):
    """A step's convolution; its backward pass hands the output's gradient to the step's stand-in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stand_in: Tensor, kernel: _Kernel) -> Tensor:
        kernel.inputs.append(x.detach())
        ctx.kernel = kernel
        return _maps(F.linear(_patches(x), kernel.matrix, kernel.bias), x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        of_x = _unpatched(_rows(gradient) @ ctx.kernel.matrix, gradient) if ctx.needs_input_grad[0] else None
        return of_x, gradient, None


class _Gradients(torch.autograd.Function):
    """Matrix and bias to stand-ins; its backward pass runs when all steps that were used have had theirs."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, bias: Tensor | None, x: Tensor, inputs: list[Tensor], steps: int) -> Any:
        ctx.inputs = inputs
        ctx.set_materialize_grads(False)  # None for steps that nothing came of
        return tuple(x.new_zeros(()).expand(len(x), len(matrix), *x.shape[2:]) for _ in range(steps))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        steps = [(x, gradient) for x, gradient in zip(ctx.inputs, gradients, strict=False) if gradient is not None]
        x, gradient = (torch.cat(each) for each in zip(*steps, strict=True))
        rows = _rows(gradient)
        return rows.T @ _patches(x), rows.sum(0) if ctx.needs_input_grad[1] else None, None, None, None


def _rows(x: Tensor) -> Tensor:
    """Maps (b, c, h, w) to a row a position (b h w, c)."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _maps(rows: Tensor, like: Tensor) -> Tensor:
    """Back to maps (b, c, h, w), of the size of `like`'s."""
    return rows.unflatten(0, (len(like), *like.shape[2:])).permute(0, 3, 1, 2)


def _patches(x: Tensor) -> Tensor:
    """Maps (b, c, h, w) to the 3x3 positions around each, zero beyond the border: (b h w, 9 c)."""
    around = F.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1).unfold(1, 3, 1).unfold(2, 3, 1)  # (b, h, w, c, 3, 3)
    return around.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(0, 2)


def _unpatched(patches: Tensor, like: Tensor) -> Tensor:
    """The transpose of `_patches`: (b h w, 9 c) to maps (b, c, h, w), of the size of `like`'s; sums in float32."""
    b, _, h, w = like.shape
    around = patches.view(b, h, w, 3, 3, -1)
    padded = patches.new_zeros((b, h + 2, w + 2, around.shape[-1]), dtype=torch.float32)
    for row in range(3):
        for column in range(3):
            padded[:, row : row + h, column : column + w] += around[:, :, :, row, column]
    return padded[:, 1:-1, 1:-1].to(patches.dtype).permute(0, 3, 1, 2)
