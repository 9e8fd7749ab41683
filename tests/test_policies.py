"""Each name of a policy makes its actor, with the settings given; what cannot act there is an error with its mend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.actor import Actor, RandomActor
from agents.planning import PlanningAgent
from agents.policies import NEEDS, make_actor
from agents.sb3_policy import SB3Actor
from agents.simulator import SimulatorAgent
from envs import make_env
from envs.filtered import FilteredEnv
from envs.pixels import PixelEnv
from worldmodel.build import build
from worldmodel.checkpoint import Contexts
from worldmodel.config import ModelConfig
from worldmodel.errors import CheckpointError, ConfigError, WorldModelError
from worldmodel.pretrained import from_pretrained, save_pretrained

PENDULUM = {
    "backend": "gymnasium",
    "name": "pendulum_gym",
    "id": "Pendulum-v1",
    "kwargs": {},
    "frames": "render",
    "action_repeat": 2,
    "time_limit": 8,
    "size": [64, 64],
}
MODEL = ModelConfig(
    layer="dense",
    recurrence="lstm",
    features="frame",
    backbone="vgg",
    K=1.0,
    M=1.0,
    stages=((4, 1), (4, 1)),
    patch=4,
    feature=4,
    hidden=4,
    layers=1,
    latent=2,
    advance="residual",
    skips=False,
    head=4,
)
ACTORS = {"random": RandomActor, "planner": PlanningAgent, "simulator": SimulatorAgent, "sb3": SB3Actor}


@pytest.fixture(scope="module")
def env() -> Iterator[PixelEnv]:
    env = make_env(PENDULUM)
    yield env
    env.close()


@pytest.fixture(scope="module")
def checkpoint(env: PixelEnv, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained model of it."""
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    torch.manual_seed(0)
    contexts = Contexts(torch.zeros(1, 2, 3, 64, 64, dtype=torch.uint8), torch.zeros(1, 1, 1))
    save_pretrained(folder, build(MODEL, env.env_spec, feedback="features"), contexts)
    return str(folder)


