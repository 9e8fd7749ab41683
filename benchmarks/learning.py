"""Decisions a second of PPO as it learns: in a model's dream, against the real environment."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from agents.dream_ppo import DreamPPO, PPOConfig, make_ppo
from agents.sb3 import FilteredVecEnv
from benchmarks.measured import Measured, fastest, rate
from benchmarks.workload import new_model, write_episodes
from envs import make_env
from worldmodel.config import ModelConfig
from worldmodel.replay import Replay
from worldmodel.spec import EnvSpec
from worldmodel.svg import SVG, channels_last

CONTEXT = 5  # frames that a dream starts from


def against_environment(
    model_config: ModelConfig,
    env: Mapping[str, Any],
    ppo: PPOConfig,
    *,
    real_envs: int = 4,
    budget: float = 30.0,
) -> Measured:
    """A rollout and the policy's fit to it as `agents.ppo_imagine` has them, against the same in real environments.

    Those stand side by side in this process and are stepped in turn; a policy of features sees them through the same
    model. A real rollout is one minibatch long, so that a decision is fitted to as often in either.

    Args:
        env: settings of the environment.
        ppo: of the policy; its rollout is timed, whatever its steps.
        real_envs: a divisor of its batch.

    Extra: ``dream_share``, what stepping the dream alone comes to of the value's time; the rest is PPO's.
    """
    venv = DummyVecEnv([lambda: make_env(env)] * real_envs)
    spec = venv.get_attr("env_spec")[0]
    model = channels_last(new_model(model_config, spec)).eval()
    with tempfile.TemporaryDirectory() as folder:
        imagined = DreamPPO(model, replace(ppo, steps=1), context=CONTEXT, seed=0, precision="auto")
        times = fastest(
            learn_in_dream(imagined, Path(folder), spec),
            step_dream(imagined),
            learn_for_real(ppo, venv, model),
            budget=budget,
        )
    venv.close()
    learning, dreaming, real = times
    value = ppo.num_envs * ppo.n_steps / learning
    return rate(value, ppo.batch_size / real, "decisions/s", dream_share=dreaming / learning)


def learn_in_dream(imagined: DreamPPO, folder: Path, spec: EnvSpec) -> Callable[[], object]:
    """A rollout in the dream and the policy's fit to it."""
    write_episodes(folder, 2, length=4 * CONTEXT, spec=spec)
    replay = Replay(folder)
    return lambda: imagined.train(replay, seed=0)


def step_dream(imagined: DreamPPO) -> Callable[[], None]:
    """The same rollout by random actions, once the dream has begun."""
    config, env = imagined.config, imagined.ppo.get_env()
    assert env is not None
    shape = (config.n_steps, config.num_envs, *(env.action_space.shape or ()))
    actions = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)

    def run() -> None:
        for each in actions:
            env.step(each)

    return run


def learn_for_real(config: PPOConfig, venv: VecEnv, model: SVG) -> Callable[[], object]:
    """A rollout of a minibatch's decisions in real environments, and the policy's fit to it."""
    env = FilteredVecEnv(venv, model) if config.observation == "features" else venv
    rollout = replace(config, num_envs=venv.num_envs, n_steps=config.batch_size // venv.num_envs)
    ppo, _ = make_ppo(rollout, env, seed=0, device=model.device)
    return lambda: ppo.learn(1, reset_num_timesteps=False)
