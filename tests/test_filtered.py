"""A real environment shows what a dream shows: the same features of the same state, by the same function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from dreaming import BOX, CONV, DENSE, PAIR, Counter, trained
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import GrayscaleObservation, RescaleAction

from envs import make_env
from envs.dream import Dream
from envs.filtered import Filter, FilteredEnv
from envs.pixels import PixelEnv
from envs.starts import ContextStarts
from worldmodel.checkpoint import Contexts
from worldmodel.config import ModelConfig
from worldmodel.errors import CheckpointError, ConfigError, EnvError

DOT = {
    "backend": "gymnasium",
    "name": "dot",
    "id": "dot:Dot",
    "kwargs": {},
    "frames": "render",
    "action_repeat": 2,
    "time_limit": 12,
    "size": [64, 64],
}


@pytest.fixture
def env() -> Iterator[PixelEnv]:
    env = make_env(DOT)
    yield env
    env.close()


def model_of(env: PixelEnv, config: ModelConfig = DENSE, feedback: str = "features") -> Any:
    return trained(config, env.env_spec, feedback)


def dream_from(model: Any, frames: list[np.ndarray], actions: list[np.ndarray]) -> np.ndarray:
    """The features that a dream begins with, after this context."""
    pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None]
    taken = torch.from_numpy(np.array(actions, np.float32).reshape(1, len(frames) - 1, 2))
    starts = ContextStarts(Contexts(pixels, taken))
    dream = Dream(model, starts, num_envs=1, observation="features", precision="32-true")
    return dream.reset([0])["features"][0]


@pytest.mark.parametrize(
    ("config", "feedback"),
    [(DENSE, "features"), (CONV, "pixels"), (PAIR, "features")],
    ids=["dense", "conv-pixels", "pair"],
)
def test_dream_and_reality_show_the_same_features(env: PixelEnv, config: ModelConfig, feedback: str) -> None:
    model = model_of(env, config, feedback)
    filtered = FilteredEnv(env, model, observation="both", precision="32-true")
    seen, _ = filtered.reset(seed=3)
    frames, actions, shown = [seen["frames"]], [], [seen["features"]]
    np.testing.assert_array_equal(shown[0], dream_from(model, frames, actions))
    for action in np.random.default_rng(0).uniform(-1, 1, (4, 2)).astype(np.float32):
        seen, *_ = filtered.step(action)
        np.testing.assert_array_equal(seen["frames"], env.render())
        frames.append(seen["frames"])
        actions.append(action)
        shown.append(seen["features"])
        np.testing.assert_array_equal(seen["features"], dream_from(model, frames, actions))
    assert np.abs(np.diff(shown, axis=0)).max(1).min() > 1e-3


def test_the_environment_is_otherwise_as_it_was(env: PixelEnv) -> None:
    plain = make_env(DOT)
    filtered = FilteredEnv(env, model_of(env))
    filtered.reset(seed=5)
    plain.reset(seed=5)
    for step in range(6):
        found, expected = filtered.step(np.array([0.5, -1])), plain.step(np.array([0.5, -1]))
        assert found[1:] == expected[1:] and found[0] in filtered.observation_space
        assert found[3] == (step == 5)
    assert filtered.action_space == plain.action_space
    assert filtered.render().shape == (64, 64, 3)


def test_gymnasiums_checker_finds_nothing(env: PixelEnv) -> None:
    filtered = FilteredEnv(env, model_of(env))
    with pytest.warns(UserWarning, match="different from the unwrapped version"):  # as of every wrapper
        check_env(filtered, skip_render_check=True)


def test_rows_begin_one_by_one() -> None:
    model = Counter()
    filter, frames = Filter(model, num_envs=3, precision="32-true"), np.zeros((3, 64, 64, 3), np.uint8)
    frames[:] = np.array([10, 20, 30])[:, None, None, None]
    first = filter.begin(frames)["features"]
    moved = filter.advance(np.ones((3, 2), np.float32), frames + 1)["features"]
    again = filter.begin(frames, np.array([False, True, False]))["features"]
    np.testing.assert_array_equal(again, np.stack([moved[0], first[1], moved[2]]))
    assert model.calls["initial"] == [1, 3, 1]


def test_another_environment_is_refused(env: PixelEnv) -> None:
    with pytest.raises(CheckpointError, match=r"the model in hand .* another environment: env line \(model\) against"):
        FilteredEnv(env, Counter(BOX))
    wider = replace(env.env_spec, action_size=3, action_low=(-1.0,) * 3, action_high=(1.0,) * 3)
    with pytest.raises(CheckpointError, match=r"action_size 3 \(model\) against 2 \(environment\)"):
        FilteredEnv(env, Counter(wider))
    with pytest.raises(EnvError, match="has no env_spec"):
        FilteredEnv(gymnasium.make("CartPole-v1"), Counter(BOX))


def test_wrappers_that_change_what_the_model_sees_belong_around_the_filter(env: PixelEnv) -> None:
    model = Counter(env.env_spec)
    with pytest.raises(
        EnvError, match=r"the environment shows Box\(0, 255, \(64, 64\), uint8\), its model was trained"
    ):
        FilteredEnv(GrayscaleObservation(env), model)
    with pytest.raises(EnvError, match=r"the environment takes Box\(-2"):
        FilteredEnv(RescaleAction(env, -2, 2), model)
    FilteredEnv(gymnasium.wrappers.TimeLimit(env, 3), model)


def test_what_cannot_be_filtered_is_refused(env: PixelEnv) -> None:
    model = Counter(env.env_spec)
    with pytest.raises(ConfigError, match="observation is 'frames': set one of features, both; frames alone need no"):
        FilteredEnv(env, model, observation="frames")
    filtered = FilteredEnv(env, model)
    with pytest.raises(EnvError, match="there is no episode to step in"):
        filtered.step(np.zeros(2))
    filtered.reset(seed=0)
    with pytest.raises(EnvError, match=r"the action of row 0 is \[2.0, 0.0\]"):
        filtered.step(np.array([2.0, 0.0]))
