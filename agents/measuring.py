"""What the ladder measures of a model: the returns of planning in it, its errors, and what its plans expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from agents.actor import Actor
from agents.collecting import play_episode
from agents.expectation import Expectation, Expecting, compare
from agents.planners import Planner
from agents.planning import PlanningAgent, imagined_return
from envs.pixels import PixelEnv
from worldmodel.checkpoint import read_checkpoint
from worldmodel.episode import Episode, save_episode
from worldmodel.errors import CheckpointError, ConfigError
from worldmodel.feedback import FEEDBACKS
from worldmodel.model import Model
from worldmodel.pretrained import from_pretrained
from worldmodel.records import numbers, read_records, telling
from worldmodel.trainer import batch_to
from worldmodel.validation import fixed_windows, open_loop_errors

WINDOWS = 128  # that errors are measured on

Errors = Mapping[str, Mapping[str, Sequence[float | None]]]
"""By feedback, what `open_loop_errors` gives."""


@dataclass(frozen=True)
class Measured:
    """What is known of a model.

    Attributes:
        checkpoint: its folder.
        updates: that fitted it; None where its checkpoint does not tell.
        returns: of each episode that was planned in it.
        expectation: of those plans, over their horizon.
        errors: on windows that all models were measured on.
    """

    checkpoint: str
    updates: int | None
    returns: list[float]
    expectation: Expectation
    errors: Errors


def plan_in(
    model: Model,
    env: PixelEnv,
    planner: Planner,
    fabric: Fabric,
    *,
    latents: str,
    paths: Sequence[Path],
    seeds: Sequence[int],
) -> tuple[list[float], Expectation]:
    """Plays an episode a seed by planning in a model, files them at `paths`: their returns, and what plans expected.

    By imagined rewards alone, as the planner in the simulator goes by true ones: critics and policy would hide what the
    model lacks.
    """
    agent = Expecting(PlanningAgent(model, planner, objective=imagined_return, proposals=0, latents=latents))
    episodes, expected = [], []
    for path, seed in zip(paths, seeds, strict=True):
        episodes.append(play(env, agent, "planner", seed, fabric))
        expected.append(agent.expected)
        save_episode(episodes[-1], path)
    return [episode.total for episode in episodes], compare(expected, episodes, planner.horizon)


def imagined_errors(checkpoint: Path, paths: Sequence[Path], fabric: Fabric, *, context: int, horizon: int) -> Errors:
    """A saved model's errors on windows of some episodes, the same for every model, fed back in each way."""
    batch = batch_to(fixed_windows(paths, WINDOWS, context=context, horizon=horizon), fabric.device)
    return {
        feedback: open_loop_errors(from_pretrained(checkpoint, feedback=feedback, device=fabric.device), batch, context)
        for feedback in FEEDBACKS
    }


def updates_of(checkpoint: Path) -> int | None:
    """How many updates fitted a saved model; None where only the model was saved."""
    try:
        return int(read_checkpoint(checkpoint).trainer()["trainer"]["updates"])
    except CheckpointError:
        return None


def play(env: PixelEnv, actor: Actor, name: str, seed: int, fabric: Fabric) -> Episode:
    """An episode without exploration, in the precision that models are trained in."""
    with fabric.autocast():
        return play_episode(env, actor, spec=env.env_spec, seed=seed, exploration=0.0, name=name)


def simulator_returns(metrics: Path, env: Mapping[str, Any]) -> list[float]:
    """The score of the planner in the simulator, from a log of agents.collect.

    Args:
        metrics: the log.
        env: the settings of the environment that it must have been played in.

    Raises ConfigError for another log: of another policy or environment, or with exploration; DataError for none.
    """
    if not metrics.is_file():
        raise ConfigError(f"{metrics} does not exist: give the metrics.jsonl of agents.collect policy=simulator")
    headers, found = read_records(metrics, "header"), read_records(metrics, "collection")
    with telling(metrics):
        if not headers or not found or found[-1]["policy"] != "simulator":
            raise ConfigError(f"{metrics} tells no score of a planner in the simulator: give another log")
        config, returns = headers[0]["config"], numbers(found[-1]["returns"])
        if config["exploration"] != 0:
            raise ConfigError(f"{metrics} was played with exploration {config['exploration']}: give a log without")
        differing = [
            f"{key} {config['env'].get(key)} against {env.get(key)}"
            for key in sorted(config["env"] | env)
            if config["env"].get(key) != env.get(key)
        ]
    if differing:
        raise ConfigError(f"{metrics} is of another environment: {'; '.join(differing)}: give another log")
    return returns
