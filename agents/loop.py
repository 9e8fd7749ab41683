"""The loop that runs share: play, fit, evaluate and save, an episode at a time, and tell how it goes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from agents.learner import Learner
from worldmodel.command import Interrupted
from worldmodel.episode import Episode
from worldmodel.errors import EnvFailure
from worldmodel.records import read_records


def learn(
    learner: Learner,
    *,
    improve: Callable[[], None] | None = None,
    judge: Callable[[list[Episode]], str] = lambda episodes: "",
    parts: Callable[[], dict[str, Any]] = dict,
) -> None:
    """Goes on until the schedule's last episode, and ends with an evaluation of what there is then.

    Args:
        improve: lets what acts learn in the dream, after each fit of the model.
        judge: looks at each evaluation's episodes, and adds to the line that tells of it.
        parts: the states of what else learns, for `Learner.save`.

    An interruption, or an environment that fails in evaluation, saves the round in hand on its way out, as far as the
    fit has come. What a second signal has cut in two is not saved.
    """

    def evaluate() -> str:
        episodes = learner.evaluate()
        return f"; evaluation {sum(played.total for played in episodes) / len(episodes):.1f}{judge(episodes)}"

    total = learner.schedule.episodes
    finished = learner.progress.episodes - (learner.round is not None)
    with tqdm(total=total, initial=finished, unit="episode", disable=None) as bar:
        while learner.round is not None or learner.progress.episodes < total:
            before = copy.deepcopy(parts())
            try:
                bar.set_postfix_str("playing")
                episode = learner.collect()
                for update in learner.fit():
                    bar.set_postfix_str(f"update {update}")
                played = learner.progress.episodes
                if improve is not None and played >= learner.schedule.seed_episodes:
                    bar.set_postfix_str("dreaming")
                    improve()
                line = f"episode {played:>4} ({episode.actor}): return {episode.total:.1f}"
                if learner.schedule.due(played):
                    bar.set_postfix_str("evaluating")
                    line += evaluate()
                learner.save(**parts())
            except (Interrupted, EnvFailure) as end:
                if not (isinstance(end, Interrupted) and end.torn) and (path := learner.save_within(**before)):
                    bar.write(f"saved {path}; add resume=true run={learner.folder} to go on")
                raise
            bar.write(f"{line}  [{learner.progress.env_frames} frames, {learner.progress.wall_clock_s / 60:.1f} min]")
            bar.update()
    evaluations = read_records(learner.folder / "metrics.jsonl", "evaluation")
    if not evaluations or evaluations[-1]["episodes"] != learner.progress.episodes:  # resumed with fewer episodes
        evaluate()
