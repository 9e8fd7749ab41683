"""Planning in the simulator: known optima, nothing earned after the end, and the environment left where it stood."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from agents.collecting import play_episode
from agents.planners import Plan, Score, make_planner
from agents.simulator import SimulatorAgent, simulated_return
from envs import make_env
from envs.pixels import Outcome, PixelEnv
from worldmodel.errors import EnvError

PUSHES = Box(np.array([-2.0]), np.array([2.0]), dtype=np.float64)
STEPS = Discrete(3)  # left, stay, right
CEM = {"kind": "cem", "horizon": 4, "candidates": 60, "iterations": 5, "elites": 8}


class Line:
    """A place on a line, which actions move; rewards nearness to a target. It ends past a cliff, or after some steps.

    With `wind` each step goes astray by a random stream of its own.
    """

    def __init__(
        self,
        space: gymnasium.Space[Any],
        *,
        target: float = 6.0,
        cliff: float = 99.0,
        truncates: int = 99,
        wind: float = 0.0,
    ) -> None:
        self.action_space = space
        self.target, self.cliff, self.truncates, self.wind = target, cliff, truncates, wind
        self.drawn = 0

    def reset(self, seed: int | None) -> None:
        self.stream = np.random.default_rng(seed)
        self.place, self.steps = 0.0, 0

    def step(self, action: Any) -> Outcome:
        push = float(action - 1) if isinstance(self.action_space, Discrete) else float(action[0])
        self.place += push + self.wind * self.stream.standard_normal()
        self.steps += 1
        terminated = self.place > self.cliff
        return Outcome(-abs(self.place - self.target), terminated, not terminated and self.steps == self.truncates)

    def render(self) -> np.ndarray:
        self.drawn += 1
        return np.full((16, 16, 3), round(100 + 10 * self.place), np.uint8)

    def snapshot(self) -> Any:
        return self.place, self.steps, self.stream.bit_generator.state

    def restore(self, snapshot: Any) -> None:
        self.place, self.steps, self.stream.bit_generator.state = snapshot

    def positions(self) -> np.ndarray:
        return np.array([self.place])

    def close(self) -> None:
        pass


def pixels(simulator: Line, *, repeat: int = 1, limit: int = 0) -> PixelEnv:
    env = PixelEnv(simulator, env="line", task="reach", action_repeat=repeat, time_limit=limit, size=(16, 16))
    env.reset(seed=0)
    return env


def one_hot(*choices: tuple[int, ...]) -> Tensor:
    return torch.eye(3)[torch.tensor(choices)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def walk(env: PixelEnv, agent: SimulatorAgent, steps: int) -> list[float]:
    """Places after each of the agent's actions."""
    generator, places = seeded(), []
    agent.reset(env.reset(seed=0)[0])
    for _ in range(steps):
        action = agent.act(generator)
        assert action.dtype == np.float32 and action.shape == (env.env_spec.action_size,)
        frame, *_ = env.step(int(action.argmax()) if env.env_spec.action_kind == "discrete" else action)
        agent.observe(action, frame, generator)
        places.append(float(env.positions()[0]))
    return places


