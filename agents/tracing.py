"""A planner whose searches can be looked at: what was tried in each iteration, and what it scored."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.planners import Plan, Planner, Score


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
