"""Planners find known answers, keep to their bounds, and never trust a score that is not finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from agents.planners import (
    CEM,
    ICEM,
    MPPI,
    CategoricalCEM,
    CategoricalRandomShooting,
    FirstProposal,
    Plan,
    Planner,
    RandomShooting,
    make_planner,
)
from agents.planners.noise import coloured_noise
from agents.planners.planner import finite_elites
from worldmodel.errors import ConfigError, WorldModelError
from worldmodel.spec import EnvSpec

BOX = EnvSpec("point", "reach", "box", 2, (-1.0, -1.0), (1.0, 1.0), 1, 0, (16, 16))
DISCRETE = EnvSpec("keys", "Keys-v0", "discrete", 4, (), (), 1, 0, (16, 16))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def starting_at(mean: Tensor) -> Plan:
    """A plan, already shifted, of which only the mean matters."""
    return Plan(actions=mean, mean=mean, elites=mean[None][:0], score=0.0)


def box_plan(planner: Planner, score, a: int = 1, *, warm_start: Plan | None = None, seed: int = 0) -> Plan:
    return planner.plan(score, -torch.ones(a), torch.ones(a), warm_start=warm_start, generator=seeded(seed))


def one_hot_plan(planner: Planner, score, a: int, *, warm_start: Plan | None = None, seed: int = 0) -> Plan:
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
    planner.plan(score, -wide, wide, warm_start=starting_at(torch.tensor([[5.0], [-5.0]])), generator=seeded())
    torch.testing.assert_close(seen[0].mean(0), torch.zeros(2, 1), atol=0.06, rtol=0)
    torch.testing.assert_close(seen[1].mean(0), torch.tensor([[5.0], [-5.0]]), atol=0.06, rtol=0)
    for candidates in seen:
        torch.testing.assert_close(candidates.std(0), torch.ones(2, 1), atol=0.06, rtol=0)


def test_a_warm_start_at_the_answer_needs_less_search() -> None:
    target = torch.full((8, 2), 0.9)
    planner = CEM(horizon=8, candidates=32, iterations=2, elites=4)
    cold = box_plan(planner, distance_to(target), 2)
    warm = box_plan(planner, distance_to(target), 2, warm_start=starting_at(target))
    assert warm.score > cold.score / 2  # both negative


def test_a_shifted_plan_drops_the_first_step_and_repeats_the_last() -> None:
    steps = torch.tensor([[1.0], [2.0], [3.0]])
    shifted = Plan(actions=-steps, mean=steps, elites=torch.stack([steps, 10 * steps]), score=4.0).shifted()
    assert shifted.mean.tolist() == [[2.0], [3.0], [3.0]] and shifted.actions.tolist() == [[-2.0], [-3.0], [-3.0]]
    assert shifted.elites.tolist() == [[[2.0], [3.0], [3.0]], [[20.0], [30.0], [30.0]]] and shifted.score == 4


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


@pytest.mark.parametrize("planner", [ICEM(4, 200, 12, 20), MPPI(4, 400, 12)], ids=["icem", "mppi"])
def test_icem_and_mppi_find_the_peak(planner: Planner) -> None:
    target = torch.tensor([[-0.8, 0.1], [0.5, 0.9], [0.0, -0.4], [0.3, 0.3]])
    plan = box_plan(planner, distance_to(target), 2)
    torch.testing.assert_close(plan.actions, target, atol=0.1, rtol=0)
    assert -0.1 < plan.score <= 0


@pytest.mark.parametrize("kind", [ICEM, MPPI, RandomShooting])
def test_every_planner_scores_only_what_lies_within_unequal_bounds(kind: type) -> None:
    low, high = torch.tensor([-0.5, 0.0]), torch.tensor([0.25, 2.0])
    seen = []

    def score(candidates: Tensor) -> Tensor:
        seen.append(candidates)
        return candidates.sum((1, 2))

    settings = {"horizon": 2, "candidates": 400}
    planner = kind(
        **settings, **{"ICEM": {"iterations": 8, "elites": 40}, "MPPI": {"iterations": 8}}.get(kind.__name__, {})
    )
    plan = planner.plan(score, low, high, warm_start=None, generator=seeded())
    drawn = torch.cat(seen)
    assert (drawn >= low).all() and (drawn <= high).all()
    torch.testing.assert_close(plan.actions, high.expand(2, 2), atol=0.3, rtol=0)


def test_icem_executes_the_best_it_has_seen() -> None:
    seen = []

    def score(candidates: Tensor) -> Tensor:
        seen.append(candidates)
        return distance_to(torch.full((3, 1), 0.4))(candidates)

    plan = box_plan(ICEM(3, 30, 4, 5), score)
    drawn = torch.cat(seen)
    assert torch.equal(plan.actions, drawn[distance_to(torch.full((3, 1), 0.4))(drawn).argmax()])


def test_icem_draws_fewer_each_time_and_keeps_elites_and_the_mean() -> None:
    seen, means = [], []

    def score(candidates: Tensor) -> Tensor:
        seen.append(candidates)
        return distance_to(torch.full((3, 1), 0.4))(candidates)

    planner = ICEM(3, 64, 3, 10, decay=2.0, keep=0.3, momentum=0.0)
    first = box_plan(planner, score)
    # 64, 32, and 20 (twice the elites, as 16 would be fewer); three elites survive; the mean joins at the end
    assert [len(candidates) for candidates in seen] == [64, 32 + 3, 20 + 3 + 1]
    best = [candidates[finite_elites(distance_to(torch.full((3, 1), 0.4))(candidates), 10)] for candidates in seen]
    assert torch.equal(seen[1][32:], best[0][:3]) and torch.equal(seen[2][20:23], best[1][:3])
    means = best[1].mean(0)
    torch.testing.assert_close(seen[2][23], means)
    assert torch.equal(first.elites, best[2])
    seen.clear()
    box_plan(planner, score, warm_start=first.shifted())
    assert torch.equal(seen[0][64:], first.shifted().elites[:3])


def test_icem_forgets_what_was_lucky_once() -> None:
    """The first iteration's scores are high for all: none of it is executed unless it scores best again."""
    seen = []

    def score(candidates: Tensor) -> Tensor:
        seen.append(candidates)
        return candidates[:, 0, 0] + (100 if len(seen) == 1 else 0)

    plan = box_plan(ICEM(2, 40, 3, 4), score)
    assert torch.equal(plan.actions, seen[-1][seen[-1][:, 0, 0].argmax()])


