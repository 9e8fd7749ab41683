"""A simulator goes back to a snapshot and does again exactly what it did, or says that it cannot."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from test_env_configs import settings

from envs import make_env
from envs.pixels import PixelEnv
from envs.snapshot import take
from worldmodel.errors import EnvError

SIMULATORS = ["cartpole", "reacher", "walker", "cartpole_gym", "pendulum", "pong"]
STEPS = 8


@pytest.fixture(params=SIMULATORS)
def env(request: pytest.FixtureRequest) -> PixelEnv:
    if request.param in ("cartpole", "reacher", "walker"):
        request.getfixturevalue("gl")
    elif request.param == "pong":
        pytest.importorskip("ale_py")
    overrides = ["env.kwargs.repeat_action_probability=0"] if request.param == "pong" else []
    env = make_env(settings(request.param, *overrides))
    request.addfinalizer(env.close)
    return env


def actions(env: PixelEnv) -> list[Any]:
    env.action_space.seed(1)
    return [env.action_space.sample() for _ in range(STEPS)]


def unroll(env: PixelEnv) -> tuple[np.ndarray, list[tuple]]:
    """Frames and everything else that the same steps give."""
    steps = [env.step(action) for action in actions(env)[:STEPS] if env._running]
    return np.stack([frame for frame, *_ in steps]), [tuple(rest) for _, *rest in steps]


def test_the_same_actions_give_the_same_frames_and_rewards_to_the_last_bit(env: PixelEnv) -> None:
    env.reset(seed=3)
    env.step(actions(env)[0])
    snapshot = env.snapshot()
    frames, rest = unroll(env)
    assert len(np.unique(frames, axis=0)) > 1
    for other_seed in (None, 4, 5):  # within the episode, and from others
        if other_seed is not None:
            env.reset(seed=other_seed)
            env.step(actions(env)[1])
        env.restore(snapshot)
        again, rest_again = unroll(env)
        np.testing.assert_array_equal(again, frames)
        assert rest_again == rest


def test_planning_leaves_no_trace(env: PixelEnv) -> None:
    """Not in this episode, nor in the next of the random stream."""
    results = []
    for plans in (False, True):
        env.reset(seed=3)
        if plans:
            snapshot = env.snapshot()
            for action in actions(env):
                env.advance(action)
                env.restore(snapshot)
        frames, rest = unroll(env)
        results.append((frames, rest, env.reset()[0]))
    for without, with_plans in zip(*results, strict=True):
        np.testing.assert_equal(without, with_plans)


def test_sticky_actions_are_refused() -> None:
    """A choice of ours may wait in the emulator, and its state leaves that out."""
    pytest.importorskip("ale_py")
    env = make_env(settings("pong"))
    env.reset(seed=0)
    with pytest.raises(EnvError, match=r"state of ale_py:ALE/Pong-v5 .*set env\.kwargs\.repeat_action_probability=0"):
        env.snapshot()


def test_the_random_stream_goes_back_too(env: PixelEnv) -> None:
    env.reset(seed=3)
    snapshot = env.snapshot()
    frame, _ = env.reset()
    env.reset(seed=4)
    env.restore(snapshot)
    np.testing.assert_array_equal(env.reset()[0], frame)


@pytest.mark.usefixtures("gl")
def test_positions_are_those_of_mujoco() -> None:
    env = make_env(settings("cartpole"))
    env.reset(seed=0)
    snapshot, before = env.snapshot(), env.positions()
    assert before.shape == (2, 3) and before.dtype == np.float64  # cart and pole
    assert before[1, 2] < before[0, 2] - 0.4  # hangs down
    start = before.copy()
    for _ in range(3):
        env.advance(np.ones(1, np.float32))
    assert env.positions()[0, 0] > start[0, 0] + 0.1  # pushed to the right
    np.testing.assert_array_equal(before, start)  # memory of its own
    env.restore(snapshot)
    np.testing.assert_array_equal(env.positions(), start)
    env.close()


# What is copied, and what stays


class Keeper(gymnasium.Env):
    """Holds whatever it is given."""

    def __init__(self, **things: Any) -> None:
        vars(self).update(things)


def test_containers_random_streams_and_new_attributes_go_back_and_aliases_stay_aliases() -> None:
    rows = [1, 2]
    inner = Keeper(count=0, shared=rows)
    env = Keeper(
        inner=inner, rows=rows, past=deque([np.zeros(2)]), dice=random.Random(0), noise=np.random.default_rng(0)
    )
    snapshot = take(env, name="keeper")
    drawn = []
    for _ in range(3):
        drawn.append((env.dice.random(), env.noise.random()))
        env.rows.append(3)
        env.past[0][:] = 7
        env.inner.count += 1
        env.novelty = True
        snapshot.restore()
        assert (env.rows, env.past[0].tolist(), env.inner.count) == ([1, 2], [0, 0], 0)
        assert env.inner is inner and env.rows is inner.shared and not hasattr(env, "novelty")
    assert drawn[0] == drawn[1] == drawn[2]


def test_wrappers_keep_their_counts() -> None:
    env = TimeLimit(gymnasium.make("CartPole-v1", disable_env_checker=True).unwrapped, 3)
    env.reset(seed=0)
    snapshot = take(env, name="limited")
    for _ in range(2):
        assert [env.step(0)[3] for _ in range(3)] == [False, False, True]
        snapshot.restore()


def test_functions_methods_classes_and_what_is_to_stay_stay() -> None:
    class Local:
        pass

    lock = threading.Lock()
    env = Keeper(square=lambda x: x * x, kind=Local, thing=Local(), module=np, lock=lock)
    env.method = env.reset
    snapshot = take(env, name="keeper", keep=(lock,))
    snapshot.restore()
    assert env.square(3) == 9 and env.kind is Local and type(env.thing) is Local and env.module is np
    assert env.lock is lock and env.method.__self__ is env


def counter() -> Callable[[], int]:
    count = 0

    def increase() -> int:
        nonlocal count
        count += 1
        return count

    return increase


@pytest.mark.parametrize(
    ("thing", "named"),
    [(threading.Lock(), "lock"), ((n for n in range(3)), "generator"), (counter(), "local object 'counter")],
)
def test_what_cannot_be_copied_is_refused(thing: Any, named: str) -> None:
    with pytest.raises(
        EnvError, match=f"the state of box cannot be copied .*{named}.*: that takes attributes of Python"
    ):
        take(Keeper(deep=[{"thing": thing}]), name="box")


def test_the_error_names_the_environment() -> None:
    env = make_env(settings("gymnasium", "env.id=dot:Dot"))
    env.reset(seed=0)
    env.unwrapped._simulator._env.connection = threading.Lock()
    with pytest.raises(EnvError, match="the state of dot:Dot cannot be copied"):
        env.snapshot()


@pytest.mark.usefixtures("gl")
def test_mujoco_of_ones_own_goes_back_in_place() -> None:
    import mujoco

    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body><freejoint/><geom size='1'/></body></worldbody></mujoco>"
    )
    env = Keeper(model=model, data=mujoco.MjData(model))
    env.view = mujoco.Renderer(model, 16, 16)
    data = env.data
    mujoco.mj_step(model, data)
    snapshot = take(env, name="ball")
    fallen = []
    for _ in range(2):
        mujoco.mj_step(model, data, nstep=10)
        fallen.append(data.qpos[2])
        snapshot.restore()
        assert env.data is data and env.model is model and data.time == model.opt.timestep
    assert fallen[0] == fallen[1] < 0
    env.view.close()
