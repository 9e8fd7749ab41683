"""Noise whose power falls with frequency, so that neighbouring decisions push the same way."""

from __future__ import annotations

import torch
from torch import Tensor


def coloured_noise(n: int, h: int, a: int, *, beta: float, generator: torch.Generator) -> Tensor:
    """Gaussian sequences (n, h, a) of unit variance at every step, on the generator's device.

    Their power spectrum along h falls as 1 / frequency^beta (0: white, 1: pink, 2: red); the constant part has the
    power of the lowest frequency. Source: Timmer & König 1995; for planning, Pinneri et al. 2020, section 3.1.
    """
    device = generator.device
    frequency = torch.fft.rfftfreq(h, device=device)
    frequency[0] = 1 / h
    amplitude = frequency ** (-beta / 2)
    real, imaginary = torch.randn(2, n, a, len(amplitude), generator=generator, device=device)
    # The constant and, for even h, the highest frequency have no phase: all their power is real.
    alone = torch.zeros_like(amplitude, dtype=torch.bool)
    alone[0] = True
    if h % 2 == 0:
        alone[-1] = True
    real = torch.where(alone, real * 2**0.5, real)
    imaginary = torch.where(alone, 0.0, imaginary)
    series = torch.fft.irfft(amplitude * torch.complex(real, imaginary), n=h)
    variance = torch.where(alone, 2 * amplitude**2, 4 * amplitude**2).sum() / h**2
    return (series / variance.sqrt()).transpose(1, 2)