def test_icem_momentum_is_the_share_of_the_old_mean() -> None:
    old = torch.full((2, 1), -0.5)
    planner = ICEM(2, 100, 1, 10, momentum=0.25)
    plan = box_plan(planner, distance_to(torch.full((2, 1), 0.5)), warm_start=starting_at(old))
    torch.testing.assert_close(plan.mean, 0.25 * old + 0.75 * plan.elites.mean(0))


@pytest.mark.parametrize(("temperature", "share"), [(1e-4, 1.0), (1e6, 1 / 3)])
def test_mppi_weighs_by_return_and_the_temperature_says_how_much(temperature: float, share: float) -> None:
    """Of three candidates the best has all the weight, or a third of it; what is not finite has none."""
    seen = []

    def score(candidates: Tensor) -> Tensor:
        seen.append(candidates)
        return torch.tensor([1.0, 3.0, torch.nan, 2.0])

    plan = box_plan(MPPI(2, 4, 1, temperature=temperature), score)
    weights = torch.tensor([(1 - share) / 2, share, 0, (1 - share) / 2])
    torch.testing.assert_close(plan.actions, (weights[:, None, None] * seen[0]).sum(0), atol=1e-4, rtol=0)
    assert plan.score == pytest.approx(3 * share + 3 * (1 - share) / 2, abs=1e-4)


