"""How long a run will take, from a few of its own steps."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from agents.actor import RandomActor
from agents.collecting import play_episode
from agents.learner import Schedule
from agents.planners import Planner
from agents.planning import PlanningAgent
from worldmodel.episode import Episode, episode_path, save_episode
from worldmodel.replay import Replay
from worldmodel.spec import EnvSpec
from worldmodel.trainer import Trainer

REPEATS = 3  # of each step, after one that warms up


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


def measure(env: gymnasium.Env[np.ndarray, Any], planner: Planner, trainer: Trainer) -> Pace:
    """Plays an episode at random, and fits and plans a few times; leaves the trainer's model a little fitted."""
    spec = trainer.model.spec
    start = time.perf_counter()
    episode = play_episode(env, RandomActor(spec), spec=spec, seed=0, exploration=0.0, name="random")
    step = (time.perf_counter() - start) / len(episode)
    with tempfile.TemporaryDirectory() as folder:
        save_episode(episode, episode_path(Path(folder), 0))
        updates = trainer.fit(Replay(Path(folder)), REPEATS + 1, seed=0)
        update = _seconds(lambda: next(updates))
    agent = PlanningAgent(trainer.model, planner)
    agent.reset(episode.frames[0])
    decisions = _decide(agent, episode)
    with trainer.fabric.autocast():
        plan = _seconds(lambda: next(decisions))
    return Pace(step=step, plan=plan, update=update)


def expected_seconds(schedule: Schedule, pace: Pace, spec: EnvSpec) -> float:
    """Of a whole run, evaluations included, if every episode lasts to its time limit (which must not be 0)."""
    decisions = -(-spec.time_limit // spec.action_repeat)
    evaluations = sum(schedule.due(played) for played in range(1, schedule.episodes + 1))
    planned = schedule.episodes - schedule.seed_episodes
    at_random = schedule.seed_episodes + schedule.evaluation_episodes
    steps = at_random * pace.step + (planned + evaluations * schedule.evaluation_episodes) * (pace.step + pace.plan)
    return decisions * steps + (schedule.first_updates + planned * schedule.updates) * pace.update


def _decide(agent: PlanningAgent, episode: Episode) -> Iterator[None]:
    generator = torch.Generator().manual_seed(0)
    for action, frame in islice(zip(episode.actions, episode.frames[1:], strict=True), REPEATS + 1):
        agent.act(generator)
        agent.observe(action, frame, generator)
        yield


def _seconds(run: Callable[[], object]) -> float:
    """Mean of REPEATS runs, after one."""
    run()
    start = time.perf_counter()
    for _ in range(REPEATS):
        run()
    return (time.perf_counter() - start) / REPEATS
