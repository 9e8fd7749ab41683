"""Imagined returns against real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from worldmodel.pictures.png import write_png


def draw_trust(path: Path, imagined: np.ndarray, real: np.ndarray) -> None:
    """Writes `trust_figure` as a PNG; the folder of `path` must exist."""
    write_png(path, trust_figure(imagined, real))


def trust_figure(imagined: np.ndarray, real: np.ndarray) -> Figure:
    """Two panels: a point a start, its imagined return against its real one; and both means as the horizon grows.

    Args:
        imagined, real: rewards (n, h) of the same policy from the same n states; what is no finite number leaves a gap.
    """
    figure = Figure(figsize=(8.4, 3.8), dpi=130, layout="constrained")
    points, growth = figure.subplots(1, 2)
    ours, theirs = _gaps(imagined)[:, -1], _gaps(real)[:, -1]
    low, high = np.nanmin([ours, theirs]), np.nanmax([ours, theirs])
    points.plot([low, high], [low, high], color="0.5", linestyle="--", linewidth=1, label="as imagined")
    points.scatter(theirs, ours, s=14, alpha=0.5, linewidths=0)
    points.set_xlabel(f"real return over {real.shape[1]} decisions")
    points.set_ylabel("imagined return")
    points.legend(frameon=False)
    decisions = np.arange(1, real.shape[1] + 1)
    for name, rewards, style in (("imagined", imagined, "--"), ("real", real, "-")):
        returns = _gaps(rewards)
        mean, std = returns.mean(0), returns.std(0)
        (line,) = growth.plot(decisions, mean, style, label=name)
        growth.fill_between(decisions, mean - std, mean + std, color=line.get_color(), alpha=0.15, linewidth=0)
    growth.set_xlabel("horizon, decisions")
    growth.set_ylabel("return, mean and std over starts")
    growth.legend(frameon=False)
    for axes in (points, growth):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return figure


def _gaps(rewards: np.ndarray) -> np.ndarray:
    """Returns (n, h) as the horizon grows; NaN where they are no finite numbers of float32."""
    with np.errstate(invalid="ignore"):  # infinity less infinity
        returns = rewards.cumsum(1, dtype=np.float64)
    return np.where(np.abs(returns) <= np.finfo(np.float32).max, returns, np.nan)
