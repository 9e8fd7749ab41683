"""SB3's PPO and SAC from pixels in a real environment: what a policy learned in a dream is held against."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from gymnasium.spaces import Box
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize, VecTransposeImage

from agents.seeds import seed_of
from envs import make_env
from worldmodel.errors import ConfigError, check_whole

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "sac": SAC}


def make_baseline(settings: Mapping[str, Any]) -> BaseAlgorithm:
    """The algorithm that the key ``algorithm`` names, its environments stacking frames, before it has learned anything.

    PPO's rewards are divided by a running deviation of their discounted sums, as in `agents.dream_ppo`; SAC, whose
    entropy has a weight of its own that learns, gets them as they are.

    Args:
        settings: the plain values of `configs/model_free.yaml`; what stands under the algorithm's name goes to SB3 as
            it is, but for ``num_envs``.

    Raises ConfigError for settings that cannot work, and as `make_env` does.
    """
    name = settings["algorithm"]
    if name not in ALGORITHMS:
        raise ConfigError(f"algorithm is {name!r}: set one of {', '.join(ALGORITHMS)}")
    parameters = dict(settings[name])
    num_envs = parameters.pop("num_envs")
    check_whole(f"{name}.num_envs", num_envs, 1)
    check_whole("frame_stack", settings["frame_stack"], 1)
    real = partial(make_env, settings["env"], rendering=settings["rendering"], timeout=settings["env_timeout"])
    env: VecEnv = DummyVecEnv([real] * num_envs)
    if name == "sac" and not isinstance(env.action_space, Box):
        env.close()
        raise ConfigError(
            f"sac acts by vectors alone, {settings['env']['name']} takes {env.action_space}: set algorithm=ppo"
        )
    env = VecTransposeImage(VecFrameStack(env, settings["frame_stack"]))
    try:
        if name == "ppo":
            env = VecNormalize(env, norm_obs=False, gamma=parameters["gamma"])
        seed = seed_of(settings["seed"], "policy")
        baseline = ALGORITHMS[name]("CnnPolicy", env, seed=seed, device=settings["device"], **parameters)
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:  # of whatever it refuses
        env.close()
        raise ConfigError(f"{name} cannot be used as given ({error}): see {name} in model_free.yaml") from error
    # In which processors convolve fastest.
    baseline.policy.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return baseline
