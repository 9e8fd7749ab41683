"""Predicted frames beside true ones: PSNR and SSIM."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

HIGHEST_PSNR = 100.0  # dB, of frames that are the same


def psnr(predicted: Tensor, true: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (b,) in dB of frames (b, c, h, w) in [0, 1]; at most `HIGHEST_PSNR`."""
    error = (predicted.double() - true.double()).square().flatten(1).mean(1)
    return -10 * torch.log10(error.clamp_min(10 ** (-HIGHEST_PSNR / 10)))


def ssim(predicted: Tensor, true: Tensor) -> Tensor:
    """Structural similarity (b,), at most 1, of frames (b, c, h, w) in [0, 1], sides of 12 pixels or more.

    Gaussian windows of 11 pixels, sigma 1.5 (Wang et al. 2004), as torchmetrics has it. In float32, which is off by up
    to 0.0002 in frames of one colour: double takes twenty times as long on a processor.
    """
    found = structural_similarity_index_measure(predicted.float(), true.float(), data_range=1.0, reduction="none")
    assert isinstance(found, Tensor)
    return found.reshape(len(predicted))
