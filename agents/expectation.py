"""What a planner expects of its plans, beside what then happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from agents.planning import PlanningAgent
from worldmodel.episode import Episode


class Expecting:
    """A planning agent, an `Actor` like it, whose expectations are noted.

    Attributes:
        expected: of each decision of the present episode, `PlanningAgent.expected_return` of its plan.
    """

    def __init__(self, agent: PlanningAgent) -> None:
        self._agent = agent
        self.expected: list[float] = []

    def reset(self, frame: np.ndarray) -> None:
        """An episode begins."""
        self._agent.reset(frame)
        self.expected = []

    def act(self, generator: torch.Generator, exploration: float = 0.0) -> np.ndarray:
        """The agent's action (a,)."""
        action = self._agent.act(generator, exploration)
        self.expected.append(self._agent.expected_return())
        return action

    def observe(self, action: np.ndarray, frame: np.ndarray, generator: torch.Generator) -> None:
        """The agent sees it too."""
        self._agent.observe(action, frame, generator)


@dataclass(frozen=True)
class Expectation:
    """Returns over the horizon, of every decision whose horizon ends before a truncation does: what came is known.

    Attributes:
        decisions: how many.
        expected, realised: their means; None where there is no such decision.
        correlation: between the two over decisions, in [-1, 1]; None where one of them never varies.
    """

    decisions: int
    expected: float | None
    realised: float | None
    correlation: float | None


def realised_returns(episode: Episode, horizon: int) -> list[float | None]:
    """Of each decision, the sum of the `horizon` rewards from there on; None where a truncation cut them off.

    After a termination nothing is earned.
    """
    earned = np.pad(episode.rewards, (0, horizon - 1 if episode.terminated else 0))
    whole = len(earned) - horizon + 1
    known = np.convolve(earned, np.ones(horizon), "valid").tolist() if whole > 0 else []
    return [*known, *[None] * (len(episode) - len(known))]


def compare(expected: Sequence[Sequence[float]], episodes: Sequence[Episode], horizon: int) -> Expectation:
    """What was expected at each decision of some episodes, beside what was realised where that is known."""
    promised: list[float] = []
    came: list[float] = []
    for expectations, episode in zip(expected, episodes, strict=True):
        for promise, value in zip(expectations, realised_returns(episode, horizon), strict=True):
            if value is not None:
                promised.append(promise)
                came.append(value)
    if not promised:
        return Expectation(0, None, None, None)
    varies = min(np.std(promised), np.std(came)) > 1e-8
    correlation = float(np.corrcoef(promised, came)[0, 1]) if varies else None
    return Expectation(len(promised), float(np.mean(promised)), float(np.mean(came)), correlation)
