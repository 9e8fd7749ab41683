"""Late gradients against autograd's: of single layers, loops and recurrent networks, and what is kept for them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from worldmodel import late_gradients as module
from worldmodel.late_gradients import Conv3x3, late_gradients
from worldmodel.recurrent import LSTM, conv3x3

aten = torch.ops.aten


@pytest.fixture(autouse=True)
def every_kernel_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WIDE", 1)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layer(inputs: int, outputs: int) -> Conv3x3:
    made = Conv3x3(inputs, outputs)
    with torch.no_grad():
        for i, parameter in enumerate(made.parameters()):
            parameter.copy_(0.5 * randn(*parameter.shape, seed=i))
    return made


def loop(conv: nn.Module, x: Tensor, steps: int) -> Tensor:
    """Outputs (steps, b, c, h, w) of a layer that sees what it gave."""
    outputs = []
    for _ in range(steps):
        x = conv(x).tanh()
        outputs.append(x)
    return torch.stack(outputs)


def late_loop(conv: nn.Module, x: Tensor, steps: int) -> Tensor:
    with late_gradients(steps):
        return loop(conv, x, steps)


def work(run: Callable[[], object]) -> dict[object, int]:
    """Multiply-adds, counted as two, of each kind of product."""
    with FlopCounterMode(display=False) as counter:
        run()
    return dict(counter.get_flop_counts()["Global"])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("said", [1, 3, 4, 9])
def test_gradients_are_autograd_s_however_many_steps_were_said(said: int, layout: torch.memory_format) -> None:
    conv = layer(3, 3).to(memory_format=layout)  # type: ignore[call-overload]
    x, direction = randn(2, 3, 4, 5).requires_grad_(), randn(4, 2, 3, 4, 5, seed=1)
    with late_gradients(said):
        found = loop(conv, x, 4)
    expected = loop(conv, x, 4)
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(y, [x, *conv.parameters()], direction) for y in (found, expected))
    torch.testing.assert_close(*gradients)


def test_a_layer_may_be_called_in_two_precisions_in_one_loop() -> None:
    conv, x = layer(3, 3), randn(2, 3, 4, 5)

    def both() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            low = conv(x)
        return (low.float() + conv(x)).square().sum()

    with late_gradients(2):
        found = torch.autograd.grad(both(), list(conv.parameters()))
    for late, plain in zip(found, torch.autograd.grad(both(), list(conv.parameters())), strict=True):
        torch.testing.assert_close(late, plain, rtol=0.03, atol=0.03 * float(plain.abs().max()))


@pytest.mark.parametrize("space", [(1, 1), (1, 4), (4, 1), (3, 5)])
def test_a_single_convolution_is_torch_s(space: tuple[int, int]) -> None:
    conv, x, direction = layer(2, 5), randn(3, 2, *space).requires_grad_(), randn(3, 5, *space, seed=1)
    with late_gradients(1):
        found = conv(x)
    expected = conv(x)
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(y, [x, *conv.parameters()], direction) for y in (found, expected))
    torch.testing.assert_close(*gradients)


def test_maps_of_several_sizes_share_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, x, y = layer(2, 2), randn(1, 2, 4, 4), randn(3, 2, 2, 2)
    matrices: set[int] = set()
    begin = module._Kernel.__init__

    def begin_and_tell(self: module._Kernel, matrix: Tensor, *others: Any) -> None:
        matrices.add(id(matrix))
        begin(self, matrix, *others)

    monkeypatch.setattr(module._Kernel, "__init__", begin_and_tell)

    def total() -> Tensor:
        return loop(conv, x, 2).square().sum() + loop(conv, y, 2).square().sum()

    with late_gradients(2):
        found = total()
        assert len(matrices) == 1  # one copy in the products' precision and order, and one back of its gradient
    gradients = (torch.autograd.grad(loss, list(conv.parameters())) for loss in (found, total()))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_what_is_frozen_gets_no_gradient(frozen: str) -> None:
    conv, x = layer(3, 3), randn(2, 3, 4, 4).requires_grad_()
    conv.get_parameter(frozen).requires_grad_(False)
    leaves = [x, *(parameter for parameter in conv.parameters() if parameter.requires_grad)]
    gradients = (torch.autograd.grad(run(conv, x, 3).square().sum(), leaves) for run in (late_loop, loop))
    torch.testing.assert_close(*gradients)
    late_loop(conv, x, 3).sum().backward()
    assert conv.get_parameter(frozen).grad is None


def test_backward_passes_of_one_graph_know_nothing_of_each_other() -> None:
    conv, x = layer(3, 3), randn(2, 3, 4, 4).requires_grad_()
    found, expected = late_loop(conv, x, 4), loop(conv, x, 4)
    leaves = list(conv.parameters())
    for outputs, inputs in ((slice(4), [x]), (slice(2), leaves), (slice(1, 2), leaves), (slice(4), [x, *leaves])):
        gradients = (torch.autograd.grad(y[outputs].sum(), inputs, retain_graph=True) for y in (found, expected))
        torch.testing.assert_close(*gradients)


def test_a_kernel_s_gradient_is_one_product() -> None:
    conv, x = layer(3, 3), randn(2, 3, 4, 4)
    autograd, late = loop(conv, x, 4).sum(), late_loop(conv, x, 4).sum()
    one = 2 * 9 * 3 * 3 * 2 * 4 * 4
    assert work(autograd.backward) == {aten.convolution_backward: 7 * one}
    shapes: list[tuple[int, ...]] = []
    with FlopCounterMode(display=False, custom_mapping={aten.mm: lambda a, b, **_: shapes.append((*a, *b)) or 0}):
        late.backward()
    rows = 2 * 4 * 4
    assert shapes == [(rows, 3, 3, 27)] * 3 + [(3, 4 * rows, 4 * rows, 27)]


def test_narrow_kernels_are_convolutions_and_so_is_all_that_learns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, x = layer(3, 3), randn(2, 3, 4, 4)

    def products() -> list[object]:
        return list(work(lambda: late_loop(conv, x, 2)))

    assert products() == [aten.addmm]
    assert list(work(lambda: loop(conv, x, 2))) == [aten.convolution]
    with torch.no_grad():
        assert products() == [aten.convolution]
    with torch.inference_mode():
        assert products() == [aten.convolution]
    monkeypatch.setattr(module, "WIDE", conv.weight.numel() + 1)
    assert products() == [aten.convolution]


def test_a_loop_that_breaks_off_ends() -> None:
    conv, x = layer(3, 3), randn(2, 3, 4, 4)
    with pytest.raises(ZeroDivisionError), late_gradients(2):
        raise ZeroDivisionError
    assert list(work(lambda: conv(x))) == [aten.convolution]


@pytest.mark.parametrize("backward", [False, True])
def test_nothing_is_left_when_a_loop_s_outputs_are_gone(backward: bool) -> None:
    """Freed by counting references: with a cycle an update's activations would stay until a collection."""
    conv, x = layer(3, 3), randn(2, 3, 4, 4)

    def tensors() -> int:
        return sum(type(thing) is Tensor for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = tensors()
        outputs = late_loop(conv, x, 3)
        if backward:
            outputs.sum().backward()
            conv.zero_grad()
        assert tensors() > before
        del outputs
        assert tensors() == before
    finally:
        gc.enable()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_recurrent_network_learns_the_same_from_a_sequence_and_what_follows(
    precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Teacher-forced, and on from one of its moments on its own outputs: every kernel is in use in both."""
    lstm, x = LSTM(conv3x3, 4, 2), randn(2, 5, 4, 3, 3).requires_grad_()
    direction = randn(2, 8, 4, 3, 3, seed=1)

    def gradients() -> list[Tensor]:
        with torch.autocast("cpu", precision, enabled=precision is torch.bfloat16), late_gradients(5):
            outputs, moments = lstm.sequence(x)
            followed = [outputs]
            y, cells = outputs[:, 1], moments[2]
            for _ in range(3):
                y, cells = lstm(y, cells)
                followed.append(y[:, None])
        return list(torch.autograd.grad(torch.cat(followed, 1), [x, *lstm.parameters()], direction))

    late = gradients()
    assert all(gradient.dtype == torch.float32 for gradient in late)
    monkeypatch.setattr(module, "WIDE", 10**9)
    tolerances = {"rtol": 0.03, "atol": 0.03} if precision is torch.bfloat16 else {}
    torch.testing.assert_close(late, gradients(), **tolerances)
