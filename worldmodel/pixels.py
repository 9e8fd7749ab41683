"""Drawn frames to the pixels that people and policies see."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor


def pixels(drawn: Tensor) -> np.ndarray:
    """Frames (b, c, h, w), as `decode` gives them, to (b, h, w, c) uint8: rounded, what lies outside [0, 1] clipped."""
    return rearrange((255 * drawn.float().clamp(0, 1)).round().to(torch.uint8), "b c h w -> b h w c").cpu().numpy()
