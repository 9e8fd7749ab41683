"""Environments keep one contract: seeded frames, summed rewards, limits, scaled actions, one drawing a step."""

from __future__ import annotations

from typing import Any

import gymnasium
import hydra
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from gymnasium.utils.env_checker import check_env
from omegaconf import OmegaConf

from envs import EnvSpec, action_vector, dmc, env_action, env_spec, make_env
from envs.make import USUAL_LIMIT
from envs.pixels import Outcome, PixelEnv
from envs.spec import action_space, action_vectors
from worldmodel.errors import ConfigError, EnvError

BOUNDS = Box(np.array([-2.0, 0.1]), np.array([4.0, 0.3]), dtype=np.float64)
SWINGUP = {
    "backend": "dm_control",
    "name": "cartpole",
    "domain": "cartpole",
    "task": "swingup",
    "action_repeat": 8,
    "time_limit": 1000,
    "size": [64, 64],
}
BALANCING = {
    "backend": "gymnasium",
    "name": "cartpole_gym",
    "id": "CartPole-v1",
    "kwargs": {},
    "frames": "render",
    "action_repeat": 2,
    "time_limit": 500,
    "size": [64, 64],
}


class Counter:
    """Earns 10 to the power of the step's number; its frame is grey at the number of drawings so far."""

    def __init__(self, space: gymnasium.Space[Any] = BOUNDS, terminates: int = 99, truncates: int = 99) -> None:
        self.action_space = space
        self.ends = terminates, truncates
        self.seeds: list[int | None] = []
        self.actions: list[Any] = []
        self.drawn = 0
        self.closed = False

    def reset(self, seed: int | None) -> None:
        self.seeds.append(seed)
        self.actions = []

    def step(self, action: Any) -> Outcome:
        self.actions.append(action)
        n = len(self.actions)
        return Outcome(10.0 ** (n - 1), n == self.ends[0], n == self.ends[1])

    def render(self) -> np.ndarray:
        self.drawn += 1
        return np.full((16, 32, 3), self.drawn, np.uint8)

    def snapshot(self) -> list[Any]:
        return list(self.actions)

    def restore(self, snapshot: list[Any]) -> None:
        self.actions = list(snapshot)

    def positions(self) -> np.ndarray:
        return np.array([len(self.actions)], np.float64)

    def close(self) -> None:
        self.closed = True


def pixels(simulator: Counter, *, repeat: int = 3, limit: int = 0) -> PixelEnv:
    return PixelEnv(simulator, env="count", task="up", action_repeat=repeat, time_limit=limit, size=(16, 32))


