"""Small models that several test files dream in: a fake whose dreams are known, and members of the family."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.dream import Dream
from envs.starts import ContextStarts
from worldmodel.build import build
from worldmodel.checkpoint import Contexts
from worldmodel.config import ModelConfig
from worldmodel.spec import EnvSpec
from worldmodel.state import Skips, State
from worldmodel.svg import SVG, Prediction, channels_last

BOX = EnvSpec("line", "reach", "box", 2, (-1.0, -1.0), (1.0, 1.0), 4, 0, (64, 64))
CHOICE = replace(BOX, action_kind="discrete", action_size=3, action_low=(), action_high=())

DENSE = ModelConfig(
    layer="dense",
    recurrence="lstm",
    features="frame",
    backbone="vgg",
    K=1,
    M=1,
    stages=((8, 1), (8, 1), (8, 1)),
    patch=2,
    feature=8,
    hidden=8,
    layers=2,
    latent=2,
    advance="residual",
    skips=False,
    head=8,
)
CONV = replace(DENSE, layer="conv", advance="bounded", skips=True)
PAIR = replace(DENSE, recurrence="none", features="pair", backbone="light")


def trained(config: ModelConfig = DENSE, spec: EnvSpec = BOX, feedback: str = "features") -> SVG:
    """A model none of whose parts is as it was made, the same at each call; its tasks seldom terminate."""
    torch.manual_seed(0)
    model, generator = build(config, spec, feedback=feedback), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
        model.continuation.layers[-1].bias.fill_(4.0)
        model.statistics.frame_mean.uniform_(0.3, 0.7, generator=generator)
        model.statistics.frame_std.fill_(0.2)
    return channels_last(model).eval()


def contexts(spec: EnvSpec = BOX, count: int = 4, length: int = 2, seed: int = 1) -> Contexts:
    """Of noise."""
    rng = np.random.default_rng(seed)
    frames = torch.from_numpy(rng.integers(0, 256, (count, length, 3, *spec.frame_size), np.uint8))
    if spec.action_kind == "box":
        actions = rng.uniform(-1, 1, (count, length - 1, spec.action_size))
    else:
        actions = np.eye(spec.action_size)[rng.integers(spec.action_size, size=(count, length - 1))]
    return Contexts(frames, torch.from_numpy(actions.astype(np.float32)))


class Counter:
    """A model whose feature is the sum of actions and z, the steps since the context, and the context's first pixel.

    A step earns the mean of its action; `continues` is the probability that the task goes on. Frames show the first
    pixel plus the steps, in grey. `calls` holds how many rows each call of `initial` and `imagine` had.
    """

    noise_shape = (1,)
    actor_critic = None
    discount = 1.0
    device = torch.device("cpu")

    def __init__(self, spec: EnvSpec = BOX, continues: float = 1.0) -> None:
        self.spec = spec
        self.continues = continues
        self.calls: dict[str, list[int]] = {"initial": [], "imagine": [], "decode": []}

    def initial(self, frames: Tensor, actions: Tensor, *, noise: Tensor | None = None) -> State:
        assert noise is None
        self.calls["initial"].append(len(frames))
        return self._state(torch.zeros(len(frames)), torch.zeros(len(frames)), frames[:, -1, 0, 0, 0].float())

    def observe(self, state: State, action: Tensor, frame: Tensor, *, noise: Tensor | None = None) -> State:
        assert noise is None
        total, steps, _ = state.feature.unbind(1)
        return self._state(total + action.sum(1), steps, frame[:, 0, 0, 0].float())

    def imagine(self, state: State, action: Tensor, *, noise: Tensor | None = None) -> Prediction:
        self.calls["imagine"].append(len(action))
        total, steps, pixel = state.feature.unbind(1)
        z = torch.zeros(len(action)) if noise is None else noise[:, 0]
        after = self._state(total + action.sum(1) + z, steps + 1, pixel)
        return Prediction(after, action.mean(1), torch.full((len(action),), self.continues))

    def embedding(self, state: State) -> Tensor:
        return state.feature

    def value(self, state: State) -> Tensor:
        return torch.zeros(len(state))

    def nats(self, frames: Tensor, actions: Tensor) -> Tensor | None:
        return None

    def decode(self, state: State) -> Tensor:
        self.calls["decode"].append(len(state))
        _, steps, pixel = state.feature.unbind(1)
        return ((pixel + steps) / 255).clamp(0, 1).view(-1, 1, 1, 1).expand(-1, 3, *self.spec.frame_size)

    def _state(self, total: Tensor, steps: Tensor, pixel: Tensor) -> State:
        feature = torch.stack([total, steps, pixel], 1)
        return State(feature, Skips((), torch.arange(len(feature))), (), (), ())


def dream_of(model: Any = None, num_envs: int = 1, **settings: Any) -> Dream:
    """A dream from the contexts above, in float32, so that rows of batches of any size are alike."""
    model = Counter() if model is None else model
    return Dream(model, ContextStarts(contexts(model.spec)), num_envs=num_envs, precision="32-true", **settings)


def actions_of(spec: EnvSpec, steps: int, rows: int, seed: int = 5) -> np.ndarray:
    """Random ones, (steps, rows, a) or (steps, rows)."""
    rng = np.random.default_rng(seed)
    if spec.action_kind == "discrete":
        return rng.integers(spec.action_size, size=(steps, rows))
    return rng.uniform(-1, 1, (steps, rows, spec.action_size)).astype(np.float32)
