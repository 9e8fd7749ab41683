"""Stable-Baselines3's PPO in the dream of a model that is being fitted (SimPLe, Kaiser et al. 2020)."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv, VecMonitor, VecNormalize

from agents.dream_actors import DreamActor
from agents.forecast import noise
from agents.sb3 import ImaginedVecEnv
from envs.dream import Dream
from envs.starts import EpisodeStarts, MixedStarts, WindowStarts
from worldmodel.checkpoint import Contexts
from worldmodel.episode import episode_path, save_episode
from worldmodel.errors import ConfigError, DataError, DivergedError, check_whole
from worldmodel.model import Model
from worldmodel.replay import Replay

LOGGED = ("train/explained_variance", "train/approx_kl", "train/value_loss", "train/std")


@dataclass(frozen=True)
class PPOConfig:
    """How a policy learns in the dream; `configs/ppo_imagine.yaml` gives each.

    Attributes:
        observation: ``features``, or ``frames`` for a policy that looks at pictures.
        frame_stack: how many frames a policy of frames sees at a time, see `Dream`.
        num_envs: dreams side by side.
        episode_starts: share of dreams that start where an episode began, with its first frame alone, as the real
            environment does; the others start from `context` frames anywhere.
        horizon: decisions of a dream; what comes after is the value function's to say.
        steps: imagined decisions after each episode, rounded up to whole rollouts of num_envs x n_steps.
        n_steps, batch_size, n_epochs, learning_rate, gamma, gae_lambda, clip_range, ent_coef: SB3's PPO's.
    """

    observation: str
    frame_stack: int
    num_envs: int
    episode_starts: float
    horizon: int
    steps: int
    n_steps: int
    batch_size: int
    n_epochs: int
    learning_rate: float
    gamma: float
    gae_lambda: float
    clip_range: float
    ent_coef: float

    def __post_init__(self) -> None:
        if self.observation not in ("features", "frames"):
            raise ConfigError(f"ppo.observation is {self.observation!r}: set features or frames")
        for key in ("frame_stack", "num_envs", "horizon", "steps", "n_steps", "batch_size", "n_epochs"):
            check_whole(f"ppo.{key}", getattr(self, key), 1)
        if not 0 <= self.episode_starts <= 1:
            raise ConfigError(f"ppo.episode_starts is {self.episode_starts}: set a probability in [0, 1]")
        rollout = self.num_envs * self.n_steps
        if rollout % self.batch_size:
            raise ConfigError(
                f"ppo.batch_size ({self.batch_size}) does not divide a rollout of ppo.num_envs x ppo.n_steps = "
                f"{rollout} decisions: set one that does"
            )

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> PPOConfig:
        """From plain values, as YAML gives them; raises ConfigError for a key too many or too few."""
        try:
            return cls(**data)
        except TypeError as error:
            raise ConfigError(f"ppo cannot be used as given ({error}): set the keys of ppo_imagine.yaml") from error


class Nowhere:
    """Where dreams start before there are episodes."""

    def draw(self, stream: np.random.Generator) -> Contexts:
        """Raises DataError."""
        raise DataError("the run has no episodes yet, so dreams have nowhere to start: collect some first")


def make_ppo(config: PPOConfig, env: VecEnv, *, seed: int, device: torch.device) -> tuple[PPO, VecNormalize]:
    """PPO before it has learned anything, and what divides the rewards of `env` by their running deviation for it.

    A policy of features is small, and stays on the CPU.
    """
    frames = config.observation == "frames"
    rewards = VecNormalize(VecMonitor(env), norm_obs=False, gamma=config.gamma)
    ppo = PPO(
        "CnnPolicy" if frames else "MlpPolicy",
        rewards,
        n_steps=config.n_steps,
        batch_size=config.batch_size,
        n_epochs=config.n_epochs,
        learning_rate=config.learning_rate,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip_range,
        ent_coef=config.ent_coef,
        seed=seed,
        device=device if frames else "cpu",
    )
    ppo.set_logger(Logger(folder=None, output_formats=[]))
    return ppo, rewards


class DreamPPO:
    """A policy, its optimiser, and the dream that it learns in.

    The model may be fitted between calls of `train`: each begins new dreams, from what was collected until then.
    Rewards are divided by a running deviation of their discounted sums, as PPO's value function wants them.

    Args:
        model: to dream in.
        context: frames that a dream's start is filtered from.
        seed: of the policy's first weights.
        precision: of the dream; the model is fitted in it too.
    """

    def __init__(self, model: Model, config: PPOConfig, *, context: int, seed: int, precision: str) -> None:
        self.config = config
        self._model = model
        self._precision = precision
        self._context = context
        self._dream = Dream(
            model,
            Nowhere(),
            num_envs=config.num_envs,
            horizon=config.horizon,
            observation=config.observation,
            frame_stack=config.frame_stack if config.observation == "frames" else 1,
            precision=precision,
        )
        self._ppo, self._rewards = make_ppo(config, ImaginedVecEnv(self._dream), seed=seed, device=model.device)

    @property
    def ppo(self) -> PPO:
        """SB3's algorithm, to save or to take the policy of."""
        return self._ppo

    def train(self, replay: Replay, *, seed: int) -> dict[str, float | int | None]:
        """Learns for `config.steps` imagined decisions, from starts in the replay's episodes.

        Everything random follows from the seed, also SB3's and torch's global streams, which it sets; on a GPU, for a
        policy of frames, SB3 makes cuDNN deterministic too. Returns what `LOGGED` names, of the last rollout, with the
        mean return of the latest dreams and the decisions dreamed so far; None for what is no finite number, such as
        the explained variance of returns that never vary.

        Raises DivergedError when the policy's weights are no longer finite.
        """
        anywhere, beginnings = WindowStarts(replay, self._context), EpisodeStarts(replay)
        self._dream.starts = MixedStarts(anywhere, beginnings, self.config.episode_starts)
        self._ppo.set_random_seed(seed)
        env = self._ppo.get_env()
        assert env is not None
        self._ppo.set_env(env)  # so that it begins with new dreams
        if self._ppo.ep_info_buffer is not None:
            self._ppo.ep_info_buffer.clear()  # of dreams in an older model
        try:
            self._ppo.learn(self.config.steps, reset_num_timesteps=False)
        except ValueError as error:  # as torch's distributions refuse what is not finite
            self._check_finite(error)
            raise
        self._check_finite()
        values = self._ppo.logger.name_to_value
        ended = self._ppo.ep_info_buffer
        found = {"imagined_return": float(np.mean([episode["r"] for episode in ended])) if ended else math.nan}
        found |= {name.partition("/")[2]: float(values[name]) for name in LOGGED if name in values}
        known = {name: value if math.isfinite(value) else None for name, value in found.items()}
        return {"imagined_steps": self._ppo.num_timesteps, **known}

    def _check_finite(self, cause: ValueError | None = None) -> None:
        policy = self._ppo.policy
        weights: list[torch.Tensor] = [*policy.parameters()]
        if isinstance(policy.action_space, Box):
            weights.append(policy.log_std.exp())
        numbers = torch.cat([weight.detach().flatten() for weight in weights])
        if count := int((~numbers.isfinite()).sum()):
            raise DivergedError(
                f"{count} of {len(numbers)} weights and deviations of the policy are not finite after "
                f"{self._ppo.num_timesteps} imagined decisions: go on with resume=anyway and a ppo.learning_rate below "
                f"{self.config.learning_rate}"
            ) from cause

    def pace(self) -> float:
        """Seconds that `train` takes here, by one rollout of a policy that is thrown away."""
        with tempfile.TemporaryDirectory() as folder:
            save_episode(noise(self._model.spec, self._context + 1), episode_path(Path(folder), 0))
            rollout = replace(self.config, steps=self.config.num_envs * self.config.n_steps)
            twin = DreamPPO(self._model, rollout, context=self._context, seed=0, precision=self._precision)
            twin.train(Replay(Path(folder)), seed=0)
            start = time.perf_counter()
            twin.train(Replay(Path(folder)), seed=0)
            took = time.perf_counter() - start
        return took * math.ceil(self.config.steps / rollout.steps)

    def actor(self) -> DreamActor:
        """The policy as it is now and becomes, without exploration, for rows that are imagined."""
        frame_stack = self.config.frame_stack if self.config.observation == "frames" else 0
        return DreamActor(self._ppo.policy, self._model, frame_stack=frame_stack)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs; tensors, numbers and strings, so that reading it runs no code."""
        returns = self._rewards.ret_rms
        return {
            "policy": self._ppo.policy.state_dict(),
            "optimizer": self._ppo.policy.optimizer.state_dict(),
            "steps": self._ppo.num_timesteps,
            "returns": {"mean": float(returns.mean), "var": float(returns.var), "count": float(returns.count)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state_dict`'s output."""
        self._ppo.policy.load_state_dict(state["policy"])
        self._ppo.policy.optimizer.load_state_dict(state["optimizer"])
        self._ppo.num_timesteps = state["steps"]
        returns = self._rewards.ret_rms
        returns.mean, returns.var = np.array(state["returns"]["mean"]), np.array(state["returns"]["var"])
        returns.count = state["returns"]["count"]
