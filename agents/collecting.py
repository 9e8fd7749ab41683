"""Episodes of an actor in an environment, exactly repeatable from their seeds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import torch

from agents.actor import Actor
from agents.seeds import Stream, seed_of
from envs.spec import env_action
from worldmodel.episode import Episode
from worldmodel.errors import EnvFailure, foreign_trace
from worldmodel.spec import EnvSpec

ATTEMPTS = 3  # at an episode, before an environment that fails is given up

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """An attempt at an episode in which the environment failed; nothing of it is kept.

    Attributes:
        stream: which episodes are counted, ``collect`` or ``evaluate``.
        episode: its number among them.
        attempt: from 1 to ATTEMPTS.
        seed: that it was played from.
        error: what went wrong.
        trace: the traceback of what the environment raised; empty where it raised nothing.
    """

    stream: Stream
    episode: int
    attempt: int
    seed: int
    error: str
    trace: str = field(default="", compare=False)


Report = Callable[[Failure], object]


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


def play_numbered(
    env: gymnasium.Env[np.ndarray, Any],
    actor: Actor,
    index: int,
    *,
    spec: EnvSpec,
    seed: int,
    exploration: float,
    name: str,
    failed: Report,
) -> Episode:
    """Plays the index-th episode that a run collects; where the environment fails in it, one from a new seed instead.

    All that depends on nothing but the run's `seed` and the index, so it is the same whoever plays it. Raises as
    `insist` does.
    """
    anew = (seed_of(seed, "retry", index * ATTEMPTS + attempt) for attempt in range(1, ATTEMPTS))
    return insist(
        lambda own: play_episode(env, actor, spec=spec, seed=own, exploration=exploration, name=name),
        [seed_of(seed, "collect", index), *anew],
        stream="collect",
        episode=index,
        failed=failed,
    )


def play_evaluation(
    env: gymnasium.Env[np.ndarray, Any],
    actor: Actor,
    *,
    spec: EnvSpec,
    seed: int,
    count: int,
    name: str,
    failed: Report,
) -> list[Episode]:
    """Plays `count` episodes without exploration, from starts that are the same each time for a run's `seed`.

    Where the environment fails the same start is tried again; raises as `insist` does.
    """

    def play(own: int) -> Episode:
        return play_episode(env, actor, spec=spec, seed=own, exploration=0.0, name=name)

    starts = [seed_of(seed, "evaluate", index) for index in range(count)]
    return [
        insist(play, [start] * ATTEMPTS, stream="evaluate", episode=index, failed=failed)
        for index, start in enumerate(starts)
    ]


def insist(
    play: Callable[[int], Episode], seeds: Sequence[int], *, stream: Stream, episode: int, failed: Report
) -> Episode:
    """What `play` gives for the first of `seeds` in which the environment does not fail.

    Of each failure there is a warning, and `failed` is told. Raises EnvFailure when there is one with every seed: in an
    evaluation, where all are the same, one that the seed alone brings about comes again in whatever resumes the run.
    """
    for attempt, seed in enumerate(seeds, 1):
        try:
            return play(seed)
        except EnvFailure as error:
            failure, last = Failure(stream, episode, attempt, seed, str(error), foreign_trace(error)), error
        _log.warning("attempt %d of %d at episode %d (%s): %s", attempt, len(seeds), episode, stream, failure.error)
        failed(failure)
    mend = "mend it"
    if stream == "evaluate":
        mend += f", or begin a run with another seed=, since this start has seed {seeds[0]} each time"
    raise EnvFailure(
        f"the environment failed in each of {len(seeds)} attempts at episode {episode} ({stream}): {mend}; what was "
        f"saved stays. The last time: {last}"
    ) from last


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
