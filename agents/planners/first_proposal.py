"""No search: what the model's policy would do. It shows what a search adds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.planners.planner import Plan, Score, check_counts, finite_elites
from worldmodel.errors import ConfigError


@dataclass(frozen=True)
class FirstProposal:
    """Executes the first proposal, which is the policy's own plan without noise; for actions of either kind.

    Attributes:
        horizon: decisions that the plan holds; the first is the same for any.

    Raises:
        ConfigError: the horizon cannot be.
    """

    horizon: int

    def __post_init__(self) -> None:
        check_counts(horizon=self.horizon, candidates=1)

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
        """The first of `proposals` (m, h, a); ConfigError without any, WorldModelError when its score is not finite."""
        if proposals is None:
            raise ConfigError(
                "planner=policy has no policy to follow: set model.critics > 0 and no goal, or planner=cem"
            )
        first = proposals[:1]
        scores = score(first)
        finite_elites(scores, 1)
        return Plan(actions=first[0], mean=first[0], elites=first, score=float(scores[0]))