def test_returns_are_the_simulators_own_action_repeat_included() -> None:
    """Actions of 1 and -1 are pushes of 2 and -2; a target at 6 is then 4, 2 and 0 away."""
    pushes = torch.tensor([[1.0, 1.0, 1.0], [-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])[..., None]
    assert simulated_return(pixels(Line(PUSHES)), pushes).tolist() == [-4 - 2 - 0, -8 - 8 - 6, -6 - 6 - 6]
    twice = pixels(Line(STEPS), repeat=2)
    assert simulated_return(twice, one_hot((2, 2), (0, 1))).tolist() == [-5 - 4 - 3 - 2, -7 - 8 - 8 - 8]


@pytest.mark.parametrize(("ends", "limit"), [({"cliff": 1.5}, 0), ({"truncates": 2}, 0), ({}, 2)])
def test_a_candidate_earns_nothing_after_the_end_and_the_next_is_none_the_worse(
    ends: dict[str, Any], limit: int
) -> None:
    """Rightwards the second step is the last, by a cliff, the simulator's end or the time limit."""
    env = pixels(Line(STEPS, **ends), limit=limit)
    returns = simulated_return(env, one_hot((2, 2, 2, 2), (1, 1, 1, 1), (2, 2, 0, 0)))
    stays = -6 * 4 if "cliff" in ends else -6 * 2
    assert returns.tolist() == [-5 - 4, stays, -5 - 4]
    assert env.step(1)[1:4] == (-6, False, False)  # and the episode goes on


def test_scoring_draws_nothing_and_leaves_the_environment_where_it_stood() -> None:
    simulator = Line(PUSHES, wind=1.0)
    env, twin = pixels(simulator, limit=6), pixels(Line(PUSHES, wind=1.0), limit=6)
    push, generator = np.array([0.5], np.float32), seeded()
    while True:
        drawn = simulator.drawn
        simulated_return(env, 2 * torch.rand(7, 9, 1, generator=generator) - 1)  # beyond the time limit, too
        assert simulator.drawn == drawn
        np.testing.assert_array_equal(env.render(), twin.render())
        (frame, *outcome, _), (expected, *expectation, _) = env.step(push), twin.step(push)
        np.testing.assert_array_equal(frame, expected)
        assert outcome == expectation
        if outcome[2]:
            break


@pytest.mark.parametrize("id", ["CartPole-v1", "Pendulum-v1"])
def test_an_episode_is_as_in_an_environment_in_which_nobody_planned(id: str) -> None:
    settings = {"backend": "gymnasium", "name": "twin", "id": id, "kwargs": {}, "frames": "render"}
    settings |= {"action_repeat": 2, "time_limit": 12, "size": [16, 16]}
    env, twin = make_env(settings), make_env(settings)
    small = {"kind": "cem", "horizon": 3, "candidates": 6, "iterations": 2, "elites": 2}
    agent = SimulatorAgent(env, make_planner(small, env.env_spec, horizon=12))
    episode = play_episode(env, agent, spec=env.env_spec, seed=4, exploration=0.5, name="simulator")
    assert len(episode) == 6 and len(np.unique(episode.actions, axis=0)) > 1
    frames = [twin.reset(seed=4)[0]]
    for action, reward in zip(episode.actions, episode.rewards, strict=True):
        frame, expected, *_ = twin.step(int(action.argmax()) if id == "CartPole-v1" else action)
        frames.append(frame)
        assert reward == np.float32(expected)
    np.testing.assert_array_equal(episode.frames, np.stack(frames))
    env.close()
    twin.close()


def test_it_goes_to_the_target_and_stays() -> None:
    env = pixels(Line(STEPS, target=3.0))
    assert walk(env, SimulatorAgent(env, make_planner(CEM, env.env_spec, horizon=12)), 6) == [1, 2, 3, 3, 3, 3]
    env = pixels(Line(PUSHES, target=3.0))
    places = walk(env, SimulatorAgent(env, make_planner(CEM, env.env_spec, horizon=12)), 6)
    assert places[0] > 1.5 and all(abs(place - 3) < 0.3 for place in places[-4:])


class Numbered:
    """A planner whose plans are 0.1, 0.2 and 0.3; it notes where it was to start."""

    horizon = 3

    def __init__(self) -> None:
        self.starts: list[list[float] | None] = []

    def plan(
        self,
        score: Score,
        low: Tensor,
        high: Tensor,
        *,
        warm_start: Plan | None,
        generator: torch.Generator,
        proposals: Tensor | None = None,
    ) -> Plan:
        self.starts.append(None if warm_start is None else warm_start.mean.flatten().tolist())
        mean = torch.tensor([[0.1], [0.2], [0.3]])
        return Plan(mean, mean, mean[None], score=0.0)


def test_a_search_begins_where_the_last_ended_and_afresh_in_a_new_episode() -> None:
    env, planner = pixels(Line(PUSHES)), Numbered()
    agent = SimulatorAgent(env, planner)
    for _ in range(2):
        walk(env, agent, 2)
    assert planner.starts == [None, pytest.approx([0.2, 0.3, 0.3])] * 2


def test_the_generator_alone_decides_and_exploration_is_added() -> None:
    def acts(seed: int, exploration: float) -> list[float]:
        env = pixels(Line(PUSHES))
        agent = SimulatorAgent(env, make_planner(CEM, env.env_spec, horizon=12))
        agent.reset(env.render())
        return agent.act(seeded(seed), exploration).tolist()

    torch.manual_seed(1)
    first = acts(0, 0.0)
    torch.manual_seed(2)
    assert acts(0, 0.0) == first != acts(1, 0.0)
    assert acts(0, 0.5) != first and -1 <= acts(0, 5.0)[0] <= 1


def test_outside_an_episode_there_is_nothing_to_plan_from() -> None:
    env = PixelEnv(Line(STEPS), env="line", task="reach", action_repeat=1, time_limit=1, size=(16, 16))
    env.reset(seed=0)
    env.step(1)
    with pytest.raises(EnvError, match=r"there is no episode to step in: call reset\(\) first"):
        simulated_return(env, one_hot((1, 1)))
