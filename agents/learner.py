"""PlaNet's loop in pieces: collect with the planner, fit, evaluate, save (Hafner et al. 2019, Algorithm 1)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from agents.actor import Actor, RandomActor
from agents.collecting import play_episode
from agents.seeds import seed_of
from worldmodel.checkpoint import numbered, prune
from worldmodel.episode import Episode, episode_path, load_episode, save_episode
from worldmodel.errors import CheckpointError, ConfigError, check_whole
from worldmodel.pretrained import save_pretrained
from worldmodel.records import Records
from worldmodel.replay import Replay
from worldmodel.svg import SVG
from worldmodel.trainer import Trainer, mean_terms

CONTEXTS = 16  # start contexts a checkpoint carries


@dataclass(frozen=True)
class Schedule:
    """How much of what; counts, never clocks. See `configs/cem_plan.yaml`. Raises ConfigError for what cannot be."""

    seed: int
    episodes: int
    seed_episodes: int
    first_updates: int
    updates: int
    exploration: float
    final_exploration: float
    exploration_episodes: int
    evaluate_every: int
    evaluation_episodes: int
    context: int

    def __post_init__(self) -> None:
        least = {"seed": 0, "episodes": 1, "seed_episodes": 1, "first_updates": 1, "updates": 1}
        least |= {"exploration_episodes": 1, "evaluate_every": 1, "evaluation_episodes": 1, "context": 1}
        for key, minimum in least.items():
            check_whole(key, getattr(self, key), minimum)
        if self.seed_episodes > self.episodes:
            raise ConfigError(
                f"seed_episodes ({self.seed_episodes}) exceed episodes ({self.episodes}): "
                f"set seed_episodes <= {self.episodes}"
            )
        for key in ("exploration", "final_exploration"):
            if not 0 <= getattr(self, key) < math.inf:
                raise ConfigError(f"{key} is {getattr(self, key)}: set a finite number >= 0")

    def noise(self, played: int) -> float:
        """Exploration of the episode after so many: it falls linearly from the first planned one on, then stays."""
        fallen = min(1.0, max(0, played - self.seed_episodes) / self.exploration_episodes)
        return self.exploration + fallen * (self.final_exploration - self.exploration)

    def due(self, played: int) -> bool:
        """Whether an evaluation belongs after so many episodes: every few planned ones, and after the last."""
        planned = played >= self.seed_episodes
        return planned and (played % self.evaluate_every == 0 or played == self.episodes)


@dataclass(frozen=True)
class Progress:
    """Where a run stands at an episode boundary.

    Attributes:
        episodes: played and fitted to.
        env_frames: simulator steps they took, action repeat included.
        wall_clock_s: seconds spent collecting, planning and fitting, over resumes.
        evaluation_s: seconds spent evaluating.
        metrics_bytes: length of `metrics.jsonl`.
    """

    episodes: int = 0
    env_frames: int = 0
    wall_clock_s: float = 0.0
    evaluation_s: float = 0.0
    metrics_bytes: int = 0


def drop_unsaved(folder: Path, episodes: int) -> None:
    """Deletes what a killed run collected after its newest checkpoint, of `episodes` episodes; it is played again.

    Raises CheckpointError when that would be more than the one episode between two checkpoints, or some are missing.
    """
    collected = sorted((folder / "episodes").glob("*.safetensors"))
    if len(collected) < episodes:
        raise CheckpointError(
            f"{folder} holds {len(collected)} episodes, its newest checkpoint knows {episodes}: "
            "restore the episodes that are missing, or start a new run"
        )
    if len(collected) > episodes + 1:
        raise CheckpointError(
            f"{folder} holds {len(collected)} episodes, its newest checkpoint knows {episodes}: "
            "restore the checkpoints that are missing, or start a new run"
        )
    for path in collected[episodes:]:
        path.unlink()


class Learner:
    """One run: its environment, model, episodes and records.

    Args:
        folder: the run folder.
        env, planner, model, trainer: what plays, plans, is learned, and learns it.
        progress: where to go on from.
    """

    def __init__(
        self,
        folder: Path,
        schedule: Schedule,
        *,
        env: gymnasium.Env[np.ndarray, Any],
        planner: Actor,
        model: SVG,
        trainer: Trainer,
        records: Records,
        progress: Progress,
    ) -> None:
        for name in ("episodes", "evaluation", "checkpoints"):
            (folder / name).mkdir(exist_ok=True)
        self.folder = folder
        self.schedule = schedule
        self.env = env
        self.model = model
        self.trainer = trainer
        self.records = records
        self.progress = progress
        self.planner = planner
        self.random = RandomActor(model.spec)

    def collect(self) -> Episode:
        """Plays the next episode, at random while seed episodes are wanted, and files it."""
        index, schedule = self.progress.episodes, self.schedule
        actor, name = (self.random, "random") if index < schedule.seed_episodes else (self.planner, "planner")
        with self._clock("wall_clock_s") as elapsed:
            episode = self._play(actor, name, seed_of(schedule.seed, "collect", index), schedule.noise(index))
            save_episode(episode, episode_path(self.folder / "episodes", index))
        env_frames = self.progress.env_frames + episode.env_frames
        self.progress = replace(self.progress, episodes=index + 1, env_frames=env_frames)
        self._record("episode", actor=name, length=len(episode), episode_return=episode.total, seconds=elapsed())
        return episode

    def fit(self) -> Iterator[int]:
        """Fits the model to every episode so far, if it is time to; yields the number of each update."""
        played, schedule = self.progress.episodes, self.schedule
        if played < schedule.seed_episodes:
            return
        updates = schedule.first_updates if played == schedule.seed_episodes else schedule.updates
        terms = []
        with self._clock("wall_clock_s") as elapsed:
            replay = Replay(self.folder / "episodes")
            fitting = self.trainer.fit(replay, updates, seed=seed_of(schedule.seed, "fit", played))
            for update, values in enumerate(fitting, 1):
                terms.append(values)
                yield update
        self._record("fit", updates=self.trainer.updates, seconds=elapsed(), **mean_terms(terms))

    def evaluate(self) -> list[Episode]:
        """Plays the evaluation episodes with the planner, without exploration; the same starts every time."""
        with self._clock("evaluation_s"):
            episodes = self._evaluation(self.planner, "planner")
        for index, episode in enumerate(episodes):
            save_episode(episode, episode_path(self.folder / "evaluation", index))
        self._record_returns("evaluation", episodes)
        return episodes

    def evaluated(self) -> list[Episode]:
        """The episodes of the newest evaluation: nothing was ever fitted to them."""
        folder = self.folder / "evaluation"
        return [load_episode(episode_path(folder, index)) for index in range(self.schedule.evaluation_episodes)]

    def evaluate_random(self) -> list[Episode]:
        """The same for the random policy."""
        with self._clock("evaluation_s"):
            episodes = self._evaluation(self.random, "random")
        self._record_returns("random_policy", episodes)
        return episodes

    def save(self) -> Path:
        """Writes a checkpoint from which `resume` goes on exactly here; the one before it is kept too."""
        self.progress = replace(self.progress, metrics_bytes=self.records.sync())
        folder = self.folder / "checkpoints"
        path = numbered(folder, self.progress.episodes)
        replay = Replay(self.folder / "episodes")
        rng = np.random.default_rng(seed_of(self.schedule.seed, "contexts", self.progress.episodes))
        contexts = replay.contexts(CONTEXTS, self.schedule.context, rng)
        state = {"progress": asdict(self.progress), "trainer": self.trainer.state_dict()}
        save_pretrained(path, self.model, contexts, trainer=state)
        prune(folder)
        return path

    def _evaluation(self, actor: Actor, name: str) -> list[Episode]:
        seeds = [seed_of(self.schedule.seed, "evaluate", index) for index in range(self.schedule.evaluation_episodes)]
        return [self._play(actor, name, seed, 0.0) for seed in seeds]

    def _play(self, actor: Actor, name: str, seed: int, exploration: float) -> Episode:
        with self.trainer.fabric.autocast():  # act in the precision the model is trained in
            return play_episode(self.env, actor, spec=self.model.spec, seed=seed, exploration=exploration, name=name)

    @contextmanager
    def _clock(self, which: str) -> Iterator[Callable[[], float]]:
        start = time.perf_counter()
        yield lambda: round(time.perf_counter() - start, 2)
        spent = getattr(self.progress, which) + time.perf_counter() - start
        self.progress = replace(self.progress, **{which: spent})

    def _record(self, kind: str, **values: Any) -> None:
        progress = self.progress
        common = {"episodes": progress.episodes, "env_frames": progress.env_frames}
        self.records.write(kind, progress.env_frames, **common, **values)

    def _record_returns(self, kind: str, episodes: list[Episode]) -> None:
        returns = [episode.total for episode in episodes]
        self._record(
            kind,
            env=self.model.spec.env,
            task=self.model.spec.task,
            seed=self.schedule.seed,
            returns=returns,
            return_mean=float(np.mean(returns)),
            wall_clock_s=round(self.progress.wall_clock_s, 1),
            evaluation_s=round(self.progress.evaluation_s, 1),
        )