def unroll(env: PixelEnv, seed: int | None, steps: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Frames and rewards under actions that are always the same."""
    frames, rewards = [env.reset(seed=seed)[0]], []
    assert frames[0].flags.c_contiguous and frames[0].flags.writeable
    choices = np.random.default_rng(0)
    for _ in range(steps):
        choice = choices.uniform(-1, 1)
        action = int(choice > 0) if isinstance(env.action_space, Discrete) else np.array([choice], np.float32)
        frame, reward, *_ = env.step(action)
        frames.append(frame)
        rewards.append(reward)
    return np.stack(frames), np.array(rewards)


@pytest.fixture(params=["cartpole", "cartpole_gym"])
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Of each real environment, with episodes short enough not to end by themselves in `unroll`."""
    if request.param == "cartpole":
        request.getfixturevalue("gl")
        return SWINGUP
    return BALANCING


# The contract, against a simulator whose every answer is known


def test_rewards_are_summed_over_the_repeat_and_only_the_last_frame_is_drawn() -> None:
    simulator = Counter()
    env = pixels(simulator, repeat=3)
    frame, info = env.reset(seed=5)
    assert simulator.seeds == [5] and info == {"env_frames": 0}
    assert frame.shape == (16, 32, 3) and frame.dtype == np.uint8 and (frame == 1).all()
    frame, reward, terminated, truncated, info = env.step(np.zeros(2, np.float32))
    assert (reward, terminated, truncated, info) == (111.0, False, False, {"env_frames": 3})
    assert (frame == 2).all()
    frame, reward, *_ = env.step(np.zeros(2, np.float32))
    assert reward == 111000.0 and (frame == 3).all() and simulator.drawn == 3


def test_render_gives_the_present_frame_without_drawing() -> None:
    simulator = Counter()
    env = pixels(simulator)
    frame, _ = env.reset()
    frame[:] = 0  # of the caller's own
    assert (env.render() == 1).all()
    env.render()[:] = 0
    assert (env.render() == 1).all() and simulator.drawn == 1


def test_advancing_is_stepping_without_drawing() -> None:
    simulators = Counter(terminates=8), Counter(terminates=8)
    stepped, advanced = (pixels(simulator, repeat=3) for simulator in simulators)
    stepped.reset()
    advanced.reset()
    for action in np.zeros((3, 2), np.float32):
        assert advanced.advance(action) == stepped.step(action)[1:4]
    assert [simulator.drawn for simulator in simulators] == [4, 1]
    with pytest.raises(EnvError, match=r"no episode to step in: call reset\(\)"):
        advanced.advance(action)
    with pytest.raises(EnvError, match="is not a vector of 2 numbers"):
        advanced.reset()
        advanced.advance(np.ones(3))


def test_a_snapshot_brings_back_the_episode_its_clock_and_its_positions_but_draws_nothing() -> None:
    simulator, action = Counter(), np.zeros(2, np.float32)
    env = pixels(simulator, repeat=3, limit=9)
    env.reset()
    env.step(action)
    snapshot = env.snapshot()
    for _ in range(3):
        assert env.positions().tolist() == [3.0]
        assert [env.advance(action) for _ in range(2)] == [(111e3, False, False), (111e6, False, True)]
        env.restore(snapshot)  # also after the end
    assert (env.render() == 2).all() and simulator.drawn == 2
    env.reset()
    env.restore(snapshot)  # also from another episode
    frame, reward, *_ = env.step(action)
    assert reward == 111e3 and (frame == 4).all()
    with pytest.raises(EnvError, match="of another environment: restore it in the one that took it"):
        pixels(Counter()).restore(snapshot)


def test_a_snapshot_outside_an_episode_stays_outside() -> None:
    env = pixels(Counter())
    snapshot = env.snapshot()
    env.reset()
    env.restore(snapshot)
    with pytest.raises(EnvError, match=r"no episode to step in: call reset\(\)"):
        env.advance(np.zeros(2))


@pytest.mark.parametrize(("limit", "taken"), [(6, [3, 3]), (7, [3, 3, 1]), (2, [2]), (0, [3, 3, 3, 3])])
def test_the_time_limit_truncates_also_within_a_repeat(limit: int, taken: list[int]) -> None:
    simulator = Counter()
    env = pixels(simulator, repeat=3, limit=limit)
    for _ in range(2):  # the count starts anew with each episode
        env.reset()
        steps = [env.step(np.zeros(2)) for _ in taken]
        assert [info["env_frames"] for *_, info in steps] == taken
        assert [truncated for _, _, _, truncated, _ in steps] == [False] * (len(taken) - 1) + [limit > 0]
        assert not any(terminated for _, _, terminated, _, _ in steps)
        assert len(simulator.actions) == sum(taken)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ({"terminates": 2}, (11.0, True, False)),
        ({"truncates": 2}, (11.0, False, True)),
        ({"terminates": 2, "truncates": 2}, (11.0, True, False)),
        ({"terminates": 3}, (111.0, True, False)),  # at the time limit: terminated
    ],
)
def test_the_simulators_own_end_stops_the_repeat(ends: dict[str, int], expected: tuple) -> None:
    env = pixels(Counter(**ends), repeat=8, limit=3)
    env.reset()
    _, *outcome, _ = env.step(np.zeros(2))
    assert tuple(outcome) == expected


def test_actions_are_scaled_to_the_simulators_bounds_exactly() -> None:
    simulator = Counter()
    env = pixels(simulator, repeat=1)
    assert env.action_space == Box(-1, 1, (2,), np.float32)
    env.reset()
    for action in ([-1, -1], [1, 1], [0, 0], [0.5, -0.5]):
        env.step(np.array(action, np.float32))
    assert simulator.actions[0].tolist() == [-2.0, 0.1] and simulator.actions[1].tolist() == [4.0, 0.3]
    np.testing.assert_allclose(simulator.actions[2:], [[1.0, 0.2], [2.5, 0.15]])
    assert all(BOUNDS.contains(action) for action in simulator.actions)


