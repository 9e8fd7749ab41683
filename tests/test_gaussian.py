"""The diagonal Gaussian against torch's own, and a sample that is made of the noise it is given."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from worldmodel.gaussian import Gaussian, kl


def drawn(seed: int, shape: tuple[int, ...] = (3, 4, 2, 2)) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    return Gaussian(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator))


def normal(gaussian: Gaussian) -> Normal:
    return Normal(gaussian.mean.double(), gaussian.log_std.double().exp())


def test_kl_is_that_of_torch_in_both_directions() -> None:
    p, q = drawn(0), drawn(1)
    for a, b in ((p, q), (q, p)):
        expected = kl_divergence(normal(a), normal(b)).float()
        torch.testing.assert_close(kl(a, b), expected, rtol=1e-4, atol=1e-5)
    assert kl(p, q).shape == (3, 4, 2, 2)


def test_kl_of_known_gaussians() -> None:
    """ln(2) + (1 + 3²) / (2 · 2²) − 1/2 for N(3, 1) against N(0, 2), and nothing against itself."""
    p = Gaussian(torch.tensor([3.0]), torch.tensor([0.0]))
    q = Gaussian(torch.tensor([0.0]), torch.tensor([math.log(2)]))
    assert kl(p, q).item() == pytest.approx(math.log(2) + 10 / 8 - 0.5)
    assert (kl(drawn(0), drawn(0)) == 0).all()


def test_kl_has_the_gradients_of_torch() -> None:
    parts = [tensor.double().requires_grad_() for g in (drawn(2), drawn(3)) for tensor in (g.mean, g.log_std)]
    p, q = Gaussian(parts[0], parts[1]), Gaussian(parts[2], parts[3])
    found = torch.autograd.grad(kl(p, q).sum(), parts)
    expected = torch.autograd.grad(kl_divergence(normal(p), normal(q)).sum(), parts)
    torch.testing.assert_close(found, expected)


def test_a_sample_is_the_mean_and_noise_deviations() -> None:
    gaussian = Gaussian(torch.tensor([1.0, 1.0, -2.0]), torch.tensor([2.0, 2.0, 0.5]).log())
    assert gaussian.sample(torch.tensor([1.0, -3.0, 2.0])).tolist() == pytest.approx([3, -5, -1])
    assert gaussian.sample(None) is gaussian.mean
    torch.testing.assert_close(gaussian.sample(torch.zeros(3)), gaussian.mean)


def test_std_is_a_deviation_not_a_variance() -> None:
    gaussian = Gaussian(torch.zeros(20_000), torch.full((20_000,), math.log(3)))
    torch.testing.assert_close(gaussian.std, torch.full((20_000,), 3.0))
    samples = gaussian.sample(torch.randn(20_000, generator=torch.Generator().manual_seed(0)))
    assert samples.std().item() == pytest.approx(3, rel=0.03)


def test_gradients_reach_both_parameters_through_a_sample() -> None:
    mean, log_std = torch.tensor([1.0], requires_grad=True), torch.tensor([math.log(2)], requires_grad=True)
    Gaussian(mean, log_std).sample(torch.tensor([3.0])).sum().backward()
    assert mean.grad is not None and log_std.grad is not None
    assert (mean.grad.item(), log_std.grad.item()) == (1, pytest.approx(6))  # d(std · noise)/d(ln std) = std · noise
