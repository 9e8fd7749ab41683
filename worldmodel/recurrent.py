"""What a model remembers, pure: ``(x, cells) -> (y, cells)``.

Vectors (b, c) and maps (b, c, h, w) share every line here: a network is given the layer it is made of, `dense` or
`conv3x3`, and both keep channels on axis 1. `Recurrent`, the papers' LSTMs, `Feedforward`, which remembers nothing, and
`Context`, which remembers the first features alone, have one interface. Under autocast only convolutions run in lower
precision: cell states, gate activations and Gaussians stay in float32, and so do vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from worldmodel.gaussian import Gaussian
from worldmodel.hardware import without_autocast
from worldmodel.late_gradients import Conv3x3

Cells = tuple[tuple[Tensor, Tensor], ...]
"""A (hidden, cell) pair a layer, each (b, c) or (b, c, h, w)."""

Layer = Callable[[int, int], nn.Linear | nn.Conv2d]
"""Makes a layer from its numbers of input and output channels."""


class Float32Linear(nn.Linear):
    """Without autocast: vectors are cheap, and bfloat16 rounds away what one action changes against another."""

    def forward(self, x: Tensor) -> Tensor:
        """x (b, inputs) to (b, outputs)."""
        with without_autocast(x.device):
            return super().forward(x.float())


def dense(inputs: int, outputs: int) -> nn.Linear:
    """A fully connected layer, computed in float32."""
    return Float32Linear(inputs, outputs)


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps height and width, and whose kernel's gradient can be a late one."""
    return Conv3x3(inputs, outputs)


def tiled(vector: Tensor, like: Tensor) -> Tensor:
    """A vector (b, a) at every position of a map `like` (b, c, ...), of its type; itself beside vectors."""
    b, a = vector.shape
    return vector.to(like.dtype).view(b, a, *[1] * (like.dim() - 2)).expand(b, a, *like.shape[2:])


