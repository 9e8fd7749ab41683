"""Every environment that `configs/env` names can be made, stepped in and seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationToMissingValueError

import configs
from agents.actor import RandomActor
from agents.collecting import play_episode
from envs import env_spec, make_env

ANY = {"gymnasium", "dm_control"}  # of which one names the environment oneself
NAMED = sorted({path.stem for path in (Path(configs.__file__).parent / "env").glob("*.yaml")} - ANY)
PLANET = {  # Hafner et al. 2019, table 1
    "cartpole": ("swingup", 8),
    "reacher": ("easy", 4),
    "cheetah": ("run", 4),
    "finger": ("spin", 2),
    "cup": ("catch", 4),
    "walker": ("walk", 2),
}


def settings(name: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_module("configs", version_base="1.3"):
        composed = compose(overrides=[f"+env={name}", *overrides])
    return OmegaConf.to_container(composed.env, resolve=True, throw_on_missing=True)


@pytest.mark.parametrize("name", NAMED)
def test_every_named_environment_is_collected_and_seen_to_move(name: str, request: pytest.FixtureRequest) -> None:
    config = settings(name)
    if config["backend"] == "dm_control":
        request.getfixturevalue("gl")
    if name == "pong":
        pytest.importorskip("ale_py")
    env = make_env(config)
    spec = env_spec(env)
    assert (spec.env, spec.action_repeat, spec.time_limit) == (name, config["action_repeat"], config["time_limit"])
    env.close()
    env = make_env(config | {"time_limit": 2 * spec.action_repeat})
    actor = RandomActor(env.env_spec)
    episode = play_episode(env, actor, spec=env.env_spec, seed=0, exploration=0.0, name="random")
    assert (len(episode), episode.env_frames, episode.truncated) == (2, 2 * spec.action_repeat, True)
    frames = episode.frames
    assert frames.shape == (3, 64, 64, 3) and frames.dtype == np.uint8 and np.isfinite(episode.rewards).all()
    assert all(frame.std() > 1 for frame in frames) and not np.array_equal(frames[0], frames[-1])
    env.close()


def test_names_are_distinct_and_good_for_folders() -> None:
    names = [settings(name)["name"] for name in NAMED]
    assert names == NAMED and all(name.isidentifier() for name in names)


def test_planets_six_tasks_have_its_action_repeats() -> None:
    found = {name: (config["task"], config["action_repeat"]) for name in PLANET for config in [settings(name)]}
    assert found == PLANET


def test_other_tasks_and_environments_name_themselves() -> None:
    assert settings("cartpole", "env.domain=reacher", "env.task=easy")["name"] == "reacher"
    assert settings("gymnasium", "env.id=Acrobot-v1")["name"] == "Acrobot-v1"
    assert settings("gymnasium", "env.id=my_package.my_module:MyEnv")["id"] == "my_package.my_module:MyEnv"
    with pytest.raises(InterpolationToMissingValueError, match=r"env\.id"):
        settings("gymnasium")
