"""What is measured of a model, in an environment whose rewards are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from agents.actor import RandomActor
from agents.expectation import Expectation
from agents.measuring import imagined_errors, plan_in, play, simulator_returns, updates_of
from agents.planners import CEM
from envs.pixels import Outcome, PixelEnv
from worldmodel.build import build
from worldmodel.checkpoint import Contexts
from worldmodel.config import ModelConfig
from worldmodel.episode import episode_path, load_episode, save_episode
from worldmodel.errors import ConfigError, EnvError
from worldmodel.pretrained import from_pretrained, save_pretrained
from worldmodel.spec import EnvSpec
from worldmodel.trainer import make_fabric

PLANNER = CEM(horizon=3, candidates=6, iterations=1, elites=2)


class Sky:
    """Grows lighter step by step, whatever is done; the i-th step earns i, the last of ten ends it."""

    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float64)

    def __init__(self, *, terminates: bool) -> None:
        self.terminates = terminates

    def reset(self, seed: int | None) -> None:
        self.steps, self.shade = 0, int(np.random.default_rng(seed).integers(50))

    def step(self, action: np.ndarray) -> Outcome:
        self.steps += 1
        over = self.steps == 10
        return Outcome(self.steps, over and self.terminates, over and not self.terminates)

    def render(self) -> np.ndarray:
        return np.full((16, 16, 3), self.shade + 20 * self.steps, np.uint8)

    def snapshot(self) -> Any:
        raise EnvError("none")

    def restore(self, snapshot: Any) -> None:
        raise EnvError("none")

    def positions(self) -> np.ndarray:
        raise EnvError("none")

    def close(self) -> None:
        pass


def sky(*, terminates: bool = False) -> PixelEnv:
    simulator = Sky(terminates=terminates)
    return PixelEnv(simulator, env="sky", task="wait", action_repeat=1, time_limit=0, size=(16, 16))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint of a model that has learned nothing."""
    return save(tmp_path / "model", sky().env_spec)


def save(folder: Path, spec: EnvSpec) -> Path:
    torch.manual_seed(0)
    sizes = {"stages": ((8, 1),), "patch": 1, "feature": 8, "hidden": 8, "layers": 1, "latent": 2, "head": 8}
    parts = {"layer": "dense", "recurrence": "none", "features": "pair", "backbone": "light", "K": 1.0, "M": 1.0}
    model = build(ModelConfig(**parts, **sizes, advance="residual", skips=False), spec)
    frames = torch.zeros(1, 2, 3, 16, 16, dtype=torch.uint8)
    save_pretrained(folder, model, Contexts(frames, torch.zeros(1, 1, 1)))
    return folder


def paths(folder: Path, count: int) -> list[Path]:
    return [episode_path(folder, index) for index in range(count)]


@pytest.mark.parametrize(("terminates", "decisions", "realised"), [(False, 8, 16.5), (True, 10, 16.1)])
def test_planning_in_a_model_is_compared_with_what_it_expects(
    saved: Path, tmp_path: Path, terminates: bool, decisions: int, realised: float
) -> None:
    played, fabric = paths(tmp_path, 2), make_fabric("cpu", 1, "32-true")
    model, env = from_pretrained(saved), sky(terminates=terminates)
    returns, expectation = plan_in(model, env, PLANNER, fabric, latents="mean", paths=played, seeds=(4, 5))
    assert returns == [55, 55]
    # three rewards in a row: 6, 9, ..., 27; and after a termination none, so 19 and 10 too
    # What has learned nothing expects nothing, always.
    assert expectation == Expectation(2 * decisions, 0.0, pytest.approx(realised), None)
    episodes = [load_episode(path) for path in played]
    assert [(episode.seed, episode.actor, len(episode)) for episode in episodes] == [
        (4, "planner", 10),
        (5, "planner", 10),
    ]
    assert not np.array_equal(episodes[0].actions, episodes[1].actions)


def test_errors_are_measured_on_the_episodes_given_and_the_same_again(saved: Path, tmp_path: Path) -> None:
    played, fabric = paths(tmp_path, 3), make_fabric("cpu", 1, "32-true")
    env = sky()
    for seed, path in enumerate(played):
        save_episode(play(env, RandomActor(env.env_spec), "random", seed, fabric), path)
    found = imagined_errors(saved, played[:2], fabric, context=2, horizon=4)
    assert set(found) == {"features", "pixels"}
    for errors in found.values():
        assert {name: len(steps) for name, steps in errors.items()} == {"reward": 4, "frame": 4, "embedding": 4}
        assert min(errors["reward"]) > 0.01
    # From pixels a step sees what was drawn; from features, what was predicted.
    assert found["features"]["embedding"][1] != found["pixels"]["embedding"][1]
    assert imagined_errors(saved, played[:2], fabric, context=2, horizon=4) == found
    assert imagined_errors(saved, played[2:], fabric, context=2, horizon=4) != found


def test_updates_are_those_of_the_checkpoint(saved: Path, tmp_path: Path) -> None:
    assert updates_of(saved) is None
    frames = torch.zeros(1, 2, 3, 16, 16, dtype=torch.uint8)
    contexts = Contexts(frames, torch.zeros(1, 1, 1))
    save_pretrained(tmp_path / "trained", from_pretrained(saved), contexts, trainer={"trainer": {"updates": 7}})
    assert updates_of(tmp_path / "trained") == 7


def test_play_explores_nothing_and_names_the_actor() -> None:
    env, fabric = sky(), make_fabric("cpu", 1, "32-true")
    first, again = (play(env, RandomActor(env.env_spec), "random", 3, fabric) for _ in range(2))
    assert (first.total, first.seed, first.actor) == (55, 3, "random")
    np.testing.assert_array_equal(first.actions, again.actions)


ENV = {"backend": "gymnasium", "id": "Sky-v0", "action_repeat": 1}


def collection(path: Path, *policies: str, exploration: float = 0.0, **env: Any) -> Path:
    header = {"kind": "header", "config": {"exploration": exploration, "env": ENV | env}}
    records = [
        {"kind": "collection", "policy": policy, "returns": [10.0 * number, 55.0]}
        for number, policy in enumerate(policies, 1)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in [header, *records]))
    return path


def test_the_simulators_score_is_the_newest_of_its_log(tmp_path: Path) -> None:
    metrics = collection(tmp_path / "metrics.jsonl", "simulator", "simulator")
    assert simulator_returns(metrics, ENV) == [20.0, 55.0]


def test_another_log_is_no_score_of_the_simulator(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(ConfigError, match=r"metrics.jsonl does not exist: give the metrics.jsonl of agents.collect"):
        simulator_returns(path, ENV)
    for policies in ([], ["random"]):
        with pytest.raises(ConfigError, match="tells no score of a planner in the simulator: give another log"):
            simulator_returns(collection(path, *policies), ENV)
    with pytest.raises(ConfigError, match=r"was played with exploration 0.3: give a log without"):
        simulator_returns(collection(path, "simulator", exploration=0.3), ENV)
    with pytest.raises(ConfigError, match="is of another environment: action_repeat 2 against 1; more 5 against None"):
        simulator_returns(collection(path, "simulator", action_repeat=2, more=5), ENV)
