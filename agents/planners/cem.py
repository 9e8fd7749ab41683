"""The cross-entropy method for continuous actions, as PlaNet plans (Hafner et al. 2019, Algorithm 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.planners.planner import Plan, Score, check_counts, finite_elites, first_mean, joined
from worldmodel.errors import check_number

# Elites that agree exactly, or a lone finite one, must not end the search: PlaNet adds this to the variance.
VARIANCE_FLOOR = 1e-6


@dataclass(frozen=True)
class CEM:
    """Samples action sequences, refits a diagonal Gaussian to the best, repeats, and executes its mean.

    Attributes:
        horizon: decisions looked ahead (PlaNet: 12).
        candidates: sequences scored in each iteration (PlaNet: 1000).
        iterations: of sampling, scoring and refitting (PlaNet: 10).
        elites: best candidates that the Gaussian is refitted to (PlaNet: 100).
        initial_std: of every action at the first iteration, in units of the action (PlaNet: 1).

    Raises:
        ConfigError: the numbers cannot work together.
    """

    horizon: int
    candidates: int
    iterations: int
    elites: int
    initial_std: float = 1.0

    def __post_init__(self) -> None:
        check_counts(horizon=self.horizon, candidates=self.candidates, iterations=self.iterations, elites=self.elites)
        check_number("planner.initial_std", self.initial_std, above=0)

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
        """The best h actions (h, a) between `low` and `high` (a,); the first mean is `warm_start`'s, or zero.

        Candidates with a non-finite score never enter the refit; fewer elites are then used. Raises WorldModelError
        when no candidate of an iteration is finite, or `warm_start` does not fit.
        """
        h, a = self.horizon, len(low)
        mean = first_mean(warm_start, h, low)
        std = torch.full_like(mean, self.initial_std)
        for _ in range(self.iterations):
            # Drawn where the generator lives: a CPU generator gives the same plan whatever device scores it.
            noise = torch.randn(self.candidates, h, a, generator=generator, device=generator.device).to(low.device)
            candidates = joined((mean + std * noise).clamp(low, high), proposals)
            scores = score(candidates)
            best = finite_elites(scores, self.elites)
            mean = candidates[best].mean(0).clamp(low, high)  # rounding may leave the bounds
            std = (candidates[best].var(0, correction=0) + VARIANCE_FLOOR).sqrt()
        return Plan(actions=mean, mean=mean, elites=candidates[best], score=float(scores[best].mean()))
