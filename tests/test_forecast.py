"""How long a run takes, from the seconds of its steps; and that to measure them changes nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from agents import forecast as module
from agents.cem_plan import make_learner
from agents.forecast import Pace, expected_seconds, forecast, measure, updates_left
from agents.learner import Learner
from agents.schedule import Schedule
from worldmodel.errors import EnvFailure
from worldmodel.spec import EnvSpec

SPEC = EnvSpec("fade", "out", "box", 1, (-1.0,), (1.0,), 3, 30, (8, 8))  # 10 decisions an episode
SCHEDULE = Schedule(
    seed=0,
    episodes=6,
    seed_episodes=2,
    first_updates=50,
    updates=7,
    exploration=0.3,
    final_exploration=0.1,
    exploration_episodes=4,
    evaluate_every=3,
    evaluation_episodes=4,
    context=2,
)
# Played at random: 2 seed episodes and 4 to evaluate chance. Planned: 4 further episodes, and 2 evaluations of 4.
PLAYED, PLANNED, UPDATES = 18, 12, 50 + 4 * 7


@pytest.mark.parametrize(
    ("pace", "seconds"),
    [
        (Pace(step=1, plan=0, update=0), 10 * PLAYED),
        (Pace(step=0, plan=1, update=0), 10 * PLANNED),
        (Pace(step=0, plan=0, update=1), UPDATES),
        (Pace(step=0.5, plan=2, update=3), 5 * PLAYED + 20 * PLANNED + 3 * UPDATES),
    ],
)
def test_every_step_of_the_schedule_counts(pace: Pace, seconds: float) -> None:
    assert expected_seconds(SCHEDULE, pace, SPEC) == pytest.approx(seconds)


def test_a_last_decision_that_the_time_limit_cuts_counts_too() -> None:
    assert expected_seconds(SCHEDULE, Pace(1, 0, 0), replace(SPEC, time_limit=31)) == 11 * PLAYED


def test_what_was_played_is_not_counted_again() -> None:
    whole = Pace(step=0.5, plan=2, update=3)
    # Left after the first seed episode: another, 4 planned ones and both evaluations.
    assert expected_seconds(SCHEDULE, whole, SPEC, 1) == 10 * (0.5 + 2.5 * PLANNED) + 3 * UPDATES
    # After the third: 3 planned ones and the last evaluation.
    assert expected_seconds(SCHEDULE, whole, SPEC, 3) == 10 * 2.5 * (3 + 4) + 3 * 3 * 7
    assert [updates_left(SCHEDULE, played) for played in range(7)] == [UPDATES, UPDATES, 28, 21, 14, 7, 0]


def test_the_line_says_what_and_how_long_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measure", lambda *_: Pace(step=0.0052, plan=0.05, update=0.21))
    trainer = SimpleNamespace(model=SimpleNamespace(spec=SPEC))
    steps = "(measured: 210 ms an update, 50 ms a plan, 5.2 ms a frame drawn)"
    seconds = 10 * (PLAYED * 0.0052 + PLANNED * 0.05) + UPDATES * 0.21
    assert forecast(SCHEDULE, None, None, trainer) == (
        f"6 episodes, {UPDATES} updates; about {seconds / 60:.1f} min on this machine, if no episode ends early {steps}"
    )
    assert forecast(SCHEDULE, None, None, trainer, played=5).startswith("1 more episodes, 7 updates; about 0.1 min")
    trainer.model.spec = replace(SPEC, time_limit=0)
    assert forecast(SCHEDULE, None, None, trainer) == (
        f"6 episodes, {UPDATES} updates; for an unknown time, as episodes have no limit {steps}"
    )


def test_an_environment_that_fails_meanwhile_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise EnvFailure("the rope broke")

    monkeypatch.setattr(module, "measure", fail)
    said = forecast(SCHEDULE, None, None, None)
    assert said == f"6 episodes, {UPDATES} updates; for an unknown time (the rope broke)"


def test_a_run_is_the_same_whether_measured_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_the_same(tmp_path, "cartpole_gym", monkeypatch)


@pytest.mark.slow
@pytest.mark.usefixtures("gl")
def test_the_control_suite_too_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_the_same(tmp_path, "cartpole", monkeypatch)


def check_the_same(tmp_path: Path, env: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.0)
    ends = []
    for name, measures in (("measured", True), ("not", False)):
        learner = make(tmp_path / name, env)
        try:
            if measures:
                watched = Watched(learner)
                pace = measure(learner.env, learner.actor, learner.trainer)
                assert pace.step > 0 and pace.plan > 0 and pace.update > 0
                assert watched.changed() == []
            returns = [learner.evaluate_random()[0].total]
            for _ in range(3):
                returns.append(learner.collect().total)
                list(learner.fit())
                if measures:
                    measure(learner.env, learner.actor, learner.trainer)
            returns.append(learner.evaluate()[0].total)
        finally:
            learner.records.close()
            learner.env.close()
        weights = torch.cat([value.flatten().double() for value in learner.model.state_dict().values()])
        ends.append((returns, weights, learner.trainer.updates))
    (returns, weights, updates), (others, other_weights, other_updates) = ends
    assert returns == others and torch.equal(weights, other_weights) and updates == other_updates == 6


def make(folder: Path, env: str) -> Learner:
    """A tiny run that has not begun."""
    overrides = [
        *(f"env={env}", "env.size=[16,16]", "env.time_limit=40", "accelerator=cpu", "precision=32-true"),
        *("train.batch=2", "train.window=6", "train.unrolling.open_loop=3", "context=2", f"run={folder}"),
        *("episodes=3", "seed_episodes=1", "first_updates=2", "updates=2", "evaluation_episodes=1"),
        *("planner.horizon=3", "planner.candidates=8", "planner.iterations=1", "planner.elites=2"),
        *("model.stages=[[8,1],[8,1]]", "model.hidden=16", "model.feature=16", "model.head=16"),
    ]
    with initialize_config_module("configs", version_base="1.3"):
        config = compose("cem_plan", overrides=overrides)
    OmegaConf.resolve(config)
    return make_learner(config)


class Watched:
    """What a run goes on from, at one moment."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._then = self._now()

    def changed(self) -> list[str]:
        """What differs by now."""
        return [name for name, value in self._now().items() if value != self._then[name]]

    def _now(self) -> dict[str, object]:
        learner = self._learner
        weights = {key: value.tolist() for key, value in learner.model.state_dict().items()}
        return {
            "weights": weights,
            "trainer": repr(learner.trainer.state_dict()),
            "training": [part.training for part in learner.model.modules()],
            "gradients": [weight.grad is None for weight in learner.model.parameters()],
            "torch": torch.get_rng_state().tolist(),
            "numpy": repr(np.random.get_state()),
            "python": random.getstate(),
            "progress": learner.progress,
            "files": sorted(learner.folder.rglob("*")),
        }
