"""What plans promise beside what comes, where both are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.expectation import Expectation, Expecting, compare, realised_returns
from agents.planners import Plan
from agents.planning import PlanningAgent, imagined_return, means
from worldmodel.build import build
from worldmodel.config import ModelConfig
from worldmodel.episode import Episode
from worldmodel.spec import EnvSpec

SPEC = EnvSpec("line", "reach", "box", 1, (-1.0,), (1.0,), 1, 0, (16, 16))


def episode(rewards: list[float], *, terminated: bool = False) -> Episode:
    return Episode(
        frames=np.zeros((len(rewards) + 1, 16, 16, 3), np.uint8),
        actions=np.zeros((len(rewards), 1), np.float32),
        rewards=np.array(rewards, np.float32),
        terminated=terminated,
        truncated=not terminated,
        spec=SPEC,
        seed=0,
        actor="planner",
    )


def test_a_decision_is_compared_with_the_rewards_from_it_on() -> None:
    """Each reward is a power of two, so a sum tells which were counted."""
    found = compare([[3.0, 6.0, 12.0, 100.0]], [episode([1, 2, 4, 8])], horizon=2)
    assert (found.decisions, found.expected, found.realised) == (3, 7.0, 7.0)  # 1+2, 2+4, 4+8; the last lacks one
    assert found.correlation == pytest.approx(1)


@pytest.mark.parametrize(("expected", "correlation"), [([3.0, 6.0, 12.0], 1), ([-3.0, -6.0, -12.0], -1)])
def test_the_correlation_is_over_decisions_of_all_episodes(expected: list[float], correlation: float) -> None:
    first, second = [*expected[:1], 50.0], [*expected[1:], 50.0]
    found = compare([first, second], [episode([1, 2]), episode([2, 4, 8])], horizon=2)
    assert (found.decisions, found.realised) == (3, 7.0)
    assert found.expected == pytest.approx(sum(expected) / 3) and found.correlation == pytest.approx(correlation)


def test_a_correlation_in_between_is_pearsons() -> None:
    rng = np.random.default_rng(0)
    promised, rewards = rng.normal(size=50), rng.normal(size=50).astype(np.float32)
    found = compare([promised.tolist()], [episode(rewards.tolist())], horizon=1)
    a, b = promised - promised.mean(), rewards - rewards.mean(dtype=np.float64)
    assert found.correlation == pytest.approx((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def test_truncated_episodes_shorter_than_the_horizon_tell_nothing() -> None:
    short = episode([1, 2])
    assert compare([[5.0, 6.0]], [short], horizon=3) == Expectation(0, None, None, None)
    assert compare([], [], horizon=3) == Expectation(0, None, None, None)
    found = compare([[5.0, 6.0], [7.0, 8.0, 9.0]], [short, episode([1, 2, 4])], horizon=3)
    assert (found.decisions, found.expected, found.realised) == (1, 7.0, 7.0)


def test_after_a_termination_nothing_comes_and_that_is_known() -> None:
    """All decisions of an episode that ended by itself count, also when it is shorter than the horizon."""
    found = compare([[7.0, 6.0, 4.0]], [episode([1, 2, 4], terminated=True)], horizon=3)
    assert found == Expectation(3, pytest.approx(17 / 3), pytest.approx(17 / 3), pytest.approx(1))
    assert compare([[9.0]], [episode([1], terminated=True)], horizon=3) == Expectation(1, 9.0, 1.0, None)


@pytest.mark.parametrize("expected", [[2.0, 2.0, 2.0], [1.0, 2.0, 3.0]])
def test_what_never_varies_has_no_correlation(expected: list[float]) -> None:
    found = compare([expected], [episode([1, 1, 1])], horizon=1)
    assert found == Expectation(3, 2.0, 1.0, None)


class Counting:
    """A planner whose n-th plan does the n-th part of full speed; its scores are no promises."""

    horizon = 2

    def __init__(self) -> None:
        self.plans = 0

    def plan(self, score, low, high, *, warm_start, generator, proposals) -> Plan:
        self.plans += 1
        actions = torch.full((2, 1), 1 / self.plans)
        return Plan(actions, actions, actions[None], float(self.plans))


def test_an_expecting_agent_acts_as_its_agent_and_notes_every_promise_of_the_episode() -> None:
    torch.manual_seed(0)
    sizes = {"stages": ((8, 1),), "patch": 1, "feature": 8, "hidden": 8, "layers": 1, "latent": 2, "head": 8}
    parts = {"layer": "dense", "recurrence": "none", "features": "pair", "backbone": "light", "K": 1.0, "M": 1.0}
    model = build(ModelConfig(**parts, **sizes, advance="residual", skips=False), SPEC).eval()
    with torch.no_grad():
        model.reward.layers[-1].weight.normal_()
    agent = Expecting(PlanningAgent(model, Counting()))
    generator, frame = torch.Generator().manual_seed(0), np.zeros((16, 16, 3), np.uint8)
    taken = []
    for decisions in (3, 2):
        agent.reset(frame)
        assert agent.expected == []
        for _ in range(decisions):
            taken.append(agent.act(generator))
            agent.observe(taken[-1], frame, generator)
        noted = agent.expected
        assert len(noted) == decisions
    state = model.initial(torch.zeros(1, 1, 3, 16, 16, dtype=torch.uint8), torch.zeros(1, 0, 1))
    with torch.no_grad():
        promised = [imagined_return(model, state, torch.full((1, 2, 1), 1 / n), means).item() for n in (4,)]
    assert noted[0] == pytest.approx(promised[0]) and noted[0] != noted[1] and abs(noted[0]) > 1e-4
    assert np.stack(taken)[:, 0].tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    assert abs(float(agent.act(generator, 0.5)[0]) - 1 / 6) > 1e-3  # exploration is handed on


def test_what_came_is_known_until_a_truncation_cuts_it_off() -> None:
    assert realised_returns(episode([1, 2, 4, 8]), 2) == [3, 6, 12, None]
    assert realised_returns(episode([1, 2, 4, 8], terminated=True), 3) == [7, 14, 12, 8]
    assert realised_returns(episode([1, 2]), 3) == [None, None]
