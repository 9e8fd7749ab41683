"""Model predictive path integral control (MPPI, Williams et al. 2017): every candidate counts by its return."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.planners.planner import Plan, Score, check_counts, finite_elites, first_mean, joined
from worldmodel.errors import check_number


@dataclass(frozen=True)
class MPPI:
    """Refits a Gaussian to candidates weighted by the exponential of their returns, and executes its mean.

    Weights are exp((return - best) / (temperature x std of the returns)): with the deviation in it a temperature means
    the same whatever the scale of the rewards. Means and deviations are refitted in each iteration, as TD-MPC does
    (Hansen et al. 2022, section 3), but to all candidates rather than the best; Williams et al. keep the deviation, and
    add a cost of control that is left out here.

    Attributes:
        horizon: decisions looked ahead.
        candidates: sequences scored in each iteration.
        iterations: of sampling, scoring and refitting.
        temperature: in deviations of the returns; towards 0 only the best candidate counts, large ones count all alike.
        initial_std: of every action at the first iteration, in units of the action.
        least_std: that the refit never goes below.

    Raises:
        ConfigError: the numbers cannot work together.
    """

    horizon: int
    candidates: int
    iterations: int
    temperature: float = 0.3
    initial_std: float = 1.0
    least_std: float = 0.05

    def __post_init__(self) -> None:
        check_counts(horizon=self.horizon, candidates=self.candidates, iterations=self.iterations)
        for name in ("temperature", "initial_std", "least_std"):
            check_number(f"planner.{name}", getattr(self, name), above=0)

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
        """The weighted mean (h, a) between `low` and `high` (a,); the first mean is `warm_start`'s, or zero.

        Candidates with a non-finite score weigh nothing. Raises WorldModelError when no candidate of an iteration is
        finite, or `warm_start` does not fit.
        """
        h, a = self.horizon, len(low)
        mean = first_mean(warm_start, h, low)
        std = torch.full_like(mean, self.initial_std)
        for _ in range(self.iterations):
            # Drawn where the generator lives: a CPU generator gives the same plan whatever device scores it.
            noise = torch.randn(self.candidates, h, a, generator=generator, device=generator.device).to(low.device)
            candidates = joined((mean + std * noise).clamp(low, high), proposals)
            scores = score(candidates)
            ranked = finite_elites(scores, len(scores))
            candidates, scores = candidates[ranked], scores[ranked]
            spread = scores.std(correction=0).clamp_min(1e-8)  # equal scores have equal weights
            weights = ((scores - scores[0]) / spread / self.temperature).softmax(0)[:, None, None]
            mean = (weights * candidates).sum(0).clamp(low, high)  # rounding may leave the bounds
            std = (weights * (candidates - mean).square()).sum(0).sqrt().clamp_min(self.least_std)
        return Plan(actions=mean, mean=mean, elites=candidates, score=float((weights[:, 0, 0] * scores).sum()))
