"""What the ladder measures of a model: the returns of planning in it, its errors, and what its plans expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from lightning_fabric import Fabric

from agents.actor import Actor
from agents.collecting import play_episode
from agents.expectation import Expectation, Expecting, compare
from agents.planners import Planner
from agents.planning import PlanningAgent
from envs.pixels import PixelEnv
from worldmodel.episode import Episode, episode_path, save_episode
from worldmodel.errors import ConfigError
from worldmodel.pretrained import check_fits, from_pretrained
from worldmodel.records import read_records
from worldmodel.replay import Replay
from worldmodel.svg import FEEDBACKS
from worldmodel.trainer import batch_to
from worldmodel.validation import open_loop_errors

WINDOWS = 64  # that errors are measured on


@dataclass(frozen=True)
class Measured:
    """What is known of a model.

    Attributes:
        returns: of each episode that was planned in it.
        expectation: of those plans, over their horizon.
        errors: `open_loop_errors` on these episodes, to none of which it was fitted, by feedback.
    """

    returns: list[float]
    expectation: Expectation
    errors: Mapping[str, Mapping[str, Sequence[float | None]]]


def measure(
    source: Path,
    env: PixelEnv,
    planner: Planner,
    fabric: Fabric,
    *,
    folder: Path,
    seeds: Sequence[int],
    context: int,
    horizon: int,
) -> Measured:
    """Plays an episode a seed in `env` by planning in a saved model, and measures it on them.

    Args:
        source: a checkpoint or run folder.
        folder: where the episodes are filed.
        context, horizon: frames that are given, and steps that are imagined after them, for the errors.

    Raises CheckpointError for a model of another environment.
    """
    model = from_pretrained(source, device=fabric.device)
    check_fits(model.spec, env.env_spec, str(source))
    agent = Expecting(PlanningAgent(model, planner))
    paths = [episode_path(folder, index) for index in range(len(seeds))]
    episodes, expected = [], []
    for path, seed in zip(paths, seeds, strict=True):
        episodes.append(play(env, agent, "planner", seed, fabric))
        expected.append(agent.expected)
        save_episode(episodes[-1], path)
    windows = Replay(paths).sample(WINDOWS, context + horizon, np.random.default_rng(0), minimum=context + 1)
    batch = batch_to(windows, fabric.device)
    errors = {
        feedback: open_loop_errors(from_pretrained(source, feedback=feedback, device=fabric.device), batch, context)
        for feedback in FEEDBACKS
    }
    return Measured(
        returns=[episode.total for episode in episodes],
        expectation=compare(expected, episodes, planner.horizon),
        errors=errors,
    )


def play(env: PixelEnv, actor: Actor, name: str, seed: int, fabric: Fabric) -> Episode:
    """An episode without exploration, in the precision that models are trained in."""
    with fabric.autocast():
        return play_episode(env, actor, spec=env.env_spec, seed=seed, exploration=0.0, name=name)


def simulator_returns(metrics: Path, env: str, task: str) -> list[float]:
    """What a log of agents.collect says the planner in the simulator scored; ConfigError for another log or task."""
    if not metrics.is_file():
        raise ConfigError(f"{metrics} does not exist: give the metrics.jsonl of agents.collect policy=simulator")
    found = [record for record in read_records(metrics, "collection") if record["policy"] == "simulator"]
    if not found or (found[-1]["env"], found[-1]["task"]) != (env, task):
        raise ConfigError(f"{metrics} tells no score of a planner in the simulator of {env}/{task}: give another")
    return cast(list[float], found[-1]["returns"])
