"""A traced search finds what it would have found, and tells how."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agents.planners import CEM, ICEM, MPPI, Planner
from agents.tracing import Tracing

LOW, HIGH = -torch.ones(1), torch.ones(1)


def score(candidates: Tensor) -> Tensor:
    return -(candidates - 0.3).square().sum((1, 2))


@pytest.mark.parametrize(
    "planner",
    [
        CEM(horizon=3, candidates=40, iterations=4, elites=5),
        ICEM(horizon=3, candidates=40, iterations=4, elites=5),
        MPPI(horizon=3, candidates=40, iterations=4),
    ],
    ids=["cem", "icem", "mppi"],
)
def test_it_finds_the_same_plan_and_notes_every_iteration(planner: Planner) -> None:
    tracing = Tracing(planner)
    proposals = torch.zeros(2, 3, 1)
    plain, traced = (
        search.plan(score, LOW, HIGH, warm_start=None, generator=torch.Generator().manual_seed(0), proposals=proposals)
        for search in (planner, tracing)
    )
    assert torch.equal(plain.actions, traced.actions) and torch.equal(plain.elites, traced.elites)
    assert tracing.horizon == 3 and len(tracing.iterations) == 4
    for iteration in tracing.iterations:
        assert torch.equal(score(iteration.candidates), iteration.scores)
    first, *_, last = (iteration.candidates.std().item() for iteration in tracing.iterations)
    assert last < first / 2
    tracing.plan(score, LOW, HIGH, warm_start=plain.shifted(), generator=torch.Generator().manual_seed(1))
    assert len(tracing.iterations) == 4  # of the last search alone
