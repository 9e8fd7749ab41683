"""What every planner takes and gives, and the choice of elites that they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from worldmodel.errors import ConfigError, WorldModelError

Score = Callable[[Tensor], Tensor]
"""Candidates (n, h, a) to returns (n,), higher wins; a non-finite return loses to every finite one."""


@dataclass(frozen=True)
class Plan:
    """What a search found for the next h decisions.

    Attributes:
        actions: to execute, (h, a), within the bounds.
        mean: of the final search distribution, (h, a): the actions themselves, or probabilities of each choice.
        elites: the candidates of the last iteration that shaped it, (m, h, a), best first.
        score: their mean return, weighted as they were; always finite.
    """

    actions: Tensor
    mean: Tensor
    elites: Tensor
    score: float

    def shifted(self) -> Plan:
        """Where to start the next decision's search: the same without the first step, and the last one twice.

        The step that newly comes into view has no estimate yet. Repeating its neighbour is valid for vectors and for
        probabilities alike, where zeros would be neither a distribution nor, for a plan at a bound, a likely guess.
        """

        def shift(x: Tensor) -> Tensor:
            return torch.cat([x[..., 1:, :], x[..., -1:, :]], -2)

        return Plan(shift(self.actions), shift(self.mean), shift(self.elites), self.score)


class Planner(Protocol):
    """Looks for the actions that score best. Everything random comes from the generator."""

    @property
    def horizon(self) -> int:
        """h: decisions looked ahead, each after action repeat."""

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
        """Searches between `low` and `high`, each (a,), from the last decision's plan shifted, or afresh.

        `proposals` (m, h, a), as of a policy, are scored beside the candidates of every iteration.

        Raises WorldModelError when no candidate of an iteration has a finite score, or the shapes do not fit.
        """


def finite_elites(scores: Tensor, elites: int) -> Tensor:
    """Rows of the best `elites` scores of (n,), best first; fewer when fewer are finite, ties to the earlier row.

    Raises WorldModelError when none is finite.
    """
    finite = scores.isfinite()
    count = int(finite.sum())
    if count == 0:
        nans = int(scores.isnan().sum())
        raise WorldModelError(
            f"none of {len(scores)} candidates has a finite score ({nans} are NaN, {len(scores) - nans} infinite): "
            "the model has probably diverged; go back to an earlier checkpoint or lower its learning rate"
        )
    ranked = torch.where(finite, scores, -torch.inf).sort(descending=True, stable=True).indices
    return ranked[: min(elites, count)]


def joined(candidates: Tensor, proposals: Tensor | None) -> Tensor:
    """Candidates (n, h, a) and below them proposals (m, h, a), if there are any."""
    return candidates if proposals is None else torch.cat([candidates, proposals])


def check_warm_start(warm_start: Plan, horizon: int, action_size: int) -> None:
    """Raises WorldModelError unless the plan's mean is finite and (horizon, action_size)."""
    if tuple(warm_start.mean.shape) != (horizon, action_size):
        raise WorldModelError(
            f"the warm start is {tuple(warm_start.mean.shape)}, the plan {(horizon, action_size)}: "
            "warm-start from a plan of the same planner and environment"
        )
    if not warm_start.mean.isfinite().all():
        raise WorldModelError("the warm start is not finite: start without one")


def first_mean(warm_start: Plan | None, horizon: int, low: Tensor) -> Tensor:
    """Where a Gaussian search begins, (horizon, a): at the warm start's mean, or at zero; `low` is (a,).

    Raises WorldModelError when the warm start does not fit.
    """
    if warm_start is None:
        return torch.zeros(horizon, len(low), device=low.device)
    check_warm_start(warm_start, horizon, len(low))
    return warm_start.mean


def check_counts(**counts: int) -> None:
    """Raises ConfigError unless each is a whole number of at least 1, and `elites` do not exceed `candidates`."""
    for name, value in counts.items():
        if type(value) is not int or value < 1:
            raise ConfigError(f"{name} is {value!r}: set planner.{name} to a whole number >= 1")
    elites, candidates = counts.get("elites", 0), counts["candidates"]
    if elites > candidates:
        raise ConfigError(f"elites ({elites}) exceed candidates ({candidates}): set planner.elites <= {candidates}")