def test_discrete_actions_start_at_zero_whatever_the_simulators_do() -> None:
    simulator = Counter(Discrete(3, start=5))
    env = pixels(simulator, repeat=1)
    assert env.action_space == Discrete(3)
    env.reset()
    env.step(0)
    env.step(np.int64(2))
    assert simulator.actions == [5, 7]


def test_the_spec_tells_what_a_model_must_know() -> None:
    box = EnvSpec("count", "up", "box", 2, (-2.0, 0.1), (4.0, 0.3), 3, 7, (16, 32))
    env = pixels(Counter(), repeat=3, limit=7)
    assert env_spec(env) == box
    assert env_spec(gymnasium.wrappers.RecordEpisodeStatistics(env)) == box
    discrete = EnvSpec("count", "up", "discrete", 3, (), (), 3, 0, (16, 32))
    assert env_spec(pixels(Counter(Discrete(3, start=5)))) == discrete
    assert EnvSpec.from_json(box.to_json()) == box


def test_closing_closes_the_simulator() -> None:
    simulator = Counter()
    pixels(simulator).close()
    assert simulator.closed


def test_a_step_needs_an_episode() -> None:
    env = pixels(Counter(terminates=1))
    with pytest.raises(EnvError, match=r"no frame yet: call reset\(\)"):
        env.render()
    with pytest.raises(EnvError, match=r"no episode to step in: call reset\(\)"):
        env.step(np.zeros(2))
    env.reset()
    env.step(np.zeros(2))
    with pytest.raises(EnvError, match=r"no episode to step in: call reset\(\)"):
        env.step(np.zeros(2))


@pytest.mark.parametrize("action", [[0.0, 1.01], [0.0, np.nan], [0.0], [[0.0, 0.0]], 0.0])
def test_a_vector_outside_the_action_space_is_refused(action: Any) -> None:
    env = pixels(Counter())
    env.reset()
    with pytest.raises(EnvError, match=r"is not a vector of 2 numbers in \[-1, 1\]"):
        env.step(np.array(action))