def test_mppi_weights_do_not_depend_on_the_scale_of_rewards() -> None:
    plans = [box_plan(MPPI(3, 50, 3), lambda c, k=k: k * c.sum((1, 2)) + 7).actions for k in (1.0, 1024.0)]
    torch.testing.assert_close(*plans, rtol=1e-3, atol=1e-3)
    alike = box_plan(MPPI(3, 50, 1), lambda c: torch.ones(len(c)))  # no best: all count alike
    assert alike.actions.isfinite().all() and alike.score == pytest.approx(1)


def test_random_shooting_is_uniform_and_takes_the_best() -> None:
    seen = []

    def score(candidates: Tensor) -> Tensor:
        seen.append(candidates)
        return candidates[:, 0, 0]

    plan = box_plan(RandomShooting(2, 4000), score)
    assert torch.equal(plan.actions, seen[0][seen[0][:, 0, 0].argmax()])
    assert seen[0].mean().abs() < 0.03 and seen[0].std() == pytest.approx(3**-0.5, abs=0.02)
    chosen = one_hot_plan(CategoricalRandomShooting(2, 4000), score, 4)
    assert chosen.actions[0].tolist() == [1, 0, 0, 0]
    torch.testing.assert_close(seen[1].mean(0), torch.full((2, 4), 0.25), atol=0.03, rtol=0)


@pytest.mark.parametrize("h", [1, 2, 7, 12])
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_coloured_noise_has_unit_variance_at_every_step(h: int, beta: float) -> None:
    noise = coloured_noise(20_000, h, 2, beta=beta, generator=seeded())
    assert noise.shape == (20_000, h, 2)
    torch.testing.assert_close(noise.std(0), torch.ones(h, 2), atol=0.03, rtol=0)
    assert noise.mean(0).abs().max() < 0.03


def test_coloured_noise_has_the_spectrum_of_its_colour() -> None:
    for beta in (0.0, 1.0, 2.0):
        noise = coloured_noise(2000, 64, 1, beta=beta, generator=seeded())[..., 0]
        power = torch.fft.rfft(noise).abs().square().mean(0)[1:-1]
        frequency = torch.fft.rfftfreq(64)[1:-1]
        slope = torch.linalg.lstsq(
            torch.stack([frequency.log(), torch.ones_like(frequency)], 1), power.log()[:, None]
        ).solution[0]
        assert slope.item() == pytest.approx(-beta, abs=0.05)


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
    one_hot_plan(planner, score, 2, warm_start=starting_at(certain))
    torch.testing.assert_close(seen[0].mean(0), torch.tensor([[0.75, 0.25], [0.25, 0.75]]), atol=0.03, rtol=0)


def test_categorical_nan_scores_never_enter_the_refit() -> None:
    def score(candidates: Tensor) -> Tensor:
        value = candidates[..., 1].sum(-1)
        return torch.where(candidates[:, 0, 2] == 1, torch.nan, value)

    plan = one_hot_plan(CategoricalCEM(horizon=2, candidates=60, iterations=1, elites=60), score, 3)
    assert plan.mean[0, 2] == plan.mean[0].min() < 0.01 < plan.mean[1, 2]


ALL = [
    CEM(3, 50, 4, 5),
    CategoricalCEM(3, 50, 4, 5),
    ICEM(3, 50, 4, 5),
    MPPI(3, 50, 4),
    RandomShooting(3, 50),
    CategoricalRandomShooting(3, 50),
]


@pytest.mark.parametrize("planner", ALL, ids=lambda planner: type(planner).__name__)
def test_the_generator_decides_the_plan(planner: Planner) -> None:
    def plan(seed: int) -> Tensor:
        return one_hot_plan(planner, lambda candidates: -(candidates - 0.4).square().sum((1, 2)), 3, seed=seed).mean

    torch.manual_seed(1)
    first = plan(5)
    torch.manual_seed(2)
    assert torch.equal(first, plan(5))
    assert not torch.equal(first, plan(6))


