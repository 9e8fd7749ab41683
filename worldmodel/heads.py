"""What a transition earns, and whether the task goes on after it."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import DataError
from worldmodel.hardware import without_autocast

CHANNELS = 8  # kept of a feature that is a map


def squeezed(feature_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
    """What makes features (b, c) or (b, c, h, w) vectors, and their length: maps keep `CHANNELS` channels."""
    if len(feature_shape) == 1:
        return nn.Identity(), feature_shape[0]
    c, h, w = feature_shape
    return nn.Sequential(nn.Conv2d(c, CHANNELS, 1), nn.Flatten()), CHANNELS * h * w


def reader(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """A network of two hidden layers, from (b, inputs) to (b, outputs), that starts at zero."""
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.LayerNorm(hidden),
        nn.SiLU(),
        nn.Linear(hidden, hidden),
        nn.LayerNorm(hidden),
        nn.SiLU(),
        last,
    )


class Head(nn.Module):
    """One number a transition, read from the features before and after it and the action between.

    It sees features only, never recurrent state, so it learns from observed transitions as well as imagined ones.

    Args:
        feature_shape: (c,) or (c, h, w).
        action_size: length of an action vector.
        hidden: width of the two hidden layers.
    """

    def __init__(self, feature_shape: tuple[int, ...], action_size: int, *, hidden: int) -> None:
        super().__init__()
        self.squeeze, size = squeezed(feature_shape)
        self.layers = reader(2 * size + action_size, hidden, 1)

    def forward(self, before: Tensor, action: Tensor, after: Tensor) -> Tensor:
        """Features before and after (b, ...) and actions (b, a) to (b,), float32."""
        x = torch.cat([self.squeeze(before), self.squeeze(after), action.to(before.dtype)], 1)
        hidden = self.layers[:-1](x)
        with without_autocast(x.device):  # bfloat16 would tie candidates that differ
            return self.layers[-1](hidden.float()).squeeze(1)


class Statistics(nn.Module):
    """Means and deviations of the data, stored with the weights: see `worldmodel.units`.

    Frames are standardised by a mean for each pixel and one deviation for all: a thin pole is 0.2 % of a raw frame's
    squared error, and a decoder fed raw frames sits at the mean image for hundreds of updates.
    """

    frame_mean: Tensor  # (c, height, width) in [0, 1]
    frame_std: Tensor  # ()
    reward_mean: Tensor  # () per decision
    reward_std: Tensor  # ()

    def __init__(self, frame_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("frame_mean", torch.full(frame_shape, 0.5))
        self.register_buffer("frame_std", torch.ones(()))
        self.register_buffer("reward_mean", torch.zeros(()))
        self.register_buffer("reward_std", torch.ones(()))

    def check_frames(self, frames: Tensor) -> None:
        """Raises DataError unless frames (..., c, height, width) are uint8 and of the model's size."""
        if frames.dtype != torch.uint8:
            raise DataError(f"frames are {frames.dtype}: give uint8 frames in 0..255, as environments and episodes do")
        expected = tuple(self.frame_mean.shape)
        if frames.shape[-3:] != expected:
            raise DataError(
                f"frames are {tuple(frames.shape[-3:])}: this model takes {expected} (channels, height, width)"
            )

    def standardise(self, frames: Tensor) -> Tensor:
        """uint8 frames (..., c, height, width) to float32 of about unit deviation."""
        scale = 1 / self.frame_std
        own = frames.to(torch.float32, copy=True)
        # Frames come with channels last in memory; a mean laid out alike is subtracted several times faster.
        mean = rearrange(rearrange(self.frame_mean * scale, "c h w -> h w c").contiguous(), "h w c -> c h w")
        return own.mul_(scale / 255).sub_(mean)  # in place: one pass over memory less

    def restore(self, x: Tensor) -> Tensor:
        """Standardised frames to float32 in [0, 1]; what lies outside is clipped."""
        return (x * self.frame_std + self.frame_mean).clamp(0, 1)

    def clip(self, x: Tensor) -> Tensor:
        """Standardised frames, clipped to what a uint8 frame can show."""
        return (self.restore(x) - self.frame_mean) / self.frame_std

    def rewards(self, x: Tensor) -> Tensor:
        """Standardised rewards to the environment's own scale."""
        return x * self.reward_std + self.reward_mean

    def standardise_rewards(self, rewards: Tensor) -> Tensor:
        """Inverse of `rewards`."""
        return (rewards - self.reward_mean) / self.reward_std
