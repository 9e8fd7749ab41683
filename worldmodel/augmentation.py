"""What is done to frames so that few episodes teach more."""

from __future__ import annotations

import torch
from torch import Tensor

from worldmodel.errors import ConfigError


def shifted(frames: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """Standardised frames (b, t, c, height, width), each row moved by up to `limit` pixels along both sides.

    What comes into view is zero: the mean. Raises ConfigError when a frame could leave the picture.
    """
    if limit == 0:
        return frames
    h, w = frames.shape[-2:]
    if limit >= min(h, w):
        raise ConfigError(f"frames of {h}x{w} moved by {limit} pixels: set train.unrolling.shift < {min(h, w)}")
    moved = torch.zeros_like(frames)
    offsets = torch.randint(-limit, limit + 1, (len(frames), 2), generator=generator, device=generator.device)
    for row, (down, right) in enumerate(offsets.tolist()):
        to = (..., slice(max(0, down), h + min(0, down)), slice(max(0, right), w + min(0, right)))
        seen = (..., slice(max(0, -down), h - max(0, down)), slice(max(0, -right), w - max(0, right)))
        moved[row][to] = frames[row][seen]
    return moved
