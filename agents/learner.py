"""PlaNet's loop in pieces: collect with the planner, fit, evaluate, save (Hafner et al. 2019, Algorithm 1)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from agents.actor import Actor, RandomActor
from agents.collecting import Failure, outcome, play_evaluation, play_numbered
from agents.run import Run
from agents.schedule import Progress
from agents.seeds import seed_of
from worldmodel.command import uninterrupted
from worldmodel.episode import Episode, episode_path, load_episode, save_episode
from worldmodel.errors import DivergedError
from worldmodel.files import make_folder
from worldmodel.pictures.open_loop import imagine_open_loop
from worldmodel.pictures.reel import open_loop_film
from worldmodel.pretrained import save_pretrained
from worldmodel.records import Records
from worldmodel.replay import Replay
from worldmodel.series import mark_best, numbered, prune
from worldmodel.trainer import mean_terms

_log = logging.getLogger(__name__)
CONTEXTS = 16  # start contexts a checkpoint carries
HORIZON, SAMPLES, FPS = 30, 4, 12  # of the dreams in TensorBoard


@dataclass(frozen=True)
class Round:
    """An episode that was played, and the fit to it as far as it has come.

    Attributes:
        before: where the run stood once the episode was filed.
        terms: of each update since.
        seconds: that these took.
    """

    before: Progress
    terms: list[dict[str, float]]
    seconds: float = 0.0


class Learner:
    """One run: its environment, model, episodes and records.

    A run is stopped within a round without loss: `save_within` writes what `collect` and `fit` have done of it.

    Args:
        run: what it consists of.
        actor: plays once the seed episodes are there.
        name: of the actor, written into episodes and records.
        records: of the run, open.
    """

    def __init__(self, run: Run, *, actor: Actor, name: str, records: Records) -> None:
        for folder in ("episodes", "evaluation", "checkpoints"):
            make_folder(run.folder / folder)
        self.folder = run.folder
        self.schedule = run.schedule
        self.env = run.env
        self.model = run.model
        self.trainer = run.trainer
        self.progress = run.progress
        self.actor = actor
        self.name = name
        self.records = records
        self.random = RandomActor(run.model.spec)
        self._stopped_within = "terms" in run.saved  # a round that is to be gone on with
        self.round = None
        if self._stopped_within:
            self.round = Round(run.progress, run.saved["terms"], run.saved["seconds"])
        self._mark_best()  # again, should a kill have come between a checkpoint and its mark

    def collect(self) -> Episode:
        """Plays the next episode, at random while seed episodes are wanted, and files it.

        In a run that was stopped within a round, that round's episode is the next. Raises EnvFailure as
        `agents.collecting.insist` does; then nothing is filed, and the run stands where it stood.
        """
        if self._stopped_within:
            self._stopped_within = False
            return load_episode(episode_path(self.folder / "episodes", self.progress.episodes - 1))
        index, schedule = self.progress.episodes, self.schedule
        seeding = index < schedule.seed_episodes
        actor, name = (self.random, "random") if seeding else (self.actor, self.name)
        with self.clock("wall_clock_s") as elapsed:
            with self.trainer.fabric.autocast():  # act in the precision the model is trained in
                episode = play_numbered(
                    self.env,
                    actor,
                    index,
                    spec=self.model.spec,
                    seed=schedule.seed,
                    exploration=schedule.noise(index),
                    name=name,
                    failed=self._failed,
                )
            save_episode(episode, episode_path(self.folder / "episodes", index))
        env_frames = self.progress.env_frames + episode.env_frames
        self.progress = replace(self.progress, episodes=index + 1, env_frames=env_frames)
        self.record("episode", actor=name, length=len(episode), episode_return=episode.total, seconds=elapsed())
        self.progress = replace(self.progress, metrics_bytes=self.records.sync())
        self.round = Round(self.progress, [])
        return episode

    def fit(self) -> Iterator[int]:
        """Fits the model to every episode so far, if it is time to; yields the number of each update."""
        played, schedule = self.progress.episodes, self.schedule
        if played < schedule.seed_episodes:
            return
        assert self.round is not None
        updates = schedule.first_updates if played == schedule.seed_episodes else schedule.updates
        terms, seed, before = self.round.terms, seed_of(schedule.seed, "fit", played), self.round.seconds
        with self.clock("wall_clock_s") as elapsed:
            replay = Replay(self.folder / "episodes")
            with uninterrupted():
                rescaled = self.trainer.rescale_rewards(replay)
            if rescaled:
                _log.warning("rewards have grown: they are counted in a unit of %.3g from now on", self._unit())
            fitting = self.trainer.fit(replay, updates - len(terms), seed=seed)
            while True:
                with uninterrupted():
                    if (values := next(fitting, None)) is None:
                        break
                    terms.append(values)
                    self.round = replace(self.round, seconds=before + elapsed())
                yield len(terms)
        seconds = round(before + elapsed(), 2)
        self.record("fit", updates=self.trainer.updates, seconds=seconds, reward_unit=self._unit(), **mean_terms(terms))

    def _unit(self) -> float:
        return self.model.statistics.reward_std.item()

    def evaluate(self) -> list[Episode]:
        """Plays the evaluation episodes without exploration; the same starts every time."""
        with self.clock("evaluation_s"):
            episodes = self._evaluation(self.actor, self.name)
        for index, episode in enumerate(episodes):
            save_episode(episode, episode_path(self.folder / "evaluation", index))
        self._record_returns("evaluation", episodes)
        reached, best = float(np.mean([episode.total for episode in episodes])), self.progress.best_return
        if best is None or reached > best:
            self.progress = replace(self.progress, best_episodes=self.progress.episodes, best_return=reached)
        self._film(episodes[0])
        return episodes

    def _film(self, episode: Episode) -> None:
        """Shows in TensorBoard what the model as it is now imagines of an episode that it was not fitted to.

        A model that diverges in imagination shows nothing, and is told of: further fits may mend it.
        """
        context = min(self.schedule.context, len(episode))
        horizon = min(HORIZON, len(episode) - context + 1)
        with self.clock("evaluation_s"), self.trainer.fabric.autocast():
            try:
                rollout = imagine_open_loop(self.model, episode, context=context, horizon=horizon, samples=SAMPLES)
            except DivergedError as error:
                _log.warning("nothing is filmed: %s", error)
                self.record("diverged", why=str(error))
                return
            self.records.film("dream", self.progress.env_frames, open_loop_film(rollout, scale=2), fps=FPS)

    def evaluated(self) -> list[Episode]:
        """The episodes of the newest evaluation: nothing was ever fitted to them."""
        folder = self.folder / "evaluation"
        return [load_episode(episode_path(folder, index)) for index in range(self.schedule.evaluation_episodes)]

    def evaluate_random(self) -> list[Episode]:
        """The same for the random policy."""
        with self.clock("evaluation_s"):
            episodes = self._evaluation(self.random, "random")
        self._record_returns("random_policy", episodes)
        return episodes

    def save(self, **parts: Any) -> Path:
        """Writes a checkpoint from which `resume` goes on exactly here; the one before it and the best are kept too.

        `parts` are the states of what else learns, nested as `write_checkpoint` takes the trainer's.
        """
        self.progress = replace(self.progress, metrics_bytes=self.records.sync())
        folder, progress = self.folder / "checkpoints", self.progress
        path = numbered(folder, progress.episodes)
        self._write(path, progress=asdict(progress), **parts)
        self.round = None
        self._mark_best()
        prune(folder)
        return path

    def save_within(self, **parts: Any) -> Path | None:
        """Writes a checkpoint within a round: `resume` goes on after the last update; None between rounds.

        `parts` are as they were when the round began.
        """
        if self.round is None:
            return None
        path = numbered(self.folder / "checkpoints", self.progress.episodes, within=len(self.round.terms))
        spent = {clock: getattr(self.progress, clock) for clock in ("wall_clock_s", "evaluation_s")}
        progress = replace(self.round.before, **spent)
        if not path.exists():  # stopped again before the next update
            self._write(path, progress=asdict(progress), terms=self.round.terms, seconds=self.round.seconds, **parts)
        return path

    def _mark_best(self) -> None:
        best, reached = self.progress.best_episodes, self.progress.best_return
        if best is not None and reached is not None:
            mark_best(self.folder / "checkpoints", best, return_mean=reached)

    def _write(self, path: Path, **state: Any) -> None:
        replay = Replay(self.folder / "episodes")
        rng = np.random.default_rng(seed_of(self.schedule.seed, "contexts", self.progress.episodes))
        contexts = replay.contexts(CONTEXTS, self.schedule.context, rng)
        save_pretrained(path, self.model, contexts, trainer={"trainer": self.trainer.state_dict(), **state})

    def close(self) -> None:
        """Syncs the records to disk, and closes the environment."""
        self.records.close()
        self.env.close()

    def _evaluation(self, actor: Actor, name: str) -> list[Episode]:
        seed, count = self.schedule.seed, self.schedule.evaluation_episodes
        with self.trainer.fabric.autocast():  # act in the precision the model is trained in
            return play_evaluation(
                self.env, actor, spec=self.model.spec, seed=seed, count=count, name=name, failed=self._failed
            )

    def _failed(self, failure: Failure) -> None:
        self.record("env_failure", **asdict(failure))

    @contextmanager
    def clock(self, which: str) -> Iterator[Callable[[], float]]:
        start = time.perf_counter()
        try:
            yield lambda: round(time.perf_counter() - start, 2)
        finally:
            spent = getattr(self.progress, which) + time.perf_counter() - start
            self.progress = replace(self.progress, **{which: spent})

    def record(self, kind: str, **values: Any) -> None:
        progress = self.progress
        common = {"episodes": progress.episodes, "env_frames": progress.env_frames}
        self.records.write(kind, progress.env_frames, **common, **values)

    def _record_returns(self, kind: str, episodes: list[Episode]) -> None:
        self.record(
            kind,
            **outcome(episodes, self.schedule.seed),
            wall_clock_s=round(self.progress.wall_clock_s, 1),
            evaluation_s=round(self.progress.evaluation_s, 1),
        )
