"""What is measured of a model, in an environment whose rewards are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from agents.actor import RandomActor
from agents.expectation import Expectation
from agents.measuring import measure, play, simulator_returns
from agents.planners import CEM
from envs.pixels import Outcome, PixelEnv
from worldmodel.build import build
from worldmodel.checkpoint import Contexts
from worldmodel.config import ModelConfig
from worldmodel.episode import episode_path, load_episode
from worldmodel.errors import CheckpointError, ConfigError, EnvError
from worldmodel.pretrained import save_pretrained
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


def measured(saved: Path, folder: Path, env: PixelEnv, *, seeds: tuple[int, ...] = (4, 5), context: int = 2):
    fabric = make_fabric("cpu", 1, "32-true")
    return measure(saved, env, PLANNER, fabric, folder=folder, seeds=seeds, context=context, horizon=4)


@pytest.mark.parametrize(("terminates", "decisions", "realised"), [(False, 8, 16.5), (True, 10, 16.1)])
def test_a_model_is_measured_on_the_episodes_planned_in_it(
    saved: Path, tmp_path: Path, terminates: bool, decisions: int, realised: float
) -> None:
    found = measured(saved, tmp_path / "played", sky(terminates=terminates))
    assert found.returns == [55, 55]
    # three rewards in a row: 6, 9, ..., 27; and after a termination none, so 19 and 10 too
    # What has learned nothing expects nothing, always.
    assert found.expectation == Expectation(2 * decisions, 0.0, pytest.approx(realised), None)
    assert set(found.errors) == {"features", "pixels"}
    for errors in found.errors.values():
        assert {name: len(steps) for name, steps in errors.items()} == {"reward": 4, "frame": 4, "embedding": 4}
        assert min(errors["reward"]) > 0.01
    # From pixels a step sees what was drawn; from features, what was predicted.
    assert found.errors["features"]["embedding"][1] != found.errors["pixels"]["embedding"][1]
    episodes = [load_episode(episode_path(tmp_path / "played", index)) for index in range(2)]
    assert [(episode.seed, episode.actor, len(episode)) for episode in episodes] == [
        (4, "planner", 10),
        (5, "planner", 10),
    ]
    assert not np.array_equal(episodes[0].actions, episodes[1].actions)


def test_measuring_again_finds_the_same_and_takes_no_episode_of_before(saved: Path, tmp_path: Path) -> None:
    """As when a ladder goes on after a kill, with fewer episodes than it began with."""
    first = measured(saved, tmp_path / "first", sky())
    measured(saved, tmp_path / "second", sky(), seeds=(7, 8, 9, 10))
    assert measured(saved, tmp_path / "second", sky()) == first


def test_a_model_of_another_environment_is_refused_before_it_plays(tmp_path: Path) -> None:
    other = save(tmp_path / "other", replace(sky().env_spec, task="hurry"))
    with pytest.raises(CheckpointError, match=r"task hurry \(model\) against wait \(environment\)"):
        measured(other, tmp_path / "played", sky())
    assert not (tmp_path / "played").exists()


def test_play_explores_nothing_and_names_the_actor() -> None:
    env, fabric = sky(), make_fabric("cpu", 1, "32-true")
    first, again = (play(env, RandomActor(env.env_spec), "random", 3, fabric) for _ in range(2))
    assert (first.total, first.seed, first.actor) == (55, 3, "random")
    np.testing.assert_array_equal(first.actions, again.actions)


def collection(path: Path, *policies: str, task: str = "wait") -> Path:
    records = [
        {"kind": "collection", "env": "sky", "task": task, "policy": policy, "returns": [10.0 * number, 55.0]}
        for number, policy in enumerate(policies, 1)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in [{"kind": "header"}, *records]))
    return path


def test_the_simulators_score_is_the_newest_of_its_log(tmp_path: Path) -> None:
    metrics = collection(tmp_path / "metrics.jsonl", "simulator", "simulator", "random")
    assert simulator_returns(metrics, "sky", "wait") == [20.0, 55.0]


def test_another_log_is_no_score_of_the_simulator(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(
        ConfigError, match=r"metrics.jsonl does not exist: give the metrics.jsonl of agents.collect pol"
    ):
        simulator_returns(path, "sky", "wait")
    for metrics in (collection(path), collection(path, "random"), collection(path, "simulator", task="hurry")):
        with pytest.raises(ConfigError, match="tells no score of a planner in the simulator of sky/wait: give another"):
            simulator_returns(metrics, "sky", "wait")
