"""Diagonal Gaussians: the distributions of the latent z."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from worldmodel.errors import ConfigError


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian; both tensors have the same shape, batch (and time) axes first.

    Attributes:
        mean: its mean.
        log_std: natural logarithm of its standard deviation.
    """

    mean: Tensor
    log_std: Tensor

    @property
    def std(self) -> Tensor:
        """Standard deviation, of the mean's shape."""
        return self.log_std.exp()

    def sample(self, noise: Tensor | None) -> Tensor:
        """Reparameterised sample for standard normal `noise` of the mean's shape; the mean itself for None.

        Raises ConfigError for noise of another shape: spread over rows, it would tie them together.
        """
        if noise is None:
            return self.mean
        if noise.shape != self.mean.shape:
            raise ConfigError(f"noise is {tuple(noise.shape)}: give standard normal {tuple(self.mean.shape)}")
        return self.mean + self.std * noise


def kl(p: Gaussian, q: Gaussian) -> Tensor:
    """KL(p‖q) in nats for each element, of the Gaussians' shape; sum over the latent axes for nats per frame."""
    ratio = (2 * (p.log_std - q.log_std)).exp()
    distance = (p.mean - q.mean).square() * (-2 * q.log_std).exp()
    return q.log_std - p.log_std + 0.5 * (ratio + distance - 1)
