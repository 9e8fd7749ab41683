"""A search begins where the last one ended, one step on; what each shipped planner asks to have scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from agents.planners import Plan, make_planner
from agents.planners.planner import Score
from agents.search import Search
from worldmodel.errors import WorldModelError
from worldmodel.spec import EnvSpec

BOX = EnvSpec("line", "reach", "box", 1, (-2.0,), (2.0,), 1, 0, (16, 16))
DISCRETE = replace(BOX, action_kind="discrete", action_size=3, action_low=(), action_high=())
PLANNERS = Path(__file__).resolve().parent.parent / "configs" / "planner"


class Numbered:
    """A planner whose n-th plan holds 10n + 1, 10n + 2, 10n + 3; it notes its arguments."""

    horizon = 3

    def __init__(self) -> None:
        self.starts: list[Plan | None] = []
        self.bounds: list[tuple[list[float], list[float]]] = []

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
        self.starts.append(warm_start)
        self.bounds.append((low.tolist(), high.tolist()))
        actions = 10.0 * len(self.starts) + torch.arange(1.0, 4.0)[:, None]
        return Plan(actions, actions + 100, torch.stack([actions, -actions]), score=5.0)


def searching(spec: EnvSpec = BOX) -> tuple[Search, Numbered]:
    planner = Numbered()
    return Search(planner, spec, device=torch.device("cpu")), planner


def find(search: Search) -> Plan:
    return search.find(lambda candidates: torch.zeros(len(candidates)), torch.Generator())


def test_the_next_search_begins_where_the_last_ended_one_step_on() -> None:
    search, planner = searching()
    first = find(search)
    assert search.plan is first and first.actions.flatten().tolist() == [11, 12, 13]
    search.advance()
    assert search.plan is None
    find(search)
    assert planner.starts[0] is None
    start = planner.starts[1]
    assert start is not None
    assert start.actions.flatten().tolist() == [12, 13, 13]
    assert start.mean.flatten().tolist() == [112, 113, 113]
    assert start.elites[..., 0].tolist() == [[12, 13, 13], [-12, -13, -13]]


def test_until_an_action_is_executed_a_search_begins_where_it_did() -> None:
    search, planner = searching()
    find(search)
    search.advance()
    find(search)
    find(search)
    assert planner.starts[1] is planner.starts[2] is not None
    search.advance()
    find(search)
    assert planner.starts[3] is not None and planner.starts[3].actions.flatten().tolist() == [32, 33, 33]


def test_a_new_episode_and_a_step_without_a_plan_start_afresh() -> None:
    search, planner = searching()
    find(search)
    search.advance()
    search.reset()
    find(search)
    search.reset()
    assert search.plan is None
    find(search)
    search.advance()
    search.advance()  # an action that was not planned for
    find(search)
    assert planner.starts == [None] * 4


def test_actions_are_searched_between_the_bounds_of_their_kind() -> None:
    """The environment's own bounds, here -2 and 2, are no concern of it."""
    for spec, bounds in ((BOX, ([-1], [1])), (DISCRETE, ([0, 0, 0], [1, 1, 1]))):
        search, planner = searching(spec=spec)
        find(search)
        assert planner.bounds == [bounds]


EQUAL_SAMPLES = [
    ("cem", {"candidates": 32, "iterations": 3, "elites": 6}, 96, 96),
    ("mppi", {"candidates": 32, "iterations": 3}, 96, 96),
    ("random_shooting", {"candidates": 96}, 96, 96),
    # 36, 29 and 23 drawn; two elites kept in the second and third, and in the first from the last decision; the mean.
    ("icem", {"candidates": 36, "iterations": 3, "elites": 6}, 36 + 31 + 26, 38 + 31 + 26),
]


@pytest.mark.parametrize(("name", "settings", "first", "warm"), EQUAL_SAMPLES)
def test_each_planner_scores_as_many_candidates_at_equal_samples(
    name: str, settings: dict[str, Any], first: int, warm: int
) -> None:
    config = OmegaConf.to_container(OmegaConf.merge(OmegaConf.load(PLANNERS / f"{name}.yaml"), settings))
    assert isinstance(config, dict)
    search = Search(make_planner(config, BOX, horizon=12), BOX, device=torch.device("cpu"))
    generator, counts = torch.Generator().manual_seed(0), []

    def score(candidates: Tensor) -> Tensor:
        n, h, a = candidates.shape
        assert (h, a) == (12, 1)
        counts[-1] += n
        return -candidates.square().sum((1, 2))

    for _ in range(3):
        counts.append(0)
        search.find(score, generator)
        search.advance()
    assert counts == [first, warm, warm]


def test_a_search_that_finds_nothing_finite_is_an_error() -> None:
    config = {"kind": "random_shooting", "horizon": 2, "candidates": 4}
    search = Search(make_planner(config, BOX, horizon=12), BOX, device=torch.device("cpu"))
    with pytest.raises(WorldModelError, match="none of 4 candidates has a finite score"):
        search.find(lambda candidates: torch.full((len(candidates),), torch.nan), torch.Generator())
    assert search.plan is None
