"""The units that a model counts frames and rewards in: taken from the first episodes, and rewards' once outgrown."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from worldmodel.model import Model
from worldmodel.replay import Replay

FRAMES = 2000  # that their statistics are taken from, at most
GROWTH = 4.0  # of the rewards' deviation, beyond which their unit is changed


def freeze_statistics(model: Model, replay: Replay, rng: np.random.Generator) -> None:
    """Sets the model's frame statistics from up to `FRAMES` frames of the replay, its reward statistics from all.

    Raises DataError for an episode that cannot be read.
    """
    found, (reward_mean, reward_std) = replay.frame_statistics(FRAMES, rng), replay.reward_statistics()
    statistics = model.statistics
    statistics.frame_mean.copy_(torch.as_tensor(found.frame_mean))
    # A constant quantity has no scale of its own: leave its unit.
    statistics.frame_std.fill_(found.frame_std if found.frame_std > 1e-4 else 1.0)
    statistics.reward_mean.fill_(reward_mean)
    statistics.reward_std.fill_(reward_std if reward_std > 1e-4 else 1.0)


def outgrown(model: Model, std: float) -> bool:
    """Whether rewards of this deviation have outgrown the model's unit: who earns more sees greater rewards.

    Where random play earns next to nothing they soon are tens of units, and what is squared of them, errors of rewards
    and of values, drowns all else that a model is fitted to.
    """
    return std > GROWTH * float(model.statistics.reward_std)


@torch.no_grad()
def change_unit(model: Model, mean: float, std: float) -> None:
    """Lets a model count rewards from another mean, in another deviation > 0; what it says of them stays the same.

    Both are of the reward of one decision, on the environment's scale. The last layers of reward head and critics take
    up the change, as in PopArt (van Hasselt et al. 2016).
    """
    statistics = model.statistics
    old_mean, old_std = statistics.reward_mean.clone(), statistics.reward_std.clone()
    statistics.reward_mean.fill_(mean)
    statistics.reward_std.fill_(std)
    ratio = old_std / statistics.reward_std
    _rescale(model.reward.layers, ratio, (old_mean - statistics.reward_mean) / statistics.reward_std)
    if model.actor_critic is not None:
        for critic in (*model.actor_critic.critics, *model.actor_critic.targets):
            _rescale(critic.layers, ratio, torch.zeros_like(ratio))


def _rescale(layers: nn.Sequential, ratio: Tensor, shift: Tensor) -> None:
    last = cast(nn.Linear, layers[-1])
    last.weight.mul_(ratio)
    last.bias.mul_(ratio).add_(shift)
