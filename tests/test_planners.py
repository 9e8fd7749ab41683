"""Planners find known answers, keep to their bounds, and never trust a score that is not finite."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from agents.planners import CEM, CategoricalCEM, Plan, Planner, make_planner
from agents.planners.planner import finite_elites
from worldmodel.errors import ConfigError, WorldModelError
from worldmodel.spec import EnvSpec

BOX = EnvSpec("point", "reach", "box", 2, (-1.0, -1.0), (1.0, 1.0), 1, 0, (16, 16))
DISCRETE = EnvSpec("keys", "Keys-v0", "discrete", 4, (), (), 1, 0, (16, 16))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def box_plan(planner: Planner, score, a: int = 1, *, warm_start: Tensor | None = None, seed: int = 0) -> Plan:
    return planner.plan(score, -torch.ones(a), torch.ones(a), warm_start=warm_start, generator=seeded(seed))


def one_hot_plan(planner: Planner, score, a: int, *, warm_start: Tensor | None = None, seed: int = 0) -> Plan:
    return planner.plan(score, torch.zeros(a), torch.ones(a), warm_start=warm_start, generator=seeded(seed))


def distance_to(target: Tensor):
    """Minus the squared distance of candidates (n, h, a) to (h, a)."""
    return lambda candidates: -(candidates - target).square().sum((1, 2))


@pytest.mark.parametrize(("horizon", "size"), [(1, 1), (3, 2), (6, 4)])
def test_cem_finds_the_peak(horizon: int, size: int) -> None:
    planner = CEM(horizon=horizon, candidates=400, iterations=20, elites=40)
    plan = box_plan(planner, distance_to(torch.full((horizon, size), 0.3)), size)
    assert plan.actions.shape == (horizon, size)
    torch.testing.assert_close(plan.actions, torch.full((horizon, size), 0.3), atol=0.01, rtol=0)
    assert -1e-3 < plan.score <= 0


def test_cem_tells_the_steps_of_a_plan_apart() -> None:
    target = torch.tensor([[-0.8, 0.1], [0.5, 0.9], [0.0, -0.4]])
    plan = box_plan(CEM(horizon=3, candidates=400, iterations=12, elites=40), distance_to(target), 2)
    torch.testing.assert_close(plan.actions, target, atol=0.02, rtol=0)


def test_cem_scores_only_what_lies_within_unequal_bounds() -> None:
    low, high = torch.tensor([-0.5, 0.0]), torch.tensor([0.25, 2.0])
    seen = []

    def score(candidates: Tensor) -> Tensor:
        seen.append(candidates)
        return candidates.sum((1, 2))

    planner = CEM(horizon=2, candidates=400, iterations=8, elites=40)
    plan = planner.plan(score, low, high, warm_start=None, generator=seeded())
    drawn = torch.cat(seen)
    assert len(drawn) == 8 * 400
    assert (drawn >= low).all() and (drawn <= high).all()
    torch.testing.assert_close(plan.actions, high.expand(2, 2), atol=0.02, rtol=0)


def test_cem_starts_from_a_standard_normal_or_the_warm_start() -> None:
    seen = []

    def score(candidates: Tensor) -> Tensor:
        seen.append(candidates)
        return candidates.sum((1, 2))

    wide, planner = torch.tensor([100.0]), CEM(horizon=2, candidates=4000, iterations=1, elites=400)
    planner.plan(score, -wide, wide, warm_start=None, generator=seeded())
    planner.plan(score, -wide, wide, warm_start=torch.tensor([[5.0], [-5.0]]), generator=seeded())
    torch.testing.assert_close(seen[0].mean(0), torch.zeros(2, 1), atol=0.06, rtol=0)
    torch.testing.assert_close(seen[1].mean(0), torch.tensor([[5.0], [-5.0]]), atol=0.06, rtol=0)
    for candidates in seen:
        torch.testing.assert_close(candidates.std(0), torch.ones(2, 1), atol=0.06, rtol=0)


def test_a_warm_start_at_the_answer_needs_less_search() -> None:
    target = torch.full((8, 2), 0.9)
    planner = CEM(horizon=8, candidates=32, iterations=2, elites=4)
    cold = box_plan(planner, distance_to(target), 2)
    warm = box_plan(planner, distance_to(target), 2, warm_start=target)
    assert warm.score > cold.score / 2  # both negative


def test_a_shifted_plan_drops_the_first_step_and_repeats_the_last() -> None:
    plan = Plan(actions=torch.zeros(3, 1), mean=torch.tensor([[1.0], [2.0], [3.0]]), score=0.0)
    assert plan.shifted().tolist() == [[2.0], [3.0], [3.0]]


@pytest.mark.parametrize(("elites", "at_least"), [(20, -0.05), (180, -0.5)])  # fewer and more than are ever finite
def test_nan_scores_never_enter_the_refit(elites: int, at_least: float) -> None:
    """The score rises towards zero and is NaN beyond it: the plan must stay on the side that has scores."""

    def score(candidates: Tensor) -> Tensor:
        x = candidates[:, 0, 0]
        return torch.where(x > 0, torch.nan, x)

    plan = box_plan(CEM(horizon=1, candidates=200, iterations=10, elites=elites), score)
    assert at_least < plan.actions.item() <= 0
    assert plan.score <= 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_one_finite_candidate_is_the_only_elite(bad: float) -> None:
    drawn = []

    def score(candidates: Tensor) -> Tensor:
        drawn.append(candidates)
        return torch.full((len(candidates),), bad).index_fill(0, torch.tensor([7]), -1e9)

    plan = box_plan(CEM(horizon=2, candidates=20, iterations=1, elites=5), score)
    assert torch.equal(plan.actions, drawn[0][7])
    assert plan.score == -1e9


def test_no_finite_candidate_is_an_error_with_counts() -> None:
    def score(candidates: Tensor) -> Tensor:
        scores = torch.full((len(candidates),), torch.nan)
        scores[:3] = torch.inf
        return scores

    with pytest.raises(WorldModelError, match=r"none of 20 candidates .*17 are NaN, 3 infinite"):
        box_plan(CEM(horizon=2, candidates=20, iterations=3, elites=5), score)
    with pytest.raises(WorldModelError, match="none of 20 candidates"):
        one_hot_plan(CategoricalCEM(horizon=2, candidates=20, iterations=3, elites=5), score, 3)


def test_elites_are_the_best_finite_rows_with_ties_to_the_earlier() -> None:
    scores = torch.tensor([1.0, torch.nan, 3.0, torch.inf, 3.0, -torch.inf, 2.0])
    assert finite_elites(scores, 3).tolist() == [2, 4, 6]
    assert finite_elites(scores, 7).tolist() == [2, 4, 6, 0]


def test_categorical_finds_the_best_sequence() -> None:
    best = torch.tensor([2, 0, 3, 3, 1])

    def score(candidates: Tensor) -> Tensor:
        return (candidates.argmax(-1) == best).float().sum(-1)

    plan = one_hot_plan(CategoricalCEM(horizon=5, candidates=200, iterations=6, elites=20), score, 4)
    assert plan.actions.argmax(-1).tolist() == best.tolist()
    assert torch.equal(plan.actions.sum(-1), torch.ones(5)) and plan.actions.max() == 1
    assert plan.score > 4.8


def test_categorical_scores_one_hot_candidates_and_no_choice_dies_out() -> None:
    def score(candidates: Tensor) -> Tensor:
        assert candidates.shape == (100, 3, 4)
        assert torch.equal(candidates.sum(-1), torch.ones(100, 3)) and set(candidates.unique().tolist()) == {0.0, 1.0}
        return candidates[..., 0].sum(-1)

    plan = one_hot_plan(CategoricalCEM(horizon=3, candidates=100, iterations=10, elites=10, smoothing=0.5), score, 4)
    torch.testing.assert_close(plan.mean.sum(-1), torch.ones(3))
    # All ten elites agree: (0 + 0.5) / (10 + 4 * 0.5) is left for each of the others.
    torch.testing.assert_close(plan.mean[:, 1:], torch.full((3, 3), 0.5 / 12))


def test_categorical_warm_start_counts_for_half() -> None:
    seen = []

    def score(candidates: Tensor) -> Tensor:
        seen.append(candidates)
        return candidates.sum((1, 2))

    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    planner = CategoricalCEM(horizon=2, candidates=4000, iterations=1, elites=400)
    one_hot_plan(planner, score, 2, warm_start=certain)
    torch.testing.assert_close(seen[0].mean(0), torch.tensor([[0.75, 0.25], [0.25, 0.75]]), atol=0.03, rtol=0)


def test_categorical_nan_scores_never_enter_the_refit() -> None:
    def score(candidates: Tensor) -> Tensor:
        value = candidates[..., 1].sum(-1)
        return torch.where(candidates[:, 0, 2] == 1, torch.nan, value)

    plan = one_hot_plan(CategoricalCEM(horizon=2, candidates=60, iterations=1, elites=60), score, 3)
    assert plan.mean[0, 2] == plan.mean[0].min() < 0.01 < plan.mean[1, 2]


@pytest.mark.parametrize("planner", [CEM(3, 50, 4, 5), CategoricalCEM(3, 50, 4, 5)])
def test_the_generator_decides_the_plan(planner: Planner) -> None:
    def plan(seed: int) -> Tensor:
        return one_hot_plan(planner, lambda candidates: -(candidates - 0.4).square().sum((1, 2)), 3, seed=seed).mean

    torch.manual_seed(1)
    first = plan(5)
    torch.manual_seed(2)
    assert torch.equal(first, plan(5))
    assert not torch.equal(first, plan(6))


@pytest.mark.parametrize("kind", [CEM, CategoricalCEM])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"elites": 200}, r"elites \(200\) exceed candidates \(100\): set planner.elites <= 100"),
        ({"horizon": 0}, "horizon is 0: set planner.horizon to a whole number >= 1"),
        ({"iterations": 2.5}, "iterations is 2.5"),
        ({"elites": 0}, "elites is 0"),
        ({"candidates": None}, "candidates is None"),
    ],
)
def test_counts_that_cannot_work_are_errors(kind: type, change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**{"horizon": 12, "candidates": 100, "iterations": 4, "elites": 10, **change})


def test_spreads_that_cannot_work_are_errors() -> None:
    with pytest.raises(ConfigError, match="initial_std is 0"):
        CEM(3, 10, 2, 2, initial_std=0)
    with pytest.raises(ConfigError, match="initial_std is nan"):
        CEM(3, 10, 2, 2, initial_std=float("nan"))
    with pytest.raises(ConfigError, match="smoothing is 0"):
        CategoricalCEM(3, 10, 2, 2, smoothing=0)


@pytest.mark.parametrize("warm_start", [torch.zeros(2, 1), torch.zeros(3, 2), torch.full((3, 1), torch.nan)])
@pytest.mark.parametrize("planner", [CEM(3, 10, 2, 2), CategoricalCEM(3, 10, 2, 2)])
def test_a_warm_start_that_does_not_fit_is_an_error(planner: Planner, warm_start: Tensor) -> None:
    with pytest.raises(WorldModelError, match="the warm start is"):
        box_plan(planner, lambda candidates: candidates.sum((1, 2)), warm_start=warm_start)


def test_the_shipped_config_makes_a_planner_for_either_kind_of_action() -> None:
    config = OmegaConf.load(Path(__file__).parents[1] / "configs" / "planner" / "cem.yaml")
    assert make_planner(config, BOX) == CEM(horizon=12, candidates=128, iterations=4, elites=13)
    assert make_planner(config, DISCRETE) == CategoricalCEM(horizon=12, candidates=128, iterations=4, elites=13)


def test_a_planner_config_says_what_it_does_not_know_and_what_it_lacks() -> None:
    config = {"horizon": 12, "candidates": 128, "iterations": 4, "elites": 13}
    assert make_planner({**config, "initial_std": 0.5}, BOX) == CEM(12, 128, 4, 13, initial_std=0.5)
    with pytest.raises(ConfigError, match="does not know elite: its settings are horizon, candidates"):
        make_planner({**config, "elite": 13}, BOX)
    with pytest.raises(ConfigError, match="for discrete actions does not know initial_std"):
        make_planner({**config, "initial_std": 0.5}, DISCRETE)
    with pytest.raises(ConfigError, match=r"lacks iterations, elites: set planner.iterations"):
        make_planner({"horizon": 12, "candidates": 128}, BOX)
