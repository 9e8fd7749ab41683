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
        score: mean return of the last iteration's elites, always finite.
    """

    actions: Tensor
    mean: Tensor
    score: float

    def shifted(self) -> Tensor:
        """Where to start the next decision's search: the mean (h, a) without its first step, its last one twice.

        The step that newly comes into view has no estimate yet. Repeating its neighbour is valid for vectors and for
        probabilities alike, where zeros would be neither a distribution nor, for a plan at a bound, a likely guess.
        """
        return torch.cat([self.mean[1:], self.mean[-1:]])


class Planner(Protocol):
    """Looks for the actions that score best. Everything random comes from the generator."""

    @property
    def horizon(self) -> int:
        """h: decisions looked ahead, each after action repeat."""

    def plan(
        self, score: Score, low: Tensor, high: Tensor, *, warm_start: Tensor | None, generator: torch.Generator
    ) -> Plan:
        """Searches between `low` and `high`, each (a,), from `warm_start` (h, a) or from the planner's own start.

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


def check_warm_start(warm_start: Tensor, horizon: int, action_size: int) -> None:
    """Raises WorldModelError unless `warm_start` is finite and (horizon, action_size)."""
    if tuple(warm_start.shape) != (horizon, action_size):
        raise WorldModelError(
            f"the warm start is {tuple(warm_start.shape)}, the plan {(horizon, action_size)}: "
            "warm-start from a plan of the same planner and environment"
        )
    if not warm_start.isfinite().all():
        raise WorldModelError("the warm start is not finite: start without one")


def check_counts(*, horizon: int, candidates: int, iterations: int, elites: int) -> None:
    """Raises ConfigError unless every count is a whole number of at least 1 and the elites are among the candidates."""
    counts = {"horizon": horizon, "candidates": candidates, "iterations": iterations, "elites": elites}
    for name, value in counts.items():
        if type(value) is not int or value < 1:
            raise ConfigError(f"{name} is {value!r}: set planner.{name} to a whole number >= 1")
    if elites > candidates:
        raise ConfigError(f"elites ({elites}) exceed candidates ({candidates}): set planner.elites <= {candidates}")
