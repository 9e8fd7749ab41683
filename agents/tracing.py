"""Planning that can be looked at: what a search tried, what it scored, and what the best of it would show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agents.expectation import Expecting
from agents.planners import Plan, Planner, Score
from agents.planning import PlanningAgent
from worldmodel.pictures.search import Searched


@dataclass(frozen=True, eq=False)
class Iteration:
    """What one iteration of a search tried.

    Attributes:
        candidates: (n, h, a), proposals included.
        scores: (n,), as the planner saw them; not all need be finite.
    """

    candidates: Tensor
    scores: Tensor


class Tracing:
    """A `Planner` that finds what another finds, and notes how.

    Attributes:
        iterations: of the last search.
    """

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self.iterations: list[Iteration] = []

    @property
    def horizon(self) -> int:
        """The other planner's."""
        return self._planner.horizon

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
        """The other planner's plan."""
        self.iterations = []

        def noted(candidates: Tensor) -> Tensor:
            scores = score(candidates)
            self.iterations.append(Iteration(candidates, scores))
            return scores

        return self._planner.plan(noted, low, high, warm_start=warm_start, generator=generator, proposals=proposals)


class Watched:
    """A planning agent, an `Actor` like it, whose searches are noted.

    Args:
        agent: plans with `tracing`.
        elites: best plans whose futures are drawn.
        columns: moments of each future that are drawn at most, evenly spaced, with the last.

    Attributes:
        searches: of each decision of the present episode.
    """

    def __init__(self, agent: PlanningAgent, tracing: Tracing, *, elites: int, columns: int) -> None:
        self._agent = agent
        self._expecting = Expecting(agent)
        self._tracing = tracing
        self._elites = elites
        horizon = tracing.horizon
        self._ahead = np.unique(np.linspace(1, horizon, min(columns, horizon)).round().astype(int))
        if columns == 1:
            self._ahead = np.array([horizon])
        self.searches: list[Searched] = []

    @property
    def expected(self) -> list[float]:
        """As `Expecting.expected`."""
        return self._expecting.expected

    def reset(self, frame: np.ndarray) -> None:
        """An episode begins."""
        self._expecting.reset(frame)
        self._frame = frame
        self.searches = []

    def act(self, generator: torch.Generator, exploration: float = 0.0) -> np.ndarray:
        """The agent's action (a,)."""
        action = self._expecting.act(generator, exploration)
        plan = self._agent.plan
        assert plan is not None
        frames, returns = self._agent.futures(plan.elites[: self._elites])
        self.searches.append(
            Searched(
                frame=np.array(self._frame),
                futures=frames[:, self._ahead - 1],
                returns=returns,
                ahead=self._ahead,
                scores=[_finite(iteration) for iteration in self._tracing.iterations],
                spreads=np.stack([_spread(iteration) for iteration in self._tracing.iterations]),
            )
        )
        return action

    def observe(self, action: np.ndarray, frame: np.ndarray, generator: torch.Generator) -> None:
        """The agent sees it too."""
        self._expecting.observe(action, frame, generator)
        self._frame = frame


def _finite(iteration: Iteration) -> np.ndarray:
    scores = iteration.scores.float()
    return scores[scores.isfinite()].cpu().numpy()


def _spread(iteration: Iteration) -> np.ndarray:
    """Of each decision's actions over candidates, (h,)."""
    return iteration.candidates.float().var(0, correction=0).mean(-1).sqrt().cpu().numpy()
