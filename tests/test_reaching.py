"""Goals that chance came to, and how near they are come to again; the true places of bodies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from agents.actor import RandomActor
from agents.reaching import Goal, distance, find_goal, find_goals, pursue, reaching_table
from envs import make_env
from envs.pixels import Outcome, PixelEnv
from envs.rendering import choose_gl
from worldmodel.errors import ConfigError, EnvError


class Dot:
    """A body in the plane, begun anywhere, that actions move by tenths; beside it one that nothing moves."""

    action_space = gymnasium.spaces.Box(-0.1, 0.1, (2,), np.float64)

    def __init__(self, *, ends_after: int = 99) -> None:
        self.ends_after = ends_after
        self.random = np.random.default_rng()

    def reset(self, seed: int | None) -> None:
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.place, self.steps = self.random.uniform(-1, 1, 2), 0

    def step(self, action: np.ndarray) -> Outcome:
        self.place = self.place + action
        self.steps += 1
        return Outcome(0.0, self.steps >= self.ends_after, False)

    def render(self) -> np.ndarray:
        return np.broadcast_to((100 + 50 * self.place[[0, 1, 1]]).astype(np.uint8), (16, 16, 3))

    def snapshot(self) -> Any:
        raise EnvError("none")

    def restore(self, snapshot: Any) -> None:
        raise EnvError("none")

    def positions(self) -> np.ndarray:
        return np.array([[*self.place, 0.0], [5.0, 5.0, 5.0]])

    def close(self) -> None:
        pass


def dots(*, ends_after: int = 99, limit: int = 0) -> PixelEnv:
    simulator = Dot(ends_after=ends_after)
    return PixelEnv(simulator, env="dot", task="move", action_repeat=1, time_limit=limit, size=(16, 16))


class Beeline:
    """Knows where it is and where to go, and goes there by the shortest way; notes what it is shown."""

    def __init__(self, env: PixelEnv, goal: Goal) -> None:
        self.env = env
        self.goal = goal
        self.shown: list[np.ndarray] = []
        self.drawn: list[float] = []

    def reset(self, frame: np.ndarray) -> None:
        self.shown = [frame]

    def act(self, generator: torch.Generator, exploration: float = 0.0) -> np.ndarray:
        self.drawn.append(float(torch.rand(1, generator=generator)))
        away = (self.goal.positions - self.env.positions())[0, :2]
        return np.clip(away / 0.1, -1, 1).astype(np.float32)

    def observe(self, action: np.ndarray, frame: np.ndarray, generator: torch.Generator) -> None:
        self.shown.append(frame)


def test_distance_is_that_of_the_body_furthest_from_its_place() -> None:
    a = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    b = a + np.array([[0.3, 0.4, 0.0], [1.0, 2.0, 2.0], [0.0, 0.0, 0.1]])
    assert distance(a, b) == distance(b, a) == pytest.approx(3)
    assert distance(a, a) == 0


def test_a_goal_is_where_chance_leads_and_is_found_again() -> None:
    env = dots()
    goal = find_goal(env, 3, decisions=7)
    np.testing.assert_array_equal(goal.positions, env.positions())
    np.testing.assert_array_equal(goal.frame, env.render())
    start = np.random.default_rng(3).uniform(-1, 1, 2)
    assert goal.distance == pytest.approx(np.linalg.norm(goal.positions[0, :2] - start)) and goal.distance > 0.02

    torch.manual_seed(5)
    again, other, further = (
        find_goal(env, 3, decisions=7),
        find_goal(env, 4, decisions=7),
        find_goal(env, 3, decisions=8),
    )
    np.testing.assert_array_equal(again.positions, goal.positions)
    assert (again.seed, again.distance) == (3, goal.distance)
    assert not np.allclose(other.positions, goal.positions)
    assert 0 < np.abs(further.positions - goal.positions).max() <= 0.1  # a decision further on the same way


@pytest.mark.parametrize("end", [{"ends_after": 4}, {"limit": 4}])
def test_a_goal_lies_within_the_episode_and_so_does_its_pursuit(end: dict[str, int]) -> None:
    goal = find_goal(dots(**end), 3, decisions=9)
    np.testing.assert_array_equal(goal.positions, find_goal(dots(), 3, decisions=4).positions)
    assert len(pursue(dots(**end), goal, RandomActor(dots().env_spec), decisions=9)) == 4


def test_a_pursuit_starts_where_the_goals_episode_did_and_tells_every_distance() -> None:
    env = dots()
    goal = find_goal(env, 3, decisions=30)
    actor = Beeline(env, goal)
    found = pursue(env, goal, actor, decisions=30)
    away = goal.positions[0, :2] - np.random.default_rng(3).uniform(-1, 1, 2)
    expected = [np.linalg.norm(np.sign(away) * np.maximum(np.abs(away) - 0.1 * i, 0)) for i in range(1, 31)]
    assert found == pytest.approx(expected, abs=1e-6) and found[0] > 0.1 > found[-1]
    assert len(actor.shown) == 1 + 30
    env.reset(seed=3)
    np.testing.assert_array_equal(actor.shown[0], env.render())


def test_pursuits_are_repeatable_and_chance_does_not_go_the_same_way_again() -> None:
    env = dots()
    goal = find_goal(env, 3, decisions=7)
    actor = RandomActor(env.env_spec)
    first = pursue(env, goal, actor, decisions=7)
    torch.manual_seed(5)
    assert pursue(env, goal, actor, decisions=7) == first
    assert first[-1] > 0.01  # with the goal's own stream it would be there exactly
    lines = [Beeline(env, goal) for _ in range(2)]
    for line in lines:
        pursue(env, goal, line, decisions=7)
    assert lines[0].drawn == lines[1].drawn and len(set(lines[0].drawn)) == 7


def test_the_table_counts_who_stands_at_the_goal_in_the_end() -> None:
    frame, places = np.zeros((16, 16, 3), np.uint8), np.zeros((1, 3))
    goals = [Goal(seed, frame, places, away) for seed, away in enumerate([0.1, 0.3])]
    distances = {"random": [[0.01, 0.5], [0.3, 0.2]], "by features": [[0.2, 0.02], [0.25, 0.01]]}
    header, start, chance, planner = reaching_table(goals, distances, tolerance=0.02).splitlines()
    assert header.split() == ["reached", "of", "final", "m", "nearest", "m"]
    assert start.split() == ["where", "it", "starts", "0.200", "0.200"]
    assert chance.split() == ["random", "0", "2", "0.350", "0.105"]
    assert planner.split() == ["by", "features", "2", "2", "0.015", "0.015"]
    assert len({len(line) for line in (header, start, chance, planner)}) == 1


@pytest.fixture
def gl() -> None:
    """Skips where MuJoCo cannot draw, naming the packages."""
    try:
        choose_gl()
    except EnvError as error:
        pytest.skip(str(error))


@pytest.fixture
def suite() -> Iterator[Any]:
    """Makes tasks of the control suite, small, and closes them."""
    made = []

    def make(domain: str, task: str, name: str = "") -> PixelEnv:
        config = {"backend": "dm_control", "name": name or domain, "domain": domain, "task": task}
        made.append(make_env(config | {"action_repeat": 4, "time_limit": 1000, "size": [16, 16]}))
        return made[-1]

    yield make
    for env in made:
        env.close()


@pytest.mark.usefixtures("gl")
@pytest.mark.parametrize(
    ("domain", "task", "bodies"), [("reacher", "easy", 3), ("point_mass", "easy", 1), ("pendulum", "swingup", 1)]
)
def test_the_control_suite_tells_where_what_moves_is(suite: Any, domain: str, task: str, bodies: int) -> None:
    env = suite(domain, task)
    env.reset(seed=0)
    start = env.positions()
    kept = start.copy()
    assert start.shape == (bodies, 3) and start.dtype == np.float64
    for _ in range(10):
        env.step(np.ones(env.action_space.shape, np.float32))
    np.testing.assert_array_equal(start, kept)  # a copy of its own
    assert distance(start, env.positions()) > 0.005
    env.reset(seed=0)
    np.testing.assert_array_equal(env.positions(), start)


@pytest.mark.usefixtures("gl")
def test_a_reachers_last_body_is_its_fingertip_and_its_target_is_no_body(suite: Any) -> None:
    env = suite("reacher", "easy")
    env.reset(seed=1)
    physics = env._simulator._physics
    arms, target = env.positions(), physics.named.data.geom_xpos["target"].copy()
    np.testing.assert_allclose(arms[-1, :2], physics.named.data.geom_xpos["finger", :2])
    assert np.linalg.norm(arms[:, :2] - target[:2], axis=1).min() > 1e-3
    physics.named.model.geom_pos["target", :2] += 0.1
    physics.forward()
    np.testing.assert_array_equal(env.positions(), arms)


def test_gymnasium_does_not_tell_where_bodies_are() -> None:
    config = {"backend": "gymnasium", "name": "cartpole_gym", "id": "CartPole-v1", "kwargs": {}, "frames": "render"}
    env = make_env(config | {"action_repeat": 2, "time_limit": 40, "size": [16, 16]})
    with pytest.raises(EnvError, match="CartPole-v1 does not tell where its bodies are: only dm_control's tasks do"):
        find_goal(env, 0, decisions=3)
    env.close()


def test_goals_are_far_enough_that_standing_still_is_no_success() -> None:
    env = dots()
    every = [find_goal(env, seed, decisions=7) for seed in range(40)]
    middle = float(np.median([goal.distance for goal in every]))
    goals = find_goals(env, 4, lambda index: index, decisions=7, least=middle)
    assert [goal.seed for goal in goals] == [goal.seed for goal in every if goal.distance >= middle][:4]
    with pytest.raises(
        ConfigError, match=r"0 of 40 places that 7 random actions lead to are 1000\.000 m away: set away"
    ):
        find_goals(env, 4, lambda index: index, decisions=7, least=1000.0)
