"""The recurrent networks against torch's LSTM cell, as vectors and as maps, and without a memory of their own."""

from __future__ import annotations

import math
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from worldmodel.gaussian import Gaussian
from worldmodel.recurrent import (
    LSTM,
    Cells,
    Context,
    Feedforward,
    GaussianPredictor,
    Layer,
    NoLatent,
    Predictor,
    Recurrent,
    conv3x3,
    dense,
    over_time,
)

MEMORIES = pytest.mark.parametrize("memory", [Recurrent, Feedforward])
KINDS = pytest.mark.parametrize(("layer", "space"), [(dense, ()), (conv3x3, (2, 3))], ids=["dense", "conv"])
Space = tuple[int, ...]
M = TypeVar("M", bound=nn.Module)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def alive(module: M, seed: int = 0) -> M:
    """Every parameter drawn anew, so that none is zero or one by its initialisation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.4, generator=generator)
    return module


def some_cells(layers: int, *shape: int) -> Cells:
    return tuple((randn(*shape, seed=2 * i + 1), randn(*shape, seed=2 * i + 2)) for i in range(layers))


def flat(cells: Cells) -> list[Tensor]:
    return [tensor for pair in cells for tensor in pair]


def torch_cells(lstm: LSTM) -> list[nn.LSTMCell]:
    """torch's cells with the same weights; its two biases are one here."""
    cells = []
    for of_input, of_hidden in zip(lstm.input_gates, lstm.hidden_gates, strict=True):
        cell = nn.LSTMCell(lstm.hidden, lstm.hidden)
        with torch.no_grad():
            cell.weight_ih.copy_(of_input.get_parameter("weight"))
            cell.weight_hh.copy_(of_hidden.get_parameter("weight"))
            cell.bias_ih.copy_(of_input.get_parameter("bias"))
            cell.bias_hh.zero_()
        cells.append(cell)
    return cells


def test_a_dense_step_is_that_of_torch() -> None:
    lstm, x, cells = alive(LSTM(dense, 5, 2)), randn(3, 5), some_cells(2, 3, 5)
    y, after = lstm(x, cells)
    expected = x
    for cell, before, (hidden, memory) in zip(torch_cells(lstm), cells, after, strict=True):
        expected, expected_memory = cell(expected, before)
        torch.testing.assert_close((hidden, memory), (expected, expected_memory))
    torch.testing.assert_close(y, expected)


def test_a_convolutional_step_on_single_pixels_is_a_dense_one() -> None:
    """Around one pixel lies padding, so only the centres of the kernels count."""
    conv, flat_lstm = alive(LSTM(conv3x3, 4, 2)), LSTM(dense, 4, 2)
    with torch.no_grad():
        for wide, narrow in zip(conv.parameters(), flat_lstm.parameters(), strict=True):
            narrow.copy_(wide[:, :, 1, 1] if wide.dim() == 4 else wide)
    x, cells = randn(3, 4), some_cells(2, 3, 4)
    maps = tuple((hidden[..., None, None], cell[..., None, None]) for hidden, cell in cells)
    y, after = conv(x[..., None, None], maps)
    expected, expected_after = flat_lstm(x, cells)
    torch.testing.assert_close(y[..., 0, 0], expected)
    torch.testing.assert_close([tensor[..., 0, 0] for tensor in flat(after)], flat(expected_after))


def test_a_convolutional_step_sees_one_pixel_around() -> None:
    lstm, x = alive(LSTM(conv3x3, 2, 1)), randn(1, 2, 5, 7)
    changed = x.clone()
    changed[:, :, 2, 3] += 1
    moved = (lstm(x, lstm.initial(x))[0] != lstm(changed, lstm.initial(x))[0]).any(1)[0]
    expected = torch.zeros(5, 7, dtype=torch.bool)
    expected[1:4, 2:5] = True
    assert torch.equal(moved, expected)


@KINDS
def test_new_cells_are_zero_and_forget_gates_open(layer: Layer, space: Space) -> None:
    lstm = LSTM(layer, 4, 3)
    cells = lstm.initial(randn(2, 9, *space).bfloat16())  # 9 channels, not 4: only batch and space are taken
    assert len(cells) == 3
    assert all(tensor.shape == (2, 4, *space) and tensor.dtype == torch.float32 for tensor in flat(cells))
    assert not torch.stack(flat(cells)).any()
    with torch.no_grad():
        for of_input, of_hidden in zip(lstm.input_gates, lstm.hidden_gates, strict=True):
            for half in (of_input, of_hidden):
                nn.init.zeros_(half.get_parameter("weight"))
            bias = of_input.get_parameter("bias")
            bias[:4] = 0
            bias[8:] = 0
    ones = tuple((hidden, cell + 1) for hidden, cell in cells)
    for _, cell in lstm(torch.zeros(2, 4, *space), ones)[1]:  # i · g = 0: what is left was not forgotten
        torch.testing.assert_close(cell, torch.full((2, 4, *space), 1 / (1 + math.exp(-1))))


