"""How far to trust a dream: what a policy earns in it, beside what it earned for real from the same states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from worldmodel.episode import Episode
from worldmodel.errors import DataError, check_whole
from worldmodel.state import State, concatenate
from worldmodel.svg import WorldModel


class Policy(Protocol):
    """Acts in n rows that are imagined, without exploration."""

    def begin(self, frames: np.ndarray) -> None:
        """Rows have seen frames (n, t, H, W, 3) uint8, the last of them now; zeros before an episode's first."""

    def act(self, state: State) -> Tensor:
        """Actions (n, a) on the states' device."""

    def advance(self, state: State) -> None:
        """The rows went on to these states."""


@dataclass(frozen=True)
class Trust:
    """Rewards from n start states on, h decisions each; after a termination they are 0.

    Attributes:
        imagined: (n, h), in the model, each by the probability that the task has not terminated before it.
        real: (n, h), as they came.
    """

    imagined: np.ndarray
    real: np.ndarray

    def summary(self) -> dict[str, float | int | None]:
        """Of returns over the whole horizon: means, root mean square difference, and correlation over starts.

        A policy that exploits the model is one whose imagined mean runs away from the real one. The correlation, in
        [-1, 1], is None where either never varies. In a model that diverges ``nonfinite`` starts have an imagined
        return that is no finite number; whatever that makes of the others is None.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            imagined, real = self.imagined.sum(1), self.real.sum(1)
            varies = min(np.std(imagined), np.std(real)) > 1e-8
            found = {
                "imagined": float(imagined.mean()),
                "real": float(real.mean()),
                "error": float(np.sqrt(np.mean((imagined - real) ** 2))),
                "correlation": float(np.corrcoef(imagined, real)[0, 1]) if varies else math.nan,
            }
        return {
            "starts": len(imagined),
            "horizon": self.imagined.shape[1],
            "nonfinite": int((~np.isfinite(imagined)).sum()),
            **{name: value if math.isfinite(value) else None for name, value in found.items()},
        }

    def told(self) -> str:
        """What was imagined and what was earned, in words."""
        found = self.summary()
        means = (found["imagined"], found["real"])
        imagined, real = ("no finite number" if mean is None else f"{mean:.1f}" for mean in means)
        return f"{found['horizon']} decisions imagined {imagined}, earned {real}"


def measure_trust(
    model: WorldModel, policy: Policy, episodes: Sequence[Episode], *, context: int, horizon: int, seed: int
) -> Trust:
    """Imagines on from states of some episodes, with the policy that played them.

    Starts follow each other by half the horizon, so every reward counts about twice. States are filtered from up to
    `context` frames with the mean of each z; what is imagined draws z from the prior.

    Args:
        episodes: played by `policy`, without exploration.
        horizon: decisions, h.
        seed: of what is imagined.

    Raises DataError when no episode has h decisions or a termination.
    """
    check_whole("horizon", horizon, 1)
    generator = torch.Generator().manual_seed(seed)
    imagined, real = [], []
    for episode in episodes:
        earned = np.pad(episode.rewards, (0, horizon - 1 if episode.terminated else 0))
        starts = np.arange(0, len(earned) - horizon + 1, max(1, horizon // 2))
        if len(starts) == 0:
            continue
        real.append(np.stack([earned[start : start + horizon] for start in starts]))
        states = _filtered(model, episode, starts, context)
        policy.begin(_seen(episode, starts, context))
        imagined.append(_imagine(model, policy, states, horizon, generator))
    if not real:
        raise DataError(
            f"no episode is known for {horizon} decisions, the longest of {len(episodes)} has "
            f"{max(map(len, episodes), default=0)}: set a shorter horizon"
        )
    return Trust(np.concatenate(imagined), np.concatenate(real))


@torch.inference_mode()
def _filtered(model: WorldModel, episode: Episode, starts: np.ndarray, context: int) -> list[State]:
    """The state at each start, from as many of the frames before it as `context` holds."""
    states = []
    for start in starts:
        first = max(0, int(start) + 1 - context)
        frames = torch.from_numpy(episode.frames[first : start + 1]).permute(0, 3, 1, 2)[None].to(model.device)
        actions = torch.from_numpy(episode.actions[first:start])[None].to(model.device)
        states.append(model.initial(frames, actions))
    return states


def _seen(episode: Episode, starts: np.ndarray, context: int) -> np.ndarray:
    """The frames up to each start, (n, context, H, W, 3) uint8."""
    before = np.zeros((context - 1, *episode.frames.shape[1:]), np.uint8)
    frames = np.concatenate([before, episode.frames])
    return np.stack([frames[start : start + context] for start in starts])


@torch.inference_mode()
def _imagine(
    model: WorldModel, policy: Policy, states: list[State], horizon: int, generator: torch.Generator
) -> np.ndarray:
    state = concatenate(states)
    n = len(state)
    alive = torch.ones(n, device=model.device)
    rewards = []
    for step in range(horizon):
        if step:
            policy.advance(state)
        noise = torch.randn(n, *model.noise_shape, generator=generator).to(model.device)
        prediction = model.imagine(state, policy.act(state), noise=noise)
        rewards.append((alive * prediction.reward).float().cpu().numpy())
        alive = alive * prediction.continues
        state = prediction.state
    return np.stack(rewards, 1)
