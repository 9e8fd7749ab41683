"""How well goals are reached that are known to be reachable: where an episode of chance came to from the same start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agents.actor import Actor, RandomActor
from agents.collecting import episode_generator
from envs.pixels import PixelEnv
from envs.spec import env_action
from worldmodel.errors import ConfigError

PERSISTENCE = 0.8  # of the actions that lead to goals


@dataclass(frozen=True, eq=False)
class Goal:
    """A place to come to.

    Attributes:
        seed: of the episode it was found in, whose start is the start.
        frame: (H, W, 3) uint8, what it looks like.
        positions: (m, 3) metres, the true place of every body, see `PixelEnv.positions`.
        distance: metres from the start, see `distance`.
    """

    seed: int
    frame: np.ndarray
    positions: np.ndarray
    distance: float


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Metres between two arrangements of bodies (m, 3): of the body that is furthest from its place."""
    return float(np.linalg.norm(a - b, axis=-1).max())


def find_goal(env: PixelEnv, seed: int, *, decisions: int) -> Goal:
    """Where `decisions` random actions, most of them held for some time, lead from the start of the episode `seed`."""
    actor, generator = RandomActor(env.env_spec, persistence=PERSISTENCE), episode_generator(seed)
    frame, _ = env.reset(seed=seed)
    start = env.positions()
    for _ in range(decisions):
        frame, _, terminated, truncated, _ = env.step(env_action(env.env_spec, actor.act(generator)))
        if terminated or truncated:
            break
    return Goal(seed, frame, env.positions(), distance(start, env.positions()))


def find_goals(env: PixelEnv, count: int, seed: Callable[[int], int], *, decisions: int, least: float) -> list[Goal]:
    """Goals at least so many metres from their starts, so that standing still is no success.

    Args:
        seed: gives the i-th episode to look in.
        decisions: see `find_goal`.
        least: metres.

    Raises ConfigError when not one in ten places is that far away.
    """
    goals = []
    for index in range(10 * count):
        goal = find_goal(env, seed(index), decisions=decisions)
        if goal.distance >= least:
            goals.append(goal)
        if len(goals) == count:
            return goals
    raise ConfigError(
        f"{len(goals)} of {10 * count} places that {decisions} random actions lead to are {least:.3f} m away: "
        "set away higher, or tolerance lower"
    )


def pursue(env: PixelEnv, goal: Goal, actor: Actor, *, decisions: int) -> list[float]:
    """Plays from the goal's start; metres from the goal after each of up to `decisions` decisions.

    The actor's own stream is another than the one that led to the goal.
    """
    generator = episode_generator(goal.seed + 1)
    frame, _ = env.reset(seed=goal.seed)
    actor.reset(frame)
    distances = []
    for _ in range(decisions):
        action = actor.act(generator)
        frame, _, terminated, truncated, _ = env.step(env_action(env.env_spec, action))
        distances.append(distance(env.positions(), goal.positions))
        if terminated or truncated:
            break
        actor.observe(action, frame, generator)
    return distances


def reaching_table(goals: Sequence[Goal], distances: Mapping[str, Sequence[Sequence[float]]], tolerance: float) -> str:
    """A line a policy: how many goals it stood at in the end, and how far from them it was."""
    start = np.mean([goal.distance for goal in goals])
    lines = [f"{'':<20}{'reached':>9}{'of':>5}{'final m':>10}{'nearest m':>11}"]
    lines.append(f"{'where it starts':<20}{'':>9}{'':>5}{start:>10.3f}{start:>11.3f}")
    for name, paths in distances.items():
        final, nearest = np.array([path[-1] for path in paths]), np.array([min(path) for path in paths])
        reached = int((final <= tolerance).sum())
        lines.append(f"{name:<20}{reached:>9}{len(paths):>5}{final.mean():>10.3f}{nearest.mean():>11.3f}")
    return "\n".join(lines)
