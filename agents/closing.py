"""How a run ends: a table, a learning curve, a dream to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from worldmodel.episode import Episode
from worldmodel.errors import DataError
from worldmodel.model import Model
from worldmodel.pictures.curve import learning_curve
from worldmodel.pictures.open_loop import imagine_open_loop
from worldmodel.pictures.png import write_png
from worldmodel.pictures.reel import open_loop_film
from worldmodel.pictures.sheet import open_loop_figure
from worldmodel.pictures.video import write_video
from worldmodel.records import read_records

FPS = 12
SAMPLES = 4


def returns_table(returns: Mapping[str, Sequence[float]]) -> str:
    """A line a policy: mean, standard deviation, least and largest return, and over how many episodes."""
    lines = [f"{'':<16}{'mean':>9}{'std':>9}{'min':>9}{'max':>9}  episodes"]
    for name, values in returns.items():
        x = np.asarray(values)
        lines.append(f"{name:<16}{x.mean():>9.1f}{x.std():>9.1f}{x.min():>9.1f}{x.max():>9.1f}{len(x):>10}")
    return "\n".join(lines)


def draw_dream(folder: Path, model: Model, episode: Episode, *, context: int) -> list[Path]:
    """Writes `dream.mp4` and `dream.png`: an episode the model never trained on, beside the model's own versions.

    An episode no longer than the context gets what context it can.
    Raises DataError for an episode of one frame.
    """
    context = min(context, len(episode))
    rollout = imagine_open_loop(model, episode, context=context, samples=SAMPLES)
    video, picture = folder / "dream.mp4", folder / "dream.png"
    write_video(video, open_loop_film(rollout), fps=FPS)
    write_png(picture, open_loop_figure(rollout.part(context + 20)))
    return [video, picture]


def draw_curve(folder: Path) -> Path:
    """Writes `learning_curve.png` from the run's `metrics.jsonl`; DataError before the first evaluation."""
    metrics = folder / "metrics.jsonl"
    chance = read_records(metrics, "random_policy")
    evaluations = read_records(metrics, "evaluation")
    if not chance or not evaluations:
        raise DataError(f"{metrics} has no evaluation yet: there is nothing to draw")
    path = folder / "learning_curve.png"
    learning_curve(path, evaluations, chance[-1]["return_mean"])
    return path
