"""Episodes played side by side: each from a seed of its own, so the same whoever plays it and in whatever order."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.collecting import Failure, Report, play_numbered
from agents.policies import make_actor
from envs import make_env
from worldmodel.episode import episode_path, load_rewards, read_header, save_episode
from worldmodel.errors import EnvFailure, WorldModelError
from worldmodel.hardware import prepare_threads, usable_cores
from worldmodel.processes import follow_parent
from worldmodel.trainer import make_fabric


@dataclass(frozen=True)
class Played:
    """What is told of an episode that lies in its file.

    Attributes:
        index: its number.
        total: its return.
        length: its transitions.
        env_frames: its simulator steps.
    """

    index: int
    total: float
    length: int
    env_frames: int

    @classmethod
    def read(cls, index: int, path: Path) -> Played:
        """Of an episode's file, without its frames."""
        rewards = load_rewards(path)
        env_frames = len(rewards) * read_header(path).spec.action_repeat
        return cls(index, float(rewards.sum(dtype=np.float64)), len(rewards), env_frames)


class Collector:
    """Plays numbered episodes of one policy in an environment of its own.

    Args:
        config: the plain values of `configs/collect.yaml`.
        folder: where the episodes are filed.

    Raises WorldModelError for settings that cannot work, and writes nothing before it plays.
    """

    def __init__(self, config: Mapping[str, Any], folder: Path) -> None:
        self.recipe = config, folder  # what a process needs to make another
        self._env = make_env(config["env"], rendering=config["rendering"], timeout=config["env_timeout"])
        self.spec = self._env.env_spec
        self._fabric = make_fabric(config["accelerator"], 1, config["precision"])
        self._actor = make_actor(config, self._env, device=self._fabric.device)

    def play(self, index: int, failed: Report) -> Played:
        """Plays and files the index-th episode; `failed` is told of attempts, as `play_numbered` has it."""
        config, folder = self.recipe
        with self._fabric.autocast():
            episode = play_numbered(
                self._env,
                self._actor,
                index,
                spec=self.spec,
                seed=config["seed"],
                exploration=config["exploration"],
                name=config["policy"],
                failed=failed,
            )
        save_episode(episode, episode_path(folder, index))
        return Played(index, episode.total, len(episode), episode.env_frames)

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()


def collect(collector: Collector, indices: Sequence[int], *, workers: int, failed: Report) -> Iterator[Played]:
    """Plays the episodes `indices` and yields each as it is filed, in any order.

    With one worker the collector plays them itself. More are processes that share the cores, each with a collector
    like it; an error in one of them is raised here, and what the others have in hand is filed before this ends.

    `failed` is told, in this process, of each attempt at an episode in which the environment failed.
    """
    if workers == 1:
        for index in indices:
            yield collector.play(index, failed)
        return
    collector.close()  # none of theirs
    # Not by fork: OpenGL and torch's threads do not survive it.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(collector.recipe, workers))
    futures = [pool.submit(_play, index) for index in indices]
    waiting = set(futures)
    try:
        for done in as_completed(futures):
            waiting.remove(done)
            failures, played = done.result()
            if isinstance(played, EnvFailure):
                pool.shutdown(cancel_futures=True)  # the others end what they have in hand, and may have failed too
                failures += [
                    one for other in futures if other in waiting and not other.cancelled() for one in other.result()[0]
                ]
            for failure in failures:
                failed(failure)
            if isinstance(played, EnvFailure):
                raise played
            yield played
    except BrokenProcessPool as error:
        raise WorldModelError(
            f"one of {workers} workers died ({error}), perhaps for want of memory: resume with fewer; "
            "or by its environment, which env_timeout= would put into a process of its own"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_worker: Collector | None = None
_recipe: tuple[Mapping[str, Any], Path] | None = None


def _begin(recipe: tuple[Mapping[str, Any], Path], workers: int) -> None:
    """A worker process begins. What may fail waits for the first episode: its errors reach who asked for it."""
    global _recipe
    follow_parent()
    prepare_threads()
    torch.set_num_threads(max(1, min(torch.get_num_threads(), usable_cores() // workers)))
    _recipe = recipe


def _play(index: int) -> tuple[list[Failure], Played | EnvFailure]:
    """What became of an episode, and what the parent is to be told of attempts before."""
    global _worker
    if _worker is None:
        assert _recipe is not None
        _worker = Collector(*_recipe)
    failures: list[Failure] = []
    try:
        return failures, _worker.play(index, failures.append)
    except EnvFailure as error:
        return failures, error
