"""How long a run will take, from a few of its own steps."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from agents.actor import Actor, random_action
from agents.schedule import Schedule
from envs.spec import env_action
from worldmodel.episode import Episode, episode_path, save_episode
from worldmodel.errors import EnvFailure
from worldmodel.replay import Replay
from worldmodel.spec import EnvSpec
from worldmodel.trainer import Trainer

SECONDS = 0.3  # each step is measured for, after one that warms up
ENDLESS = 2**31  # updates: more than are ever measured


@dataclass(frozen=True)
class Pace:
    """Seconds of the loop's steps.

    Attributes:
        step: one decision's worth of simulation, and drawing its frame.
        plan: choosing one action.
        update: one update of the model.
    """

    step: float
    plan: float
    update: float


def forecast(
    schedule: Schedule,
    env: gymnasium.Env[np.ndarray, Any],
    agent: Actor,
    trainer: Trainer,
    *,
    played: int = 0,
    beside: float = 0.0,
) -> str:
    """A line for people: what is still to be done after `played` episodes, and how long it will take here.

    Measures for a second or two, or as long as two updates take. `beside` are seconds that follow each fit, such as
    those in which a policy learns. Where the environment fails the time is said to be unknown.
    """
    episodes = f"{schedule.episodes} episodes" if played == 0 else f"{schedule.episodes - played} more episodes"
    try:
        pace = measure(env, agent, trainer)
    except EnvFailure as error:  # the run itself will see whether it fails again
        return f"{episodes}, {updates_left(schedule, played)} updates; for an unknown time ({error})"
    spec = trainer.model.spec
    if spec.time_limit:
        fits = schedule.episodes - max(played, schedule.seed_episodes - 1)
        minutes = (expected_seconds(schedule, pace, spec, played) + fits * beside) / 60
        took = f"about {minutes:.{0 if minutes >= 10 else 1}f} min on this machine, if no episode ends early"
    else:
        took = "for an unknown time, as episodes have no limit"
    steps = ", ".join(
        f"{1000 * seconds:.{0 if seconds >= 0.01 else 1}f} ms {name}"
        for name, seconds in (("an update", pace.update), ("a plan", pace.plan), ("a frame drawn", pace.step))
    )
    return f"{episodes}, {updates_left(schedule, played)} updates; {took} (measured: {steps})"


def measure(env: gymnasium.Env[np.ndarray, Any], agent: Actor, trainer: Trainer) -> Pace:
    """Steps at random, plans, and fits a copy of the model to an episode of noise.

    A run is the same with and without it: weights, optimiser and global random states stay as they are, and `env` and
    `agent` begin anew with the next episode, as they always do.
    """
    spec = trainer.model.spec
    generator = torch.Generator().manual_seed(0)
    frame, _ = env.reset(seed=0)

    def step() -> None:
        *_, terminated, truncated, _ = env.step(env_action(spec, random_action(spec, generator)))
        if terminated or truncated:
            env.reset(seed=0)

    def plan() -> None:
        agent.observe(agent.act(generator), frame, generator)

    agent.reset(frame)
    with trainer.fabric.autocast():
        paces = {"step": _seconds(step), "plan": _seconds(plan)}
    with tempfile.TemporaryDirectory() as folder:
        save_episode(noise(spec, trainer.config.window), episode_path(Path(folder), 0))
        updates = twin(trainer).fit(Replay(Path(folder)), ENDLESS, seed=0)
        return Pace(update=_seconds(lambda: next(updates)), **paces)


def expected_seconds(schedule: Schedule, pace: Pace, spec: EnvSpec, played: int = 0) -> float:
    """Of what is left of a run after `played` episodes, evaluations included.

    Counts every episode to its time limit, which must not be 0.
    """
    decisions = -(-spec.time_limit // spec.action_repeat)
    evaluations = sum(schedule.due(episode) for episode in range(played + 1, schedule.episodes + 1))
    seeds = max(0, schedule.seed_episodes - played)
    chance = schedule.evaluation_episodes if played == 0 else 0
    planned = schedule.episodes - played - seeds + evaluations * schedule.evaluation_episodes
    steps = (seeds + chance) * pace.step + planned * (pace.step + pace.plan)
    return decisions * steps + updates_left(schedule, played) * pace.update


def updates_left(schedule: Schedule, played: int) -> int:
    """Of the model, after `played` episodes."""
    if played >= schedule.seed_episodes:
        return (schedule.episodes - played) * schedule.updates
    return schedule.first_updates + (schedule.episodes - schedule.seed_episodes) * schedule.updates


def noise(spec: EnvSpec, frames: int) -> Episode:
    """An episode of so many frames, in which nothing means anything; the same each time."""
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    decisions = frames - 1
    return Episode(
        frames=rng.integers(0, 256, (frames, *spec.frame_size, 3), np.uint8),
        actions=np.stack([random_action(spec, generator) for _ in range(decisions)]),
        rewards=rng.standard_normal(decisions, np.float32),
        terminated=False,
        truncated=True,
        spec=spec,
        seed=0,
        actor="noise",
    )


def twin(trainer: Trainer) -> Trainer:
    """A trainer of a copy of the model, with an optimiser of its own that has seen nothing."""
    return Trainer(copy.deepcopy(trainer.model), trainer.config, trainer.fabric)


def _seconds(run: Callable[[], object]) -> float:
    """Mean of as many runs as SECONDS hold, but one at least; after one to warm up."""
    run()
    start, runs = time.perf_counter(), 0
    while runs == 0 or time.perf_counter() - start < SECONDS:
        run()
        runs += 1
    return (time.perf_counter() - start) / runs
