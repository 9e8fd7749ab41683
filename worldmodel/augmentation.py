"""What is done to frames so that few episodes teach more."""

from __future__ import annotations

import torch
from torch import Tensor

from worldmodel.errors import ConfigError


def shift(frames: Tensor, limit: int, generator: torch.Generator) -> None:
    """Moves each row of standardised frames (b, t, c, height, width) by up to `limit` pixels either way, in place.

    What comes into view is zero: the mean. Raises ConfigError when a frame could leave the picture.
    """
    if limit == 0:
        return
    h, w = frames.shape[-2:]
    if limit >= min(h, w):
        raise ConfigError(f"frames of {h}x{w} moved by {limit} pixels: set train.unrolling.shift < {min(h, w)}")
    offsets = torch.randint(-limit, limit + 1, (len(frames), 2), generator=generator, device=generator.device)
    for row, (down, right) in enumerate(offsets.tolist()):
        to = (..., slice(max(0, down), h + min(0, down)), slice(max(0, right), w + min(0, right)))
        seen = (..., slice(max(0, -down), h - max(0, down)), slice(max(0, -right), w - max(0, right)))
        still = frames[row].clone()
        frames[row].zero_()
        frames[row][to] = still[seen]