@pytest.fixture(scope="module")
def sb3(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained policy of it."""
    from stable_baselines3 import PPO

    path = tmp_path_factory.mktemp("sb3") / "ppo.zip"
    small = {"features_extractor_kwargs": {"features_dim": 8}, "net_arch": [8]}
    PPO("CnnPolicy", make_env(PENDULUM), policy_kwargs=small, device="cpu", seed=0).save(path)
    return str(path)


def settings(policy: str, **others: Any) -> dict[str, Any]:
    """Plain values, as configs/collect.yaml gives them."""
    planner = {"kind": "cem", "horizon": 2, "candidates": 5, "iterations": 2, "elites": 2}
    default = {"planner": planner, "checkpoint": None, "feedback": "features", "latents": "mean"}
    return {**default, "persistence": 0.0, "sb3": None, "trusted": True, "algorithm": "PPO", "policy": policy, **others}


def make(env: PixelEnv, policy: str, **others: Any) -> Actor:
    return make_actor(settings(policy, **others), env, device=torch.device("cpu"))


@pytest.mark.parametrize("policy", NEEDS)
def test_each_policy_makes_its_actor_and_it_acts(env: PixelEnv, checkpoint: str, sb3: str, policy: str) -> None:
    actor = make(env, policy, checkpoint=checkpoint, sb3=sb3)
    assert type(actor) is ACTORS[policy]
    generator = torch.Generator().manual_seed(0)
    frame, _ = env.reset(seed=0)
    actor.reset(frame)
    for _ in range(2):
        action = actor.act(generator)
        assert action.dtype == np.float32 and env.action_space.contains(action)
        frame, *_ = env.step(action)
        actor.observe(action, frame, generator)


def test_a_policy_of_features_sees_those_of_the_checkpoints_model(
    env: PixelEnv, checkpoint: str, tmp_path: Path
) -> None:
    from stable_baselines3 import PPO

    model = from_pretrained(checkpoint)
    filtered = FilteredEnv(env, model, precision="32-true")
    policy = PPO("MlpPolicy", filtered, policy_kwargs={"net_arch": [8]}, device="cpu", seed=0)
    policy.save(tmp_path / "ppo.zip")
    given = {"sb3": str(tmp_path / "ppo.zip"), "precision": "32-true"}
    actor, generator = make(env, "sb3", checkpoint=checkpoint, **given), torch.Generator()
    seen, _ = filtered.reset(seed=0)
    actor.reset(env.render())
    for _ in range(3):
        action = actor.act(generator)
        np.testing.assert_array_equal(action, policy.predict(seen, deterministic=True)[0])
        seen, *_ = filtered.step(action)
        actor.observe(action, env.render(), generator)
    with pytest.raises(
        ConfigError, match=r"ppo.zip sees Box.* not frames alone: set checkpoint= to the model in whose feat"
    ):
        make(env, "sb3", **given)


def test_a_policy_of_both_sees_frames_beside_features(env: PixelEnv, checkpoint: str, tmp_path: Path) -> None:
    from stable_baselines3 import PPO

    filtered = FilteredEnv(env, from_pretrained(checkpoint), observation="both", precision="32-true")
    policy = PPO("MultiInputPolicy", filtered, policy_kwargs={"net_arch": [8]}, device="cpu", seed=0)
    policy.save(tmp_path / "ppo.zip")
    actor = make(env, "sb3", checkpoint=checkpoint, sb3=str(tmp_path / "ppo.zip"), precision="32-true")
    generator, chosen = torch.Generator(), []
    seen, _ = filtered.reset(seed=0)
    actor.reset(env.render())
    for _ in range(3):
        chosen.append(actor.act(generator))
        np.testing.assert_array_equal(chosen[-1], policy.predict(seen, deterministic=True)[0])
        seen, *_ = filtered.step(chosen[-1])
        actor.observe(chosen[-1], env.render(), generator)
    assert len(np.unique(chosen)) > 1


@pytest.mark.parametrize("policy", ["planner", "simulator"])
def test_the_planner_is_the_one_that_the_settings_name(env: PixelEnv, checkpoint: str, policy: str) -> None:
    """Random shooting executes a candidate of the one iteration; CEM, from the same stream, the mean of two."""
    found = []
    for planner in (
        {"kind": "random_shooting", "horizon": 2, "candidates": 5},
        {"kind": "cem", "horizon": 2, "candidates": 5, "iterations": 1, "elites": 2},
        {"kind": "cem", "horizon": 2, "candidates": 5, "iterations": 1, "elites": 5, "initial_std": 1e-6},
    ):
        actor = make(env, policy, checkpoint=checkpoint, planner=planner)
        actor.reset(env.reset(seed=0)[0])
        found.append(float(actor.act(torch.Generator().manual_seed(0))[0]))
    assert len(set(found)) == 3 and abs(found[2]) < 1e-5


def test_the_latents_are_those_that_the_settings_name(env: PixelEnv, checkpoint: str) -> None:
    def act(**others: Any) -> float:
        actor = make(env, "planner", checkpoint=checkpoint, **others)
        actor.reset(env.reset(seed=0)[0])
        return float(actor.act(torch.Generator().manual_seed(0))[0])

    assert act() == act() != act(latents="sample")


@pytest.mark.parametrize(
    ("policy", "others", "error", "says"),
    [
        ("greedy", {}, ConfigError, "policy is 'greedy': set one of random, planner, simulator, sb3"),
        ("planner", {}, ConfigError, "policy=planner lacks checkpoint: set checkpoint= to the path of one"),
        ("sb3", {}, ConfigError, "policy=sb3 lacks sb3: set sb3= to the path of one"),
        ("planner", {"checkpoint": "nowhere"}, CheckpointError, "nowhere is not a checkpoint folder"),
        ("sb3", {"sb3": "nowhere.zip"}, CheckpointError, "nowhere.zip is no file: give the zip that model.save wrote"),
        ("sb3", {"sb3": "a.zip", "algorithm": "ARS"}, ConfigError, "algorithm is 'ARS': set one of A2C, DQN"),
        ("simulator", {"planner": {"kind": "annealing"}}, ConfigError, "planner.kind is 'annealing': set one of cem"),
    ],
)
def test_what_cannot_act_is_an_error(
    env: PixelEnv, policy: str, others: dict[str, Any], error: type[WorldModelError], says: str
) -> None:
    with pytest.raises(error) as raised:
        make(env, policy, **others)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("others", "says"),
    [({"latents": "mode"}, "latents is 'mode'"), ({"feedback": "bogus"}, "feedback is 'bogus'")],
)
def test_a_model_used_as_it_cannot_be_is_an_error(
    env: PixelEnv, checkpoint: str, others: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        make(env, "planner", checkpoint=checkpoint, **others)


def test_a_model_and_a_policy_of_another_environment_are_errors(checkpoint: str, sb3: str) -> None:
    faster, larger = make_env({**PENDULUM, "action_repeat": 1}), make_env({**PENDULUM, "size": [80, 64]})
    with pytest.raises(CheckpointError, match=r"action_repeat 2 \(model\) against 1 \(environment\)"):
        make(faster, "planner", checkpoint=checkpoint)
    with pytest.raises(ConfigError, match=r"shows uint8 frames \(80, 64, 3\): set env.size to what it was trained on"):
        make(larger, "sb3", sb3=sb3)
    faster.close()
    larger.close()


def test_a_policy_needs_nothing_that_is_another_s(env: PixelEnv) -> None:
    """A checkpoint and a zip that do not exist are not looked for."""
    for policy in ("random", "simulator"):
        assert type(make(env, policy, checkpoint="nowhere", sb3="nowhere.zip")) is ACTORS[policy]


def test_random_actions_are_held_as_the_setting_says(env: PixelEnv) -> None:
    actor, generator = make(env, "random", persistence=0.999999), torch.Generator().manual_seed(0)
    assert (actor.act(generator) == actor.act(generator)).all()