@pytest.mark.parametrize("action", [3, -1, 0.5, np.array([1, 0])])
def test_a_choice_outside_the_action_space_is_refused(action: Any) -> None:
    env = pixels(Counter(Discrete(3)))
    env.reset()
    with pytest.raises(EnvError, match="is not one of the integers 0 to 2"):
        env.step(action)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Box(0, np.inf, (1,)), "unbounded actions.*finite bounds"),
        (Box(-1, 1, (2, 2)), "one-dimensional Box"),
        (Box(0, 9, (2,), np.int32), "one-dimensional Box"),
        (MultiBinary(3), r"up takes actions from MultiBinary\(3\).*Discrete will do"),
        (MultiDiscrete([2, 3]), r"up takes actions from MultiDiscrete\(\[2 3\]\)"),
        (Dict({"push": Discrete(2)}), r"up takes actions from Dict\('push': Discrete\(2\)\)"),
    ],
)
def test_action_spaces_that_cannot_be_used_are_refused(space: gymnasium.Space[Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        pixels(Counter(space))


# Actions as vectors


def test_choices_become_one_hot_and_return() -> None:
    spec = env_spec(pixels(Counter(Discrete(3))))
    vectors = [action_vector(spec, action) for action in (0, 1, np.int64(2))]
    np.testing.assert_array_equal(vectors, np.eye(3))
    assert {vector.dtype for vector in vectors} == {np.dtype(np.float32)}
    assert [env_action(spec, vector) for vector in vectors] == [0, 1, 2]
    assert env_action(spec, np.array([0.1, 0.7, 0.2])) == 1


def test_vectors_stay_themselves_in_memory_of_their_own() -> None:
    spec = env_spec(pixels(Counter()))
    action = np.array([0.25, -1], np.float32)
    for convert in (action_vector, env_action):
        vector = convert(spec, action)
        assert isinstance(vector, np.ndarray) and vector.dtype == np.float32
        np.testing.assert_array_equal(vector, action)
        assert not np.shares_memory(vector, action)


def test_actions_that_do_not_fit_are_refused() -> None:
    box, discrete = env_spec(pixels(Counter())), env_spec(pixels(Counter(Discrete(3))))
    with pytest.raises(EnvError, match=r"shape \(3,\) does not fit up: give \(2,\)"):
        action_vector(box, np.zeros(3))
    with pytest.raises(EnvError, match=r"shape \(2,\) does not fit up: give \(3,\)"):
        env_action(discrete, np.zeros(2))
    for action in (3, 0.5, np.array([0, 1])):
        with pytest.raises(EnvError, match="is not one of the integers 0 to 2 of up"):
            action_vector(discrete, action)
    with pytest.raises(EnvError, match=r"has no env_spec: make it with envs\.make_env"):
        env_spec(gymnasium.make("CartPole-v1"))


def test_the_spec_gives_the_environments_action_space() -> None:
    for env in (pixels(Counter()), pixels(Counter(Discrete(3)))):
        assert action_space(env.env_spec) == env.action_space


def test_rows_of_actions_become_vectors_like_single_ones() -> None:
    box, discrete = env_spec(pixels(Counter())), env_spec(pixels(Counter(Discrete(3))))
    rows = action_vectors(box, [[0.25, -1], [1, 0]], 2)
    assert rows.dtype == np.float32 and rows.tolist() == [[0.25, -1], [1, 0]]
    assert action_vectors(discrete, np.array([2, 0]), 2).tolist() == [[0, 0, 1], [1, 0, 0]]


# The real environments


def test_seeds_repeat_frames_and_rewards(config: dict[str, Any]) -> None:
    first, again = make_env(config), make_env(config)
    frames, rewards = unroll(first, seed=7)
    assert len(np.unique(frames[0])) > 2 and not np.array_equal(frames[0], frames[-1])
    unroll(again, seed=8)
    for result, expected in zip(unroll(again, seed=7), (frames, rewards), strict=True):
        np.testing.assert_array_equal(result, expected)
    first.close()
    again.close()


def test_episodes_without_a_seed_go_on_from_the_stream(config: dict[str, Any]) -> None:
    env = make_env(config)
    streams = []
    for _ in range(2):
        env.reset(seed=3)
        streams.append([unroll(env, seed=None)[0] for _ in range(2)])
    np.testing.assert_array_equal(*streams)
    assert not np.array_equal(*streams[0])
    env.close()


def test_different_seeds_differ(config: dict[str, Any]) -> None:
    env = make_env(config)
    assert not np.array_equal(unroll(env, seed=1)[0], unroll(env, seed=2)[0])
    env.close()


@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes")  # it is in no registry
def test_gymnasiums_own_checks_pass(config: dict[str, Any]) -> None:
    env = make_env(config)
    check_env(env)
    env.close()
    env.close()


def test_sizes_are_height_and_width(config: dict[str, Any]) -> None:
    env = make_env(config | {"size": [32, 48]})
    assert env.reset(seed=0)[0].shape == (32, 48, 3) == env.observation_space.shape
    assert env_spec(env).frame_size == (32, 48)
    env.close()


@pytest.mark.usefixtures("gl")
def test_a_frame_may_exceed_mujocos_default_buffer() -> None:
    env = make_env(SWINGUP | {"size": [496, 656]})
    assert env.reset(seed=0)[0].shape == (496, 656, 3)
    env.close()


@pytest.mark.usefixtures("gl")
def test_swingup_is_dm_controls() -> None:
    from dm_control import suite

    env = make_env(SWINGUP | {"action_repeat": 3, "time_limit": 7})
    reference = suite.load("cartpole", "swingup", task_kwargs={"random": 11})
    frame, _ = env.reset(seed=11)
    reference.reset()
    np.testing.assert_array_equal(frame, reference.physics.render(64, 64, camera_id=0))
    for taken in (3, 3, 1):
        rewards = [reference.step([0.5]).reward for _ in range(taken)]
        frame, reward, terminated, truncated, info = env.step(np.array([0.5], np.float32))
        assert reward == pytest.approx(sum(rewards), abs=0) and info["env_frames"] == taken
        np.testing.assert_array_equal(frame, reference.physics.render(64, 64, camera_id=0))
    assert (terminated, truncated) == (False, True)
    env.close()


@pytest.mark.usefixtures("gl")
@pytest.mark.parametrize(("domain", "task"), [("walker", "walk"), ("finger", "spin"), ("ball_in_cup", "catch")])
def test_tasks_of_several_physics_steps_a_step_are_dm_controls(domain: str, task: str) -> None:
    from dm_control import suite

    env = make_env(SWINGUP | {"domain": domain, "task": task, "action_repeat": 1})
    reference = suite.load(domain, task, task_kwargs={"random": 11})
    env.reset(seed=11)
    reference.reset()
    for action in np.random.default_rng(0).uniform(-1, 1, (20, env_spec(env).action_size)).astype(np.float32):
        assert env.step(action)[1] == reference.step(action.astype(np.float64)).reward
        np.testing.assert_array_equal(env.positions(), reference.physics.data.xipos[1:])
    env.close()


@pytest.mark.usefixtures("gl")
def test_dm_controls_own_time_limit_is_dropped() -> None:
    env = make_env(SWINGUP | {"time_limit": 0, "action_repeat": 1001})  # its own: 1000
    env.reset(seed=0)
    *_, truncated, info = env.step(np.zeros(1, np.float32))
    assert not truncated and info["env_frames"] == 1001
    env.close()


@pytest.mark.usefixtures("gl")
@pytest.mark.parametrize(("discount", "expected"), [(0.0, (True, False)), (1.0, (False, True)), (None, (False, False))])
def test_only_a_discount_of_zero_terminates(monkeypatch, discount: float | None, expected: tuple[bool, bool]) -> None:
    from dm_control.suite.cartpole import Balance

    monkeypatch.setattr(Balance, "get_termination", lambda self, physics: discount)
    env = make_env(SWINGUP)
    env.reset(seed=0)
    _, _, terminated, truncated, info = env.step(np.zeros(1, np.float32))
    assert (terminated, truncated) == expected and info["env_frames"] == (8 if discount is None else 1)
    env.close()


def shadows_only(model: Any) -> None:
    model.vis.quality.shadowsize = 256


@pytest.mark.usefixtures("gl")
@pytest.mark.parametrize(("draw", "largest"), [(shadows_only, 0.1), (dmc.draw_fast, 1.5)])  # measured: 0.01 and 0.99
def test_fast_rendering_is_nearly_standard_rendering(monkeypatch, draw: Any, largest: float) -> None:
    """Differences in grey levels; cheaper shadows hardly show, edges do."""
    monkeypatch.setattr(dmc, "draw_fast", draw)
    standard, fast = make_env(SWINGUP), make_env(SWINGUP, rendering="fast")
    (frames, rewards), (fast_frames, fast_rewards) = (unroll(env, seed=0, steps=8) for env in (standard, fast))
    np.testing.assert_array_equal(rewards, fast_rewards)
    assert 0 < np.abs(frames.astype(int) - fast_frames).mean() < largest
    standard.close()
    fast.close()


def test_gymnasium_cartpole_falls_before_its_limit_and_is_cut_at_ours() -> None:
    env = make_env(BALANCING)
    env.reset(seed=0)
    total = 0.0
    while True:
        _, reward, terminated, truncated, info = env.step(1)
        total += reward
        assert reward == info["env_frames"]
        if terminated or truncated:
            break
    assert (terminated, truncated) == (True, False) and 8 <= total <= 12  # pushed one way only
    env = make_env(BALANCING | {"time_limit": 5})
    env.reset(seed=0)
    assert [env.step(i % 2)[1:4] for i in range(3)] == [(2, False, False), (2, False, False), (1, False, True)]


def test_without_a_time_limit_the_registered_one_counts_or_a_usual_one() -> None:
    for id, expected in (("MountainCar-v0", 200), ("gymnasium:CartPole-v1", 500), ("dot:Dot", USUAL_LIMIT)):
        env = make_env(BALANCING | {"id": id, "kwargs": {}, "time_limit": None})
        assert env.env_spec.time_limit == expected
        env.close()
    with pytest.raises(ConfigError, match=r"env\.time_limit is None: set an integer >= 0"):
        make_env(SWINGUP | {"time_limit": None})


def test_the_registered_time_limit_is_dropped() -> None:
    env = make_env(BALANCING | {"id": "Pendulum-v1", "time_limit": 0, "action_repeat": 250})  # registered: 200
    env.reset(seed=0)
    *_, truncated, info = env.step(np.array([1], np.float32))
    assert not truncated and info["env_frames"] == 250
    assert (env_spec(env).action_low, env_spec(env).action_high) == ((-2.0,), (2.0,))


# The configuration


@pytest.mark.parametrize("name", ["cartpole", "cartpole_gym"])
def test_the_configurations_are_those_tested_here(name: str) -> None:
    with hydra.initialize_config_module("configs", version_base="1.3"):
        composed = hydra.compose(overrides=[f"+env={name}"])
    assert OmegaConf.to_container(composed.env, resolve=True) == {"cartpole": SWINGUP, "cartpole_gym": BALANCING}[name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backend": "doom"}, "env.backend is 'doom': set one of dm_control, gymnasium"),
        ({"action_repeat": 0}, "env.action_repeat is 0: set an integer >= 1"),
        ({"action_repeat": 2.5}, "env.action_repeat is 2.5: set an integer >= 1"),
        ({"time_limit": -1}, "env.time_limit is -1: set an integer >= 0"),
        ({"size": [64, 60]}, r"env.size is \[64, 60\]: set \[height, width\], positive multiples of 16"),
        ({"size": [0, 64]}, r"env.size is \[0, 64\]"),
        ({"size": [64]}, r"env.size is \[64\]"),
        ({"size": 64}, "env.size is 64"),
        ({"colour": 1, "domain": "x"}, "env has colour, domain, which gymnasium does not know: remove it"),
        ({"kwargs": None}, "env.kwargs is None: set a mapping"),
        ({"id": 3}, "env.id is 3: set a name"),
        ({"frames": "both"}, "env.frames is 'both': set one of render, observation"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_env(BALANCING | change)


def test_missing_settings_and_unknown_renderings_are_refused() -> None:
    with pytest.raises(ConfigError, match="env lacks kwargs, size: gymnasium needs action_repeat, backend, frames, id"):
        make_env({key: value for key, value in BALANCING.items() if key not in ("size", "kwargs")})
    with pytest.raises(ConfigError, match=r"env\.backend is None: set one of"):
        make_env({})
    with pytest.raises(ConfigError, match="rendering is 'pretty': set one of standard, fast"):
        make_env(BALANCING, rendering="pretty")


@pytest.mark.usefixtures("gl")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"domain": "cartpol"}, "no domain named 'cartpol': did you mean cartpole.*there are acrobot, .*walker"),
        ({"domain": "zzz"}, "no domain named 'zzz': there are acrobot"),
        ({"task": "swing_up"}, "no task of cartpole named 'swing_up': did you mean swingup.*there are balance, "),
        ({"domain": "lqr", "task": "lqr_2_1"}, "lqr_2_1 has unbounded actions.*finite bounds"),
    ],
)
def test_dm_control_tasks_that_cannot_be_used_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        make_env(SWINGUP | change)


@pytest.mark.usefixtures("gl")
def test_a_seed_beyond_dm_controls_is_refused() -> None:
    env = make_env(SWINGUP)
    with pytest.raises(EnvError, match=r"seed 4294967296 is too large for dm_control: give one below 2\*\*32"):
        env.reset(seed=2**32)
    env.close()


@pytest.mark.usefixtures("gl")
def test_a_driver_that_fails_later_is_explained(monkeypatch) -> None:
    from dm_control.mujoco import Physics

    def fail(self: Physics) -> None:
        raise RuntimeError("no pixel format")

    monkeypatch.setattr(Physics, "_make_rendering_contexts", fail)
    with pytest.raises(EnvError, match=r"cannot draw with MUJOCO_GL=\w+ \(no pixel format\): unset MUJOCO_GL.*libegl1"):
        make_env(SWINGUP)