class LSTM(nn.Module):
    """A stack of LSTM cells, dense or convolutional (Shi et al. 2015, without peepholes).

    A cell's gates are the sum of two layers, of its input and of its hidden state, as in torch's own.

    Args:
        layer: what the gates are made of.
        hidden: channels of input, output and cell.
        layers: cells in the stack.
    """

    def __init__(self, layer: Layer, hidden: int, layers: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.input_gates, self.hidden_gates = (
            nn.ModuleList(layer(hidden, 4 * hidden) for _ in range(layers)) for _ in range(2)
        )
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(0.5**0.5)  # together they have the inputs of both, which layers begin by
        for input_gates, hidden_gates in zip(self.input_gates, self.hidden_gates, strict=True):
            bias = input_gates.get_parameter("bias")
            nn.init.ones_(bias[hidden : 2 * hidden])  # open forget gates: forgetting is learned
            hidden_gates.register_parameter("bias", None)  # one is enough

    def initial(self, x: Tensor) -> Cells:
        """Zero cells for inputs like `x` (b, c, ...), whose own number of channels does not matter."""
        zeros = x.new_zeros((x.shape[0], self.hidden, *x.shape[2:]), dtype=torch.float32)
        return tuple((zeros, zeros) for _ in self.input_gates)

    def forward(self, x: Tensor, cells: Cells) -> tuple[Tensor, Cells]:
        """One step: x (b, hidden, ...) and cells to the top layer's output (b, hidden, ...) and new cells."""
        after = []
        for input_gates, hidden_gates, (hidden, cell) in zip(self.input_gates, self.hidden_gates, cells, strict=True):
            x, cell = _step(input_gates(x).float() + hidden_gates(hidden).float(), cell)
            after.append((x, cell))
        return x, tuple(after)

    def sequence(self, x: Tensor) -> tuple[Tensor, list[Cells]]:
        """From zero cells over x (b, t, hidden, ...): outputs (b, t, hidden, ...), and the cells at t + 1 moments.

        A layer after the other, so that what its gates see of `x` is one product for all steps: with few rows a product
        by a large kernel costs little less than with many. What they see of the hidden state is the loop.
        """
        layers = []
        for input_gates, hidden_gates, start in zip(
            self.input_gates, self.hidden_gates, self.initial(x[:, 0]), strict=True
        ):
            first, *others = over_time(input_gates, x).float().unbind(1)
            moments = [start, _step(first, start[1])]  # a hidden state of zeros adds nothing
            for step in others:
                hidden, cell = moments[-1]
                moments.append(_step(step + hidden_gates(hidden).float(), cell))
            x = torch.stack([hidden for hidden, _ in moments[1:]], 1)
            layers.append(moments)
        return x, list(zip(*layers, strict=True))


def _step(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Gates (b, 4 hidden, ...) before their activations, and the cell, to the new hidden state and cell."""
    i, f, g, o = gates.chunk(4, 1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def over_time(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A module of single steps over (b, t, ...) in one call."""
    b, t = x.shape[:2]
    y = module(x.flatten(0, 1))
    return y.view(b, t, *y.shape[1:])


class Recurrent(nn.Module):
    """Input layer and LSTM stack: a memory of everything so far (Denton & Fergus 2018, section 3)."""

    def __init__(self, layer: Layer, *, inputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.embed = layer(inputs, hidden)
        self.lstm = LSTM(layer, hidden, layers)

    def initial(self, x: Tensor) -> Cells:
        """Zero cells for inputs like `x` (b, c, ...)."""
        return self.lstm.initial(x)

    def forward(self, x: Tensor, cells: Cells) -> tuple[Tensor, Cells]:
        """One step: x (b, inputs, ...) to (b, hidden, ...)."""
        return self.lstm(self.embed(x), cells)

    def sequence(self, x: Tensor) -> tuple[Tensor, list[Cells]]:
        """Where all inputs are known only the LSTM is a loop."""
        return self.lstm.sequence(over_time(self.embed, x))


class Feedforward(nn.Module):
    """No memory: a network of the present input, for features that hold a state's positions and velocities.

    Fitted to few episodes it predicts new ones better than an LSTM, which learns the training episodes by heart.

    Args:
        layer: what the network is made of.
        inputs, hidden: channels of the input, and of each of the `layers` layers.
    """

    def __init__(self, layer: Layer, *, inputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.network = perceptron(layer, [inputs] + [hidden] * layers)

    def initial(self, x: Tensor) -> Cells:
        """No cells."""
        return ()

    def forward(self, x: Tensor, cells: Cells) -> tuple[Tensor, Cells]:
        """One step: x (b, inputs, ...) to (b, hidden, ...)."""
        return self.network(x), cells

    def sequence(self, x: Tensor) -> tuple[Tensor, list[Cells]]:
        """All steps at once: nothing is a loop."""
        return over_time(self.network, x), [()] * (x.shape[1] + 1)


class Context(nn.Module):
    """The present input and the first features, which never change: the ablation "CNN" of Villegas et al. 2019.

    Args:
        layer, inputs, hidden, layers: as `Feedforward`'s.
        feature: channels of the feature, which an input begins with.
        history: how many of the first features are kept; until there are as many, zeros stand for those to come.
    """

    def __init__(self, layer: Layer, *, inputs: int, hidden: int, layers: int, feature: int, history: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.feature = feature
        self.history = history
        self.network = perceptron(layer, [inputs + history * feature] + [hidden] * layers)

    def initial(self, x: Tensor) -> Cells:
        """One pair: what is kept, (b, history * feature, ...), nothing yet, and how many that is, (b, 1)."""
        kept = x.new_zeros((len(x), self.history * self.feature, *x.shape[2:]), dtype=torch.float32)
        return ((kept, x.new_zeros((len(x), 1), dtype=torch.float32)),)

    def forward(self, x: Tensor, cells: Cells) -> tuple[Tensor, Cells]:
        """One step: x (b, inputs, ...) to (b, hidden, ...)."""
        ((kept, count),) = cells
        places = kept.unflatten(1, (self.history, self.feature))
        next_one = count == torch.arange(self.history, device=x.device)
        places = torch.where(_beside(next_one, places), x[:, None, : self.feature].float(), places)
        kept = places.flatten(1, 2)
        return self.network(torch.cat([x, kept], 1)), ((kept, (count + 1).clamp(max=self.history)),)

    def sequence(self, x: Tensor) -> tuple[Tensor, list[Cells]]:
        """All steps at once."""
        b, t = x.shape[:2]
        moments = torch.arange(t + 1, device=x.device)
        first = x[:, : self.history, : self.feature].float()
        missing = first.new_zeros((b, self.history - first.shape[1], *first.shape[2:]))
        known = torch.arange(self.history, device=x.device) < moments[:, None]  # (t + 1, history)
        places = torch.cat([first, missing], 1)[:, None] * _beside(known, first)  # (b, t + 1, history, feature, ...)
        kept = places.flatten(2, 3)
        counts = moments.clamp(max=self.history).float()[:, None, None].expand(t + 1, b, 1)
        return over_time(self.network, torch.cat([x, kept[:, 1:]], 2)), [
            ((of_moment, count),) for of_moment, count in zip(kept.unbind(1), counts.unbind(0), strict=True)
        ]


def _beside(mask: Tensor, places: Tensor) -> Tensor:
    """A mask (n, history) for places (b, history, feature, ...)."""
    return mask.view(*mask.shape, *[1] * (places.dim() - 2))


def perceptron(layer: Layer, widths: list[int]) -> nn.Sequential:
    """Layers from each width to the next, each with GroupNorm and SiLU."""
    stack = [(layer(i, o), nn.GroupNorm(1, o), nn.SiLU()) for i, o in pairwise(widths)]
    return nn.Sequential(*(module for triple in stack for module in triple))


INITIAL_LOG_VARIANCE = -4.0  # of z: a std of 0.14


class Predictor(nn.Module):
    """A memory and an output layer: the frame predictor of SVG (Denton & Fergus 2018, section 3)."""

    def __init__(self, memory: Recurrent | Feedforward | Context, layer: Layer, *, outputs: int) -> None:
        super().__init__()
        self.memory = memory
        self.output = layer(memory.hidden, outputs)

    def initial(self, x: Tensor) -> Cells:
        """Empty cells for inputs like `x` (b, c, ...)."""
        return self.memory.initial(x)

    def forward(self, x: Tensor, cells: Cells) -> tuple[Tensor, Cells]:
        """One step: x (b, inputs, ...) to (b, outputs, ...) in float32."""
        y, cells = self.memory(x, cells)
        return self.output(y).float(), cells

    def sequence(self, x: Tensor) -> tuple[Tensor, list[Cells]]:
        """From empty cells over x (b, t, inputs, ...): (b, t, outputs, ...), and the cells at t + 1 moments."""
        y, cells = self.memory.sequence(x)
        return over_time(self.output, y).float(), cells


class GaussianPredictor(nn.Module):
    """The same with two output layers, mean and log-variance: SVG's posterior and learned prior."""

    def __init__(self, memory: Recurrent | Feedforward, layer: Layer, *, latent: int) -> None:
        super().__init__()
        self.memory = memory
        self.mean = layer(memory.hidden, latent)
        self.log_variance = layer(memory.hidden, latent)
        # Until z says something, it is noise in the frame predictor's input: it starts small, as its use must grow.
        assert self.log_variance.bias is not None
        nn.init.constant_(self.log_variance.bias, INITIAL_LOG_VARIANCE)

    def initial(self, x: Tensor) -> Cells:
        """Empty cells for inputs like `x` (b, c, ...)."""
        return self.memory.initial(x)

    def forward(self, x: Tensor, cells: Cells) -> tuple[Gaussian, Cells]:
        """One step: x (b, inputs, ...) to a Gaussian over (b, latent, ...) in float32."""
        y, cells = self.memory(x, cells)
        return Gaussian(self.mean(y).float(), 0.5 * self.log_variance(y).float()), cells

    def sequence(self, x: Tensor) -> tuple[Gaussian, list[Cells]]:
        """From empty cells over x (b, t, inputs, ...): Gaussians (b, t, latent, ...), the cells at t + 1 moments."""
        y, cells = self.memory.sequence(x)
        return Gaussian(over_time(self.mean, y).float(), 0.5 * over_time(self.log_variance, y).float()), cells


class NoLatent(nn.Module):
    """In place of posterior and prior where there is no z: the ablations "LSTM" and "CNN" of Villegas et al. 2019."""

    def initial(self, x: Tensor) -> Cells:
        """No cells."""
        return ()

    def forward(self, x: Tensor, cells: Cells) -> tuple[Gaussian, Cells]:
        """One step: x (b, inputs, ...) to a Gaussian over nothing, (b, 0, ...)."""
        nothing = x[:, :0].float()
        return Gaussian(nothing, nothing), cells

    def sequence(self, x: Tensor) -> tuple[Gaussian, list[Cells]]:
        """The same of x (b, t, inputs, ...)."""
        nothing = x[:, :, :0].float()
        return Gaussian(nothing, nothing), [()] * (x.shape[1] + 1)
