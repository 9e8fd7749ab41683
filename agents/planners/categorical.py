"""The cross-entropy method for discrete actions: a categorical distribution per step in place of a Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from agents.planners.planner import Plan, Score, check_counts, check_warm_start, finite_elites, joined
from worldmodel.errors import check_number

# A warm start counts for half, a fresh start for the rest: what a fresh std is to a warm-started Gaussian.
WARM_START_WEIGHT = 0.5


@dataclass(frozen=True)
class CategoricalCEM:
    """Samples one-hot action sequences, refits the probabilities of each step to the best, executes the likeliest.

    The update is the cross-entropy method's for discrete variables with additive smoothing (De Boer et al. 2005,
    "A Tutorial on the Cross-Entropy Method").

    Attributes:
        horizon: decisions looked ahead.
        candidates: sequences scored in each iteration.
        iterations: of sampling, scoring and refitting.
        elites: best candidates that the probabilities are refitted to.
        smoothing: imagined elites a choice is granted in every step, so that none dies out.

    Raises:
        ConfigError: the numbers cannot work together.
    """

    horizon: int
    candidates: int
    iterations: int
    elites: int
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        check_counts(horizon=self.horizon, candidates=self.candidates, iterations=self.iterations, elites=self.elites)
        check_number("planner.smoothing", self.smoothing, above=0)

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

        `warm_start`'s probabilities are mixed evenly with uniform ones. Candidates with a non-finite
        score never enter the refit. Raises WorldModelError when no candidate of an iteration is finite, or
        `warm_start` does not fit.
        """
        h, a = self.horizon, len(low)
        probabilities = torch.full((h, a), 1 / a, device=low.device)
        if warm_start is not None:
            check_warm_start(warm_start, h, a)
            probabilities = torch.lerp(probabilities, warm_start.mean, WARM_START_WEIGHT)
        for _ in range(self.iterations):
            # Drawn where the generator lives: a CPU generator gives the same plan whatever device scores it.
            drawn = probabilities.to(generator.device).multinomial(
                self.candidates, replacement=True, generator=generator
            )
            candidates = joined(functional.one_hot(drawn.T, a).to(low), proposals)  # drawn is (h, n)
            scores = score(candidates)
            best = finite_elites(scores, self.elites)
            counts = candidates[best].sum(0)
            probabilities = (counts + self.smoothing) / (len(best) + self.smoothing * a)
        actions = functional.one_hot(probabilities.argmax(-1), a).to(low)
        return Plan(actions=actions, mean=probabilities, elites=candidates[best], score=float(scores[best].mean()))