@KINDS
def test_weights_begin_as_those_of_layers_that_see_both_halves(layer: Layer, space: Space) -> None:
    lstm = LSTM(layer, 64, 1)
    (of_input,), (of_hidden,) = lstm.input_gates, lstm.hidden_gates
    assert {name for name, _ in lstm.named_parameters()} == {
        "input_gates.0.weight",
        "input_gates.0.bias",
        "hidden_gates.0.weight",
    }
    both = layer(128, 256)
    bound = float(both.weight.detach().abs().max())
    for half in (of_input, of_hidden):
        assert float(half.get_parameter("weight").detach().abs().max()) == pytest.approx(bound, rel=0.01)
    bias = of_input.get_parameter("bias").detach()
    assert bias[64:128].tolist() == [1.0] * 64
    assert 0.8 * bound < float(torch.cat([bias[:64], bias[128:]]).abs().max()) <= 1.01 * bound


@KINDS
def test_a_sequence_is_its_steps(layer: Layer, space: Space) -> None:
    lstm, x = alive(LSTM(layer, 4, 2)), randn(2, 5, 4, *space)
    outputs, moments = lstm.sequence(x)
    assert outputs.shape == x.shape and len(moments) == 6
    cells = lstm.initial(x[:, 0])
    for step in range(5):
        torch.testing.assert_close(flat(moments[step]), flat(cells))
        y, cells = lstm(x[:, step], cells)
        torch.testing.assert_close(outputs[:, step], y)
    torch.testing.assert_close(flat(moments[5]), flat(cells))


@KINDS
def test_a_sequence_s_gradient_is_that_of_its_steps(layer: Layer, space: Space) -> None:
    lstm, x = alive(LSTM(layer, 4, 2)), randn(2, 5, 4, *space).requires_grad_()
    direction = randn(2, 5, 4, *space, seed=1)
    stepped, cells = [], lstm.initial(x[:, 0])
    for step in x.unbind(1):
        y, cells = lstm(step, cells)
        stepped.append(y)
    found, expected = (
        torch.autograd.grad(outputs, [x, *lstm.parameters()], direction)
        for outputs in (lstm.sequence(x)[0], torch.stack(stepped, 1))
    )
    torch.testing.assert_close(found, expected)


@MEMORIES
@KINDS
def test_a_predictor_s_sequence_is_its_steps(memory: type[Recurrent | Feedforward], layer: Layer, space: Space) -> None:
    predictor, x = (
        alive(Predictor(memory(layer, inputs=3, hidden=4, layers=2), layer, outputs=5)),
        randn(2, 3, 3, *space),
    )
    outputs, moments = predictor.sequence(x)
    assert outputs.shape == (2, 3, 5, *space)
    cells = predictor.initial(x[:, 0])
    for step in range(3):
        y, cells = predictor(x[:, step], cells)
        torch.testing.assert_close(outputs[:, step], y)
        torch.testing.assert_close(flat(moments[step + 1]), flat(cells))


@MEMORIES
@KINDS
def test_a_gaussian_predictor_s_sequence_is_its_steps(
    memory: type[Recurrent | Feedforward], layer: Layer, space: Space
) -> None:
    predictor, x = (
        alive(GaussianPredictor(memory(layer, inputs=3, hidden=4, layers=1), layer, latent=2)),
        randn(2, 3, 3, *space),
    )
    gaussians, moments = predictor.sequence(x)
    assert gaussians.mean.shape == gaussians.log_std.shape == (2, 3, 2, *space)
    cells = predictor.initial(x[:, 0])
    for step in range(3):
        z, cells = predictor(x[:, step], cells)
        torch.testing.assert_close(gaussians.mean[:, step], z.mean)
        torch.testing.assert_close(gaussians.log_std[:, step], z.log_std)
        torch.testing.assert_close(flat(moments[step + 1]), flat(cells))


def test_the_second_output_layer_is_a_log_variance() -> None:
    predictor, x = GaussianPredictor(Recurrent(dense, inputs=3, hidden=4, layers=1), dense, latent=2), randn(2, 3)
    for layer, value in ((predictor.mean, 0.5), (predictor.log_variance, math.log(9))):
        assert isinstance(layer, nn.Linear)
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, value)
    one, _ = predictor(x, predictor.initial(x))
    many, _ = predictor.sequence(x[:, None])
    for z in (one, Gaussian(many.mean[:, 0], many.log_std[:, 0])):
        torch.testing.assert_close(z.std, torch.full((2, 2), 3.0))
        torch.testing.assert_close(z.mean, torch.full((2, 2), 0.5))


@MEMORIES
@KINDS
def test_nothing_is_remembered_between_calls_or_shared_between_rows(
    memory: type[Recurrent | Feedforward], layer: Layer, space: Space
) -> None:
    predictor = alive(Predictor(memory(layer, inputs=3, hidden=4, layers=2), layer, outputs=5))
    x = randn(3, 3, *space)
    _, cells = predictor(randn(3, 3, *space, seed=5), predictor.initial(x))
    kept = [tensor.clone() for tensor in flat(cells)]
    first, after = predictor(x, cells)
    predictor(randn(7, 3, *space, seed=9), predictor.initial(randn(7, 3, *space)))
    again, after_again = predictor(x, cells)
    assert torch.equal(first, again) and all(map(torch.equal, flat(after), flat(after_again)))
    assert all(map(torch.equal, flat(cells), kept))
    assert torch.equal(first, predictor(x, after)[0]) == (memory is Feedforward)
    alone, _ = predictor(x[1:2], tuple((hidden[1:2], cell[1:2]) for hidden, cell in cells))
    torch.testing.assert_close(alone, first[1:2])


