"""What chooses actions from frames: one door for planners, policies and chance."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from worldmodel.errors import ConfigError, check_number
from worldmodel.spec import EnvSpec


class Actor(Protocol):
    """Chooses actions from frames (H, W, 3) uint8; actions are (a,) float32 in [-1, 1], or one-hot."""

    def reset(self, frame: np.ndarray) -> None:
        """A new episode begins with `frame`."""

    def act(self, generator: torch.Generator, exploration: float = 0.0) -> np.ndarray:
        """The next action (a,); `exploration` is what `explored` says, everything random from the generator."""

    def observe(self, action: np.ndarray, frame: np.ndarray, generator: torch.Generator) -> None:
        """`action` (a,) was executed and led to `frame`; everything random from the generator."""


class RandomActor:
    """Uniform in [-1, 1], or uniform over the choices; looks at nothing.

    Args:
        spec: whose actions.
        persistence: in [0, 1), the probability that the last action is taken once more. Independent actions cancel
            out, and a mass stays about where it was; held ones go places.

    Raises ConfigError for another persistence.
    """

    def __init__(self, spec: EnvSpec, *, persistence: float = 0.0) -> None:
        check_number("persistence", persistence)
        if not 0 <= persistence < 1:
            raise ConfigError(f"persistence is {persistence}: set a probability in [0, 1)")
        self._spec = spec
        self._persistence = persistence
        self._last: np.ndarray | None = None

    def reset(self, frame: np.ndarray) -> None:
        """Nothing is held from the episode before."""
        self._last = None

    def act(self, generator: torch.Generator, exploration: float = 0.0) -> np.ndarray:
        """A uniformly random action (a,), or the last one; it cannot explore any more than that."""
        held = self._persistence > 0 and float(_uniform(generator, 1)) < self._persistence
        if self._last is None or not held:
            self._last = random_action(self._spec, generator)
        return self._last

    def observe(self, action: np.ndarray, frame: np.ndarray, generator: torch.Generator) -> None:
        """Nothing to remember."""


def random_action(spec: EnvSpec, generator: torch.Generator) -> np.ndarray:
    """Uniform in [-1, 1], or a uniformly chosen one-hot vector: (a,) float32."""
    if spec.action_kind == "box":
        return (2 * _uniform(generator, spec.action_size) - 1).numpy()
    action = np.zeros(spec.action_size, np.float32)
    action[int(torch.randint(spec.action_size, (), generator=generator, device=generator.device))] = 1
    return action


def explored(action: np.ndarray, spec: EnvSpec, generator: torch.Generator, exploration: float) -> np.ndarray:
    """The action (a,) with exploration noise, within its bounds, float32; the same action when `exploration` is 0.

    For box actions `exploration` is the standard deviation of Gaussian noise (PlaNet, section 3: 0.3). For discrete
    ones it is the probability of a uniformly random choice instead.
    """
    if exploration == 0:
        return action
    if spec.action_kind == "box":
        noise = torch.randn(spec.action_size, generator=generator, device=generator.device).cpu().numpy()
        return np.clip(action + exploration * noise, -1, 1).astype(np.float32)
    return random_action(spec, generator) if float(_uniform(generator, 1)) < exploration else action


def _uniform(generator: torch.Generator, n: int) -> torch.Tensor:
    return torch.rand(n, generator=generator, device=generator.device).cpu()
