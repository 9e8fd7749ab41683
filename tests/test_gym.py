"""Gymnasium environments are seen by what they draw or by the images they observe, resized."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, Space
from gymnasium.utils.env_checker import check_env

from envs import env_spec, make_env
from envs.gym import resize
from worldmodel.errors import EnvError

OWN = {
    "backend": "gymnasium",
    "name": "own",
    "kwargs": {},
    "frames": "render",
    "action_repeat": 1,
    "time_limit": 5,
    "size": [32, 32],
}
DOT = OWN | {"id": "dot:Dot"}


class Blind(gymnasium.Env[np.ndarray, int]):
    """Draws nothing, or not what it should."""

    observation_space = Box(0, 1, (1,))
    action_space = Discrete(2)

    def __init__(self, render_mode: str | None = None, draws: Any = None) -> None:
        self.metadata = {"render_modes": [] if draws is None else ["rgb_array"]}
        self.render_mode = render_mode
        self.draws = draws

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        return np.zeros(1, np.float32), {}

    def render(self) -> Any:
        return self.draws


class Camera(gymnasium.Env[np.ndarray, int]):
    """Observes a picture as bright as the number of steps taken; knows no `render_mode`."""

    action_space = Discrete(2)

    def __init__(self, shape: tuple[int, ...], space: Space | None = None) -> None:
        self.shape = shape
        self.observation_space = space or Box(0, 255, shape, np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.steps = 0
        return self.picture(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.steps += 1
        return self.picture(), 1.0, False, False, {}

    def picture(self) -> np.ndarray:
        picture = np.zeros(self.shape, np.uint8)
        picture[:, : self.shape[1] // 2] = self.steps * 10
        return picture


def seen(shape: tuple[int, ...], **kwargs: Any) -> dict[str, Any]:
    return OWN | {"id": f"{__name__}:Camera", "frames": "observation", "kwargs": {"shape": shape, **kwargs}}


# One's own environment, as in the README


def test_a_dot_of_ones_own_moves_and_earns() -> None:
    env = make_env(DOT)
    assert env_spec(env).action_size == 2 and env_spec(env).task == "dot:Dot"
    first, _ = env.reset(seed=0)
    assert first.shape == (32, 32, 3) and first.max() == 255
    rewards = [env.step(np.array([0, -1], np.float32))[1] for _ in range(4)]
    x, y = np.random.default_rng(0).random(2)  # as Gymnasium seeds
    ys = np.maximum(y - 0.05 * np.arange(1, 5), 0)
    assert rewards == pytest.approx(1 - abs(x - 0.5) - np.abs(ys - 0.5))
    frame, _, terminated, truncated, _ = env.step(np.array([0, -1], np.float32))
    rows = [np.flatnonzero((picture[..., 0] == 255).any(1)).mean() for picture in (first, frame)]
    assert rows[1] - rows[0] == pytest.approx((max(y - 0.25, 0) - y) * 28, abs=1)  # upwards, in half of 56 pixels
    assert (terminated, truncated) == (False, True)


@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes")  # it is in no registry
@pytest.mark.parametrize("config", [DOT, seen((16, 16))])
def test_gymnasiums_own_checks_pass(config: dict[str, Any]) -> None:
    check_env(make_env(config))


# Frames


@pytest.mark.parametrize("shape", [(64, 64, 3), (64, 96, 1), (32, 16)])
def test_images_observed_become_frames_of_three_channels(shape: tuple[int, ...]) -> None:
    env = make_env(seen(shape))
    expected = np.zeros((32, 32, 3), np.uint8)
    np.testing.assert_array_equal(env.reset()[0], expected)
    for brightness in (10, 20):
        expected[:, :16] = brightness
        np.testing.assert_array_equal(env.step(0)[0], expected)


@pytest.mark.parametrize("size", [(64, 64, 4), (3, 64, 64), (64,)])
def test_observations_that_are_no_images_are_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(EnvError, match=r"Camera observes Box\(0, 255, .* not images: .*set env\.frames=render"):
        make_env(seen(size))
    with pytest.raises(EnvError, match=r"; its channels come first: give frame\.transpose\(1, 2, 0\)$"):
        make_env(seen((3, 64, 64)))
    with pytest.raises(EnvError, match=r"not images: env\.frames=observation takes a Box of uint8"):
        make_env(seen((64, 64, 3), space=Box(0, 1, (64, 64, 3), np.float32)))
    with pytest.raises(EnvError, match=r"CartPole-v1 observes Box.*float32\), not images"):
        make_env(OWN | {"id": "CartPole-v1", "frames": "observation"})


def test_an_observation_against_its_own_space_is_refused() -> None:
    with pytest.raises(EnvError, match=r"Camera observes uint8 \(64, 64, 4\), against its own Box\(0, 255, \(8, 8\)"):
        make_env(seen((64, 64, 4), space=Box(0, 255, (8, 8), np.uint8))).reset()


def test_environments_that_cannot_be_seen_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = gymnasium.envs.registration.EnvSpec("Blind-v0", entry_point=Blind)
    monkeypatch.setitem(gymnasium.registry, "Blind-v0", spec)
    for id in ("Blind-v0", f"{__name__}:Blind"):
        with pytest.raises(EnvError, match=f"{id} cannot draw itself: .*set env.frames=observation if"):
            make_env(OWN | {"id": id})
        for draws, found in (("ascii", "str"), (np.zeros((8, 8), np.uint8), r"uint8 \(8, 8\)")):
            with pytest.raises(EnvError, match=f"{id} draws {found}: an rgb_array must be uint8"):
                make_env(OWN | {"id": id, "kwargs": {"draws": draws}}).reset()


def test_resizing_averages_areas() -> None:
    picture = np.zeros((4, 8, 3), np.uint8)
    picture[:2, :2] = [[[0], [40]], [[80], [120]]]  # averages to 60
    picture[2:, 6:, 1] = 200
    expected = np.zeros((2, 4, 3), np.uint8)
    expected[0, 0] = 60
    expected[1, 3, 1] = 200
    np.testing.assert_array_equal(resize(picture, (2, 4)), expected)


def test_resizing_stretches_and_keeps_a_frame_of_its_size() -> None:
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    np.testing.assert_array_equal(resize(picture, (4, 6)), picture)
    np.testing.assert_array_equal(resize(picture, (8, 6)), picture.repeat(2, axis=0))


def test_there_are_no_positions() -> None:
    with pytest.raises(EnvError, match="dot:Dot does not tell where its bodies are: only dm_control's tasks do"):
        make_env(DOT).positions()