@MEMORIES
@KINDS
def test_what_comes_out_is_float32_under_autocast(
    memory: type[Recurrent | Feedforward], layer: Layer, space: Space
) -> None:
    predictor = alive(Predictor(memory(layer, inputs=3, hidden=4, layers=2), layer, outputs=5))
    gaussian = alive(GaussianPredictor(memory(layer, inputs=3, hidden=4, layers=1), layer, latent=2))
    x = randn(2, 3, 3, *space)

    def outputs() -> list[Tensor]:
        y, cells = predictor(x[:, 0], predictor.initial(x[:, 0]))
        ys, moments = predictor.sequence(x)
        z, z_cells = gaussian(x[:, 0], gaussian.initial(x[:, 0]))
        zs, _ = gaussian.sequence(x)
        steps = [y, ys, z.mean, z.log_std, zs.mean, zs.log_std]
        return [*steps, *flat(cells), *flat(moments[-1]), *flat(z_cells)]

    with torch.autocast("cpu", torch.bfloat16):
        low = outputs()
    assert {tensor.dtype for tensor in low} == {torch.float32}
    exact = outputs()
    torch.testing.assert_close(low, exact, rtol=0.05, atol=0.05)
    rounded = any((a != b).any() for a, b in zip(low, exact, strict=True))
    assert rounded == bool(space)  # autocast was on; it leaves vectors alone


@KINDS
def test_gates_open_in_float32_under_autocast(layer: Layer, space: Space) -> None:
    """Products that bfloat16 represents exactly: nothing is lost before the activations, nor in them."""
    lstm, x = LSTM(layer, 2, 1), torch.ones(1, 2, *space)
    for weight in lstm.parameters():
        nn.init.constant_(weight, 0.25 if weight.dim() > 1 else 0.0)
    exact, _ = lstm(x, lstm.initial(x))
    with torch.autocast("cpu", torch.bfloat16):
        low, _ = lstm(x, lstm.initial(x))
        first, _ = lstm.sequence(x[:, None])
    torch.testing.assert_close([low, first[:, 0]], [exact, exact])


def test_over_time_keeps_batch_and_time_apart() -> None:
    x = torch.arange(12.0).reshape(2, 3, 2)
    assert torch.equal(over_time(nn.Identity(), x), x)
    assert over_time(nn.Unflatten(1, (1, 2)), x).shape == (2, 3, 1, 2)


def test_a_feedforward_network_remembers_nothing() -> None:
    network, x = alive(Feedforward(dense, inputs=3, hidden=4, layers=2)), randn(2, 4, 3)
    y, cells = network.sequence(x)
    assert cells == [()] * 5 and network.initial(x[:, 0]) == ()
    changed = x.clone()
    changed[:, 1] += 1
    assert (network.sequence(changed)[0] != y).any(2).tolist() == [[False, True, False, False]] * 2


@KINDS
def test_a_context_is_kept_whatever_comes_between(layer: Layer, space: Space) -> None:
    memory = alive(Context(layer, inputs=5, hidden=4, layers=2, feature=3, history=2))
    x = randn(2, 6, 5, *space)
    outputs, moments = memory.sequence(x)
    cells = memory.initial(x[:, 0])
    for step in range(6):
        torch.testing.assert_close(flat(moments[step]), flat(cells))
        y, cells = memory(x[:, step], cells)
        torch.testing.assert_close(outputs[:, step], y)
    torch.testing.assert_close(flat(moments[6]), flat(cells))
    ((kept, count),) = cells
    torch.testing.assert_close(kept, x[:, :2, :3].flatten(1, 2))
    assert count.tolist() == [[2], [2]]
    between = x.clone()
    between[:, 2:5] += 1
    changed, _ = memory.sequence(between)
    torch.testing.assert_close(changed[:, 5], outputs[:, 5])  # the last input is the same
    first = x.clone()
    first[:, 1] += 1
    assert not torch.isclose(memory.sequence(first)[0][:, 5], outputs[:, 5]).all()
    short, few = memory.sequence(x[:, :1])  # fewer than are kept
    torch.testing.assert_close(short, outputs[:, :1])
    torch.testing.assert_close(flat(few[1]), flat(moments[1]))


@KINDS
def test_without_z_there_is_nothing_to_draw(layer: Layer, space: Space) -> None:
    nothing, x = NoLatent(), randn(2, 5, 3, *space)
    assert not list(nothing.parameters()) and nothing.initial(x[:, 0]) == ()
    z, cells = nothing(x[:, 0], ())
    assert z.mean.shape == z.std.shape == (2, 0, *space) and cells == ()
    over, moments = nothing.sequence(x)
    assert over.sample(randn(2, 5, 0, *space)).shape == (2, 5, 0, *space) and moments == [()] * 6
