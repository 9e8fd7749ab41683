"""Whatever an environment does wrong while it is played is told in words, costs its episode, and nothing more."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from misbehaving import STEPS, settings

from envs import make_env
from envs.pixels import PixelEnv
from worldmodel.errors import EnvError, EnvFailure

pytestmark = pytest.mark.faults

WHO = "misbehaving:Misbehaving"
LOST = "the episode is lost, reset() begins another"
STEP = f"in step() at simulator step 2: {LOST}"
# What it does, and what is said of it.
RAISED = {
    "raise": f"{WHO} raised ValueError('no such joint') {STEP}",
    "raise_in_reset": f"{WHO} raised ValueError('no such joint') in reset() at simulator step 0: {LOST}",
    "stubborn": f"{WHO} raised Stubborn('a: b') {STEP}",
    "lambda": f"{WHO} raised RuntimeError(<function <lambda>.<locals>.<lambda> at 0x",
    "stop": f"{WHO} raised StopIteration() {STEP}",
    "memory": f"{WHO} raised MemoryError() {STEP}",
    "leave": f"{WHO} raised SystemExit(3) {STEP}",
    "recurse": f"{WHO} raised RecursionError('maximum recursion depth exceeded",
    "four": f"{WHO} raised ValueError('not enough values to unpack (expected 5, got 4)') {STEP}",
    "nan": f"{WHO} earned nan at simulator step 2 (a reward must be a finite number): {LOST}",
    "inf": f"{WHO} earned -inf at simulator step 2 (a reward must be a finite number): {LOST}",
    "none": f"{WHO} earned None at simulator step 2 (a reward must be a finite number): {LOST}",
    "words": f"{WHO} earned 'much' at simulator step 2 (a reward must be a finite number): {LOST}",
    "huge": f"{WHO} earned -1e+39 in a decision of 1 simulator steps that ended at simulator step 2 "
    f"(float32 holds rewards up to 3.4e+38): {LOST}",
    "many": f"{WHO} earned array([1., 1., 1.]) at simulator step 2 (a reward must be a finite number): {LOST}",
}
DRAWN = {
    "small": f"{WHO} gives a frame (16, 32, 3) after (32, 32, 3): an episode has one shape",
    "floats": f"{WHO} draws float32 (32, 32, 3): an rgb_array must be uint8 (height, width, 3)",
    "chw": f"{WHO} draws uint8 (3, 32, 32): an rgb_array must be uint8 (height, width, 3); "
    "its channels come first: give frame.transpose(1, 2, 0)",
    "nothing": f"{WHO} draws NoneType: an rgb_array must be uint8 (height, width, 3)",
}
SAID = RAISED | {name: f"{WHO} gave no frame at simulator step 2 ({why}): {LOST}" for name, why in DRAWN.items()}


def whole(env: Any) -> None:
    """Plays an episode in which nothing goes wrong."""
    frame, _ = env.reset(seed=3)
    for number in range(1, STEPS + 1):
        after, reward, terminated, truncated, info = env.step(np.zeros(1))
        assert (after == frame + number).all() and after.shape == (16, 16, 3) and after.dtype == np.uint8
        assert (reward, terminated, truncated, info) == (number, False, number == STEPS, {"env_frames": 1})


def until_it_fails(env: Any) -> str:
    """What is said of the episode that fails."""
    with pytest.raises(EnvError) as raised:
        env.reset(seed=3)
        for _ in range(STEPS):
            env.step(np.zeros(1))
    assert raised.type is EnvFailure
    return str(raised.value)


@pytest.mark.parametrize("misdeed", SAID)
def test_a_failure_says_what_and_when_and_costs_its_episode(misdeed: str, tmp_path: Path) -> None:
    env = make_env(settings(tmp_path / "script", "", misdeed))
    whole(env)
    assert until_it_fails(env).startswith(SAID[misdeed])
    with pytest.raises(EnvError, match=r"there is no episode to step in: call reset\(\) first"):
        env.step(np.zeros(1))
    whole(env)


@pytest.mark.parametrize(("reward", "total"), [(3e38, "6e+38"), (1.7e308, "inf")])
def test_rewards_that_are_numbers_and_whose_sum_is_none_are_a_failure(
    reward: float, total: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each alone would do, or is at least a number."""
    env = make_env(settings(tmp_path / "script") | {"action_repeat": 2})
    monkeypatch.setattr("misbehaving.float", lambda number: reward, raising=False)
    env.reset()
    said = f"{WHO} earned {total} in a decision of 2 simulator steps that ended at simulator step 2 (float32 holds"
    with pytest.raises(EnvFailure, match=f"^{re.escape(said)} rewards up to 3.4e[+]38"):
        env.step(np.zeros(1))
    with pytest.raises(EnvError, match="there is no episode to step in"):
        env.step(np.zeros(1))


def test_the_largest_reward_of_float32_is_earned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_env(settings(tmp_path / "script"))
    monkeypatch.setattr("misbehaving.float", lambda number: float(np.finfo(np.float32).max), raising=False)
    env.reset()
    assert np.float32(env.step(np.zeros(1))[1]) == np.finfo(np.float32).max


@pytest.mark.parametrize("misdeed", DRAWN)
def test_observations_that_change_are_failures_too(misdeed: str, tmp_path: Path) -> None:
    env = make_env(settings(tmp_path / "script", misdeed, frames="observation"))
    said = until_it_fails(env)
    assert said.startswith(f"{WHO} gave no frame at simulator step 2 ({WHO} ") and said.endswith(f"): {LOST}")
    assert re.search(r"observes .*, against its own Box\(|gives a frame \(16, 32, 3\) after", said)
    assert ("give frame.transpose(1, 2, 0)" in said) == (misdeed == "chw")
    whole(env)


def test_what_caused_a_failure_is_kept_for_its_traceback(tmp_path: Path) -> None:
    env = make_env(settings(tmp_path / "script", "raise"))
    with pytest.raises(EnvFailure) as raised:
        env.reset()
        [env.step(np.zeros(1)) for _ in range(2)]
    assert isinstance(raised.value.__cause__, ValueError)


@pytest.mark.parametrize("misdeed", [name for name in DRAWN if name != "small"])
def test_a_wrong_first_frame_is_a_mistake_and_a_later_one_a_failure(misdeed: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    env = make_env(settings(script, f"{misdeed}_in_reset"))
    with pytest.raises(EnvError, match=re.escape(DRAWN[misdeed])) as raised:
        env.reset()
    assert raised.type is EnvError
    whole(env)
    script.write_text(f"{misdeed}_in_reset")
    assert "gave no frame at simulator step 0" in until_it_fails(env)


def test_episodes_may_have_frames_of_their_own_shapes(tmp_path: Path) -> None:
    """All are resized to one."""
    env = make_env(settings(tmp_path / "script", "", "small_in_reset"))
    whole(env)
    assert env.reset()[0].shape == (16, 16, 3)


def test_a_wrong_action_is_no_failure_of_the_environment(tmp_path: Path) -> None:
    env = make_env(settings(tmp_path / "script"))
    env.reset()
    with pytest.raises(EnvError, match="is not a vector of 1 numbers") as raised:
        env.step(np.zeros(3))
    assert raised.type is EnvError
    assert env.step(np.zeros(1))[1] == 1  # the episode goes on


def test_what_closing_raises_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    env = make_env(settings(tmp_path / "script"))
    assert isinstance(env, PixelEnv)
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr("misbehaving.Misbehaving.close", lambda self: 1 / 0)
        env.close()
    assert caplog.messages == [f"{WHO} raised ZeroDivisionError('division by zero') in close()"]
