"""The improved cross-entropy method (iCEM, Pinneri et al. 2020): CEM that needs several times fewer samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.planners.noise import coloured_noise
from agents.planners.planner import Plan, Score, check_counts, finite_elites, first_mean, joined
from worldmodel.errors import ConfigError, check_number


@dataclass(frozen=True)
class ICEM:
    """CEM with noise that is correlated in time and elites that outlive their iteration; executes the best sequence.

    Kept elites are scored anew in each iteration, so that luck does not last. What a decision hands to the next is
    shifted as `Plan.shifted` does, its last action repeated, where the paper draws one for the elites.

    Attributes:
        horizon: decisions looked ahead.
        candidates: sequences drawn in the first iteration.
        iterations: of sampling, scoring and refitting.
        elites: best candidates that the Gaussian is refitted to.
        beta: exponent of the noise's spectrum, 0 for white noise; the paper takes 0.25 to 4, the more the slower a
            task's motions.
        decay: each iteration draws so many times fewer than the one before, but never fewer than twice the elites.
        keep: share of the elites that enters the next iteration, and, a step on, the next decision's first one.
        momentum: share of the old mean and deviation in the new.
        initial_std: of every action at the first iteration, in units of the action.

    Raises:
        ConfigError: the numbers cannot work together.
    """

    horizon: int
    candidates: int
    iterations: int
    elites: int
    beta: float = 0.25
    decay: float = 1.25
    keep: float = 0.3
    momentum: float = 0.1
    initial_std: float = 0.5

    def __post_init__(self) -> None:
        check_counts(horizon=self.horizon, candidates=self.candidates, iterations=self.iterations, elites=self.elites)
        check_number("planner.initial_std", self.initial_std, above=0)
        check_number("planner.beta", self.beta, least=0)
        check_number("planner.decay", self.decay, least=1)
        for name in ("keep", "momentum"):
            check_number(f"planner.{name}", getattr(self, name))
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: set planner.{name} to a share in [0, 1)")

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
        """The last iteration's best sequence (h, a) between `low` and `high` (a,); the mean joins its candidates.

        `warm_start` gives the first mean and some first candidates. Candidates with a non-finite score never enter the
        refit. Raises WorldModelError when no candidate of an iteration is finite, or `warm_start` does not fit.
        """
        h, a = self.horizon, len(low)
        kept = round(self.keep * self.elites)
        mean = first_mean(warm_start, h, low)
        survivors = mean[None][:0] if warm_start is None else warm_start.elites[:kept]
        std = torch.full_like(mean, self.initial_std)
        for iteration in range(self.iterations):
            n = max(round(self.candidates * self.decay**-iteration), min(2 * self.elites, self.candidates))
            # Drawn where the generator lives: a CPU generator gives the same plan whatever device scores it.
            noise = coloured_noise(n, h, a, beta=self.beta, generator=generator).to(low.device)
            drawn = (mean + std * noise).clamp(low, high)
            last = mean[None][: iteration == self.iterations - 1]
            candidates = torch.cat([drawn, survivors, last])
            if iteration == 0:  # the best of them survive
                candidates = joined(candidates, proposals)
            scores = score(candidates)
            best = finite_elites(scores, self.elites)
            elites = candidates[best]
            survivors = elites[:kept]
            mean = self.momentum * mean + (1 - self.momentum) * elites.mean(0)
            std = self.momentum * std + (1 - self.momentum) * elites.std(0, correction=0)
        return Plan(actions=elites[0], mean=mean, elites=elites, score=float(scores[best].mean()))
