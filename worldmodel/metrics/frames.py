"""Predicted frames beside true ones: PSNR and SSIM."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

HIGHEST_PSNR = 100.0  # dB, of frames that are the same


def psnr(predicted: Tensor, true: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (b, k) in dB, at most `HIGHEST_PSNR`; of `FrameMetric`'s frames."""
    error = (predicted - true[:, None]).square().mean((2, 3, 4))
    return -10 * torch.log10(error.clamp_min(10 ** (-HIGHEST_PSNR / 10)))


def ssim(predicted: Tensor, true: Tensor) -> Tensor:
    """Structural similarity (b, k), at most 1, of `FrameMetric`'s frames, sides of 12 pixels or more.

    Gaussian windows of 11 pixels, sigma 1.5 (Wang et al. 2004), as torchmetrics has it. In float32, which is off by up
    to 0.0002 in frames of one colour: double takes twenty times as long on a processor.
    """
    one, other = predicted.flatten(0, 1), true[:, None].expand_as(predicted).flatten(0, 1)
    found = structural_similarity_index_measure(one, other, data_range=1.0, reduction="none")
    assert isinstance(found, Tensor)
    return found.reshape(predicted.shape[:2])