@pytest.mark.parametrize("kind", [CEM, CategoricalCEM, ICEM])
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": -1}, "planner.beta is -1: set a finite number >= 0"),
        ({"decay": 0.5}, "planner.decay is 0.5: set a finite number >= 1"),
        ({"keep": 1}, r"keep is 1: set planner.keep to a share in \[0, 1\)"),
        ({"momentum": float("nan")}, "momentum is nan"),
        ({"initial_std": 0}, "initial_std is 0"),
    ],
)
def test_icem_settings_that_cannot_work_are_errors(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ICEM(3, 10, 2, 2, **changes)


@pytest.mark.parametrize("name", ["temperature", "initial_std", "least_std"])
def test_mppi_settings_that_cannot_work_are_errors(name: str) -> None:
    with pytest.raises(ConfigError, match=f"planner.{name} is 0: set a finite number > 0"):
        MPPI(3, 10, 2, **{name: 0})
    with pytest.raises(ConfigError, match="candidates is 0"):
        RandomShooting(3, 0)


@pytest.mark.parametrize("warm_start", [torch.zeros(2, 1), torch.zeros(3, 2), torch.full((3, 1), torch.nan)])
@pytest.mark.parametrize("planner", [CEM(3, 10, 2, 2), CategoricalCEM(3, 10, 2, 2), ICEM(3, 10, 2, 2), MPPI(3, 10, 2)])
def test_a_warm_start_that_does_not_fit_is_an_error(planner: Planner, warm_start: Tensor) -> None:
    with pytest.raises(WorldModelError, match="the warm start is"):
        box_plan(planner, lambda candidates: candidates.sum((1, 2)), warm_start=starting_at(warm_start))


def shipped(name: str):
    return OmegaConf.load(Path(__file__).parents[1] / "configs" / "planner" / f"{name}.yaml")


def test_the_shipped_configs_make_planners() -> None:
    assert make_planner(shipped("cem"), BOX, horizon=12) == CEM(horizon=12, candidates=128, iterations=4, elites=13)
    assert make_planner(shipped("cem"), DISCRETE, horizon=12) == CategoricalCEM(
        horizon=12, candidates=128, iterations=4, elites=13
    )
    assert make_planner(shipped("icem"), BOX, horizon=12) == ICEM(horizon=12, candidates=128, iterations=4, elites=13)
    assert make_planner(shipped("mppi"), BOX, horizon=12) == MPPI(horizon=12, candidates=128, iterations=4)
    assert make_planner(shipped("random_shooting"), BOX, horizon=12) == RandomShooting(horizon=12, candidates=512)
    assert make_planner(shipped("random_shooting"), DISCRETE, horizon=12) == CategoricalRandomShooting(
        horizon=12, candidates=512
    )


@pytest.mark.parametrize("name", ["icem", "mppi"])
def test_an_action_space_that_a_planner_does_not_take_is_an_error(name: str) -> None:
    message = f"{name} does not plan discrete actions, which Keys-v0 takes: set planner= to one of cem, policy"
    with pytest.raises(ConfigError, match=message):
        make_planner(shipped(name), DISCRETE, horizon=12)


def test_an_unknown_planner_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"planner\.kind is 'cma': set one of cem, icem, mppi, policy"):
        make_planner({"kind": "cma"}, BOX, horizon=12)
    with pytest.raises(ConfigError, match=r"planner\.kind is None"):
        make_planner({"horizon": 12}, BOX, horizon=12)


def test_a_planner_config_says_what_it_does_not_know_and_what_it_lacks() -> None:
    config = {"kind": "cem", "horizon": 12, "candidates": 128, "iterations": 4, "elites": 13}
    assert make_planner({**config, "initial_std": 0.5}, BOX, horizon=12) == CEM(12, 128, 4, 13, initial_std=0.5)
    with pytest.raises(ConfigError, match="does not know elite: its settings are horizon, candidates"):
        make_planner({**config, "elite": 13}, BOX, horizon=12)
    with pytest.raises(ConfigError, match="for discrete actions does not know initial_std"):
        make_planner({**config, "initial_std": 0.5}, DISCRETE, horizon=12)
    with pytest.raises(ConfigError, match=r"lacks iterations, elites: set planner.iterations"):
        make_planner({"kind": "cem", "horizon": 12, "candidates": 128}, BOX, horizon=12)


