"""A policy and the values of what it does, read from features: a plan may then be shorter than the task is long."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from worldmodel.hardware import without_autocast
from worldmodel.heads import reader, squeezed
from worldmodel.spec import EnvSpec

SMOOTHING = 0.2  # std of the noise on the policy's actions where they are valued (TD3), and
SMOOTHING_LIMIT = 0.3  # how far it goes


class ActorCritic(nn.Module):
    """A policy and critics of its actions, learned by temporal differences as TD-MPC does (Hansen et al. 2022).

    Values are discounted sums of rewards, in the model's `value_unit`. All is computed in float32: what one action is
    worth more than another is a small part of what both are worth.

    Args:
        feature_shape: (c,) or (c, h, w).
        spec: whose actions.
        hidden: width of the two hidden layers of each network.
        critics: how many; the least of them counts where an estimate is learned from (TD3, Fujimoto et al. 2018).
        discount: of a reward one decision later.
    """

    def __init__(
        self, feature_shape: tuple[int, ...], spec: EnvSpec, *, hidden: int, critics: int, discount: float
    ) -> None:
        super().__init__()
        self.discount = discount
        self._discrete = spec.action_kind == "discrete"
        self._action_size = actions = spec.action_size
        squeeze, size = squeezed(feature_shape)
        self.policy = nn.Sequential(squeeze, reader(size, hidden, actions))
        self.critics = nn.ModuleList(Critic(feature_shape, actions, hidden=hidden) for _ in range(critics))
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)

    def act(self, feature: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """The policy's actions (b, a) for features (b, ...): in [-1, 1], or one-hot.

        `noise` (b, a) is standard normal for vectors, of which `SMOOTHING` is the deviation, and uniform in (0, 1) for
        choices, which are then drawn by their probabilities; None gives the mean, or the likeliest choice.
        """
        out = self._policy(feature)
        if self._discrete:
            scores = out if noise is None else out - torch.log(-torch.log(noise))  # Gumbel's trick
            return functional.one_hot(scores.argmax(1), out.shape[1]).to(out)
        actions = out.tanh()
        return actions if noise is None else (actions + SMOOTHING * noise).clamp(-1, 1)

    def noise(self, b: int, generator: torch.Generator) -> Tensor:
        """For `act`, (b, a), where the generator lives."""
        size = (b, self._action_size)
        if self._discrete:
            return torch.rand(size, generator=generator, device=generator.device).clamp(1e-6, 1 - 1e-6)
        return torch.randn(size, generator=generator, device=generator.device)

    def values(self, feature: Tensor, action: Tensor) -> Tensor:
        """What each critic says of actions (b, a) at features (b, ...): (critics, b)."""
        return torch.stack([critic(feature, action) for critic in self.critics])

    def target_values(self, feature: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """What each target critic says of features (b, ...) under the policy: (critics, b).

        Gradients reach the policy and no critic. `noise` is `act`'s, for vectors only, and no further than its limit:
        so close actions have close values.
        """
        out = self._policy(feature)
        if self._discrete:
            b, a = out.shape
            choices = torch.eye(a, device=out.device).repeat(b, 1)
            rows = feature.repeat_interleave(a, 0)
            values = torch.stack([critic(rows, choices) for critic in self.targets]).view(-1, b, a)
            return (out.softmax(1) * values).sum(2)
        actions = out.tanh()
        if noise is not None:
            actions = (actions + (SMOOTHING * noise).clamp(-SMOOTHING_LIMIT, SMOOTHING_LIMIT)).clamp(-1, 1)
        return torch.stack([critic(feature, actions) for critic in self.targets])

    @torch.no_grad()
    def update_targets(self, rate: float) -> None:
        """Moves the target critics towards the critics, by a share in [0, 1] of the way."""
        for target, critic in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
            target.lerp_(critic, rate)

    def _policy(self, feature: Tensor) -> Tensor:
        with without_autocast(feature.device):
            return self.policy(feature.float())


class Critic(nn.Module):
    """The value of an action: features (b, ...) and actions (b, a) to (b,).

    Args as `ActorCritic`'s.
    """

    def __init__(self, feature_shape: tuple[int, ...], action_size: int, *, hidden: int) -> None:
        super().__init__()
        self.squeeze, size = squeezed(feature_shape)
        self.layers = reader(size + action_size, hidden, 1)

    def forward(self, feature: Tensor, action: Tensor) -> Tensor:
        """In float32."""
        with without_autocast(feature.device):
            return self.layers(torch.cat([self.squeeze(feature.float()), action.float()], 1)).squeeze(1)
