"""Episodes of an actor in an environment, exactly repeatable from their seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch

from agents.actor import Actor
from agents.seeds import seed_of
from envs.spec import env_action
from worldmodel.episode import Episode
from worldmodel.spec import EnvSpec


def play_episode(
    env: gymnasium.Env[np.ndarray, Any], actor: Actor, *, spec: EnvSpec, seed: int, exploration: float, name: str
) -> Episode:
    """Plays until the environment terminates or truncates.

    Everything random follows from `seed`: the environment's start, and the actor's choices through
    `episode_generator`. So an interrupted episode is played again, not resumed.

    Args:
        env: gives frames (H, W, 3) uint8.
        actor: chooses the actions.
        spec: describes `env`; written into the episode.
        seed: >= 0, of this episode.
        exploration: handed to the actor, see `agents.actor.explored`.
        name: of the actor, written into the episode.
    """
    generator = episode_generator(seed)
    frame, _ = env.reset(seed=seed)
    actor.reset(frame)
    frames, actions, rewards = [frame], [], []
    while True:
        action = actor.act(generator, exploration)
        frame, reward, terminated, truncated, _ = env.step(env_action(spec, action))
        frames.append(frame)
        actions.append(action)
        rewards.append(float(reward))
        if terminated or truncated:
            break
        actor.observe(action, frame, generator)
    return Episode(
        frames=np.stack(frames),
        actions=np.stack(actions),
        rewards=np.array(rewards, np.float32),
        terminated=bool(terminated),
        truncated=bool(truncated and not terminated),
        spec=spec,
        seed=seed,
        actor=name,
    )


def play_evaluation(
    env: gymnasium.Env[np.ndarray, Any], actor: Actor, *, spec: EnvSpec, seed: int, count: int, name: str
) -> list[Episode]:
    """Plays `count` episodes without exploration, from starts that are the same each time for a run's `seed`."""
    seeds = [seed_of(seed, "evaluate", index) for index in range(count)]
    return [play_episode(env, actor, spec=spec, seed=each, exploration=0.0, name=name) for each in seeds]


def outcome(episodes: Sequence[Episode], seed: int) -> dict[str, Any]:
    """What a record says of episodes that a run of this seed played."""
    returns = [episode.total for episode in episodes]
    spec = episodes[0].spec
    return {
        "env": spec.env,
        "task": spec.task,
        "seed": seed,
        "returns": returns,
        "return_mean": float(np.mean(returns)),
    }


def episode_generator(seed: int) -> torch.Generator:
    """The actor's own stream for an episode: a child of the seed, so independent of the environment's stream."""
    child = np.random.SeedSequence(seed).spawn(1)[0]
    return torch.Generator().manual_seed(int(child.generate_state(1, np.uint64)[0]))