@pytest.mark.parametrize(
    "config",
    [
        {"kind": "cem", "horizon": 3, "candidates": 20, "iterations": 2, "elites": 1},
        {"kind": "icem", "horizon": 3, "candidates": 20, "iterations": 2, "elites": 4},
        {"kind": "mppi", "horizon": 3, "candidates": 20, "iterations": 2, "temperature": 0.01},
    ],
    ids=lambda config: config["kind"],
)
def test_the_best_of_all_is_found_when_it_is_proposed(config: dict[str, Any]) -> None:
    best = torch.tensor([[0.0, 1.0]] * 3)

    def score(candidates: Tensor) -> Tensor:
        return 100 * (candidates == best).all(-1).all(-1).float() - candidates.square().sum((1, 2))

    for spec in [BOX] if config["kind"] in ("icem", "mppi") else [BOX, DISCRETE]:
        low, high = (-torch.ones(2) if spec is BOX else torch.zeros(2)), torch.ones(2)
        planner = make_planner(config, spec, horizon=12)
        plan = planner.plan(score, low, high, warm_start=None, generator=seeded(), proposals=best[None])
        torch.testing.assert_close(plan.actions, best, atol=0.05, rtol=0)


def test_the_random_baseline_looks_at_no_proposals() -> None:
    for planner, low in ((RandomShooting(3, 20), -torch.ones(2)), (CategoricalRandomShooting(3, 20), torch.zeros(2))):
        plans = [
            planner.plan(lambda x: x[:, 0, 0], low, torch.ones(2), warm_start=None, generator=seeded(), proposals=each)
            for each in (None, 2 * torch.ones(1, 3, 2))
        ]
        assert torch.equal(plans[0].actions, plans[1].actions)


def test_the_policy_alone_acts_as_its_first_proposal() -> None:
    proposals = torch.rand(4, 3, 2, generator=seeded()).double()
    low, high = -torch.ones(2), torch.ones(2)
    for spec in (BOX, DISCRETE):
        planner = make_planner(shipped("policy"), spec, horizon=3)
        assert planner == FirstProposal(3)
        plan = planner.plan(
            lambda x: -x.sum((1, 2)), low, high, warm_start=None, generator=seeded(), proposals=proposals
        )
        assert torch.equal(plan.actions, proposals[0])
        assert plan.score == -float(proposals[0].sum())
    with pytest.raises(ConfigError, match="planner=policy has no policy to follow"):
        planner.plan(lambda x: x[:, 0, 0], low, high, warm_start=None, generator=seeded())
    with pytest.raises(WorldModelError, match="none of 1 candidates has a finite score"):
        planner.plan(lambda x: x[:, 0, 0] / 0, low, high, warm_start=None, generator=seeded(), proposals=proposals)


def test_icem_counts_a_proposal_once() -> None:
    best = torch.full((4, 3, 1), 0.4) + 0.01 * torch.arange(4.0)[:, None, None]
    planner = ICEM(3, 36, 3, 6)
    low, high = -torch.ones(1), torch.ones(1)
    score = distance_to(torch.full((3, 1), 0.4))
    plan = planner.plan(score, low, high, warm_start=None, generator=seeded(), proposals=best)
    assert len(plan.elites.unique(dim=0)) == len(plan.elites) == 6
    assert torch.equal(plan.actions, best[0])


def test_an_open_horizon_is_the_callers() -> None:
    config = {"kind": "random_shooting", "candidates": 8}
    found = [make_planner({**config, "horizon": each}, BOX, horizon=5) for each in (None, 7)]
    assert found == [RandomShooting(5, 8), RandomShooting(7, 8)]
