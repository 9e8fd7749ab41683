"""A planner from one decision to the next: what both the model's and the simulator's agents search with."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.planners.planner import Plan, Planner, Score
from worldmodel.spec import EnvSpec


class Search:
    """Looks for actions decision after decision; each search begins where the last one ended, one step on.

    Args:
        planner: what searches.
        spec: whose actions.
        device: where candidates are scored.

    Attributes:
        plan: what the last search found; None before the first of an episode and once its first action was executed.
    """

    def __init__(self, planner: Planner, spec: EnvSpec, *, device: torch.device) -> None:
        self._planner = planner
        self._high = torch.ones(spec.action_size, device=device)
        self._low = -self._high if spec.action_kind == "box" else torch.zeros_like(self._high)
        self._start: Plan | None = None
        self.plan: Plan | None = None

    def reset(self) -> None:
        """A new episode: nothing is known of it."""
        self._start = self.plan = None

    def find(self, score: Score, generator: torch.Generator, *, proposals: Tensor | None = None) -> Plan:
        """The best actions from here on; raises WorldModelError when no candidate has a finite score."""
        self.plan = self._planner.plan(
            score, self._low, self._high, warm_start=self._start, generator=generator, proposals=proposals
        )
        return self.plan

    def advance(self) -> None:
        """An action was executed: what the plan says of the rest is where the next search begins.

        Without a plan for the step just taken there is nothing to shift: the next search starts afresh.
        """
        self._start = self.plan.shifted() if self.plan is not None else None
        self.plan = None
