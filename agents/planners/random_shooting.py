"""Random shooting: the best of many random sequences. The baseline that a search must beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from agents.planners.planner import Plan, Score, check_counts, finite_elites


@dataclass(frozen=True)
class RandomShooting:
    """Scores sequences that are uniform within the bounds, once, and executes the best; nothing is remembered.

    Attributes:
        horizon: decisions looked ahead.
        candidates: sequences scored.

    Raises:
        ConfigError: the numbers cannot work together.
    """

    horizon: int
    candidates: int

    def __post_init__(self) -> None:
        check_counts(horizon=self.horizon, candidates=self.candidates)

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
        """The best h actions (h, a) between `low` and `high` (a,); raises WorldModelError when none is finite.

        Proposals are not looked at: what a search is measured against knows no policy.
        """
        size = (self.candidates, self.horizon, len(low))
        # Drawn where the generator lives: a CPU generator gives the same plan whatever device scores it.
        uniform = torch.rand(size, generator=generator, device=generator.device).to(low.device)
        return _best(score, low + (high - low) * uniform)


@dataclass(frozen=True)
class CategoricalRandomShooting:
    """The same for choices: uniform one-hot sequences.

    Attributes and errors as `RandomShooting`'s.
    """

    horizon: int
    candidates: int

    def __post_init__(self) -> None:
        check_counts(horizon=self.horizon, candidates=self.candidates)

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
        """The best h one-hot actions (h, a); `low` and `high` (a,) are the zeros and ones of one-hot vectors.

        Proposals are not looked at.
        """
        size = (self.candidates, self.horizon)
        chosen = torch.randint(len(low), size, generator=generator, device=generator.device)
        return _best(score, functional.one_hot(chosen, len(low)).to(low))


def _best(score: Score, candidates: Tensor) -> Plan:
    scores = score(candidates)
    best = finite_elites(scores, 1)
    actions = candidates[best[0]]
    return Plan(actions=actions, mean=actions, elites=candidates[best], score=float(scores[best[0]]))
