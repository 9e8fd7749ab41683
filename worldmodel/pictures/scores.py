"""Learning curves of several seeds and tasks, beside the returns that others report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from worldmodel.errors import DataError
from worldmodel.pictures.png import write_png

COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito's: told apart by the colour-blind too
REPORTED = "#D55E00"  # theirs as well
LINE = 0.058  # height of a line of the list beside a panel, in heights of the panel
MEAN: dict[str, Any] = {"linewidth": 2.2, "marker": "o", "markersize": 3.5, "clip_on": False}
SEED: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.6, "clip_on": False}
RANGE: dict[str, Any] = {"alpha": 0.18, "linewidth": 0}
CHANCE: dict[str, Any] = {"color": "0.45", "linestyle": (0, (4, 3)), "linewidth": 1.1}
MARK: dict[str, Any] = {"color": REPORTED, "marker": "D", "markersize": 3.6, "linestyle": "none"}


@dataclass(frozen=True)
class Study:
    """One way to learn a task.

    Attributes:
        name: for a legend, where a panel has several.
        seeds: by seed, the mean return after so many environment frames, in order.
    """

    name: str
    seeds: Sequence[Mapping[int, float]]


@dataclass(frozen=True)
class Panel:
    """A task.

    Attributes:
        title: its name.
        studies: one or more.
        chance: mean return of the random policy, where it is known.
        reported: by method, what others report after `at` environment frames.
        at: those frames.
    """

    title: str
    studies: Sequence[Study]
    chance: float | None
    reported: Mapping[str, float]
    at: int


def draw_scores(path: Path, panels: Sequence[Panel]) -> None:
    """Writes `scores_figure` as a PNG; the folder of `path` must exist. Raises what that raises."""
    write_png(path, scores_figure(panels))


def scores_figure(panels: Sequence[Panel]) -> Figure:
    """A panel a task: a line a seed, their mean and range, the random policy, and in a list beside it what is reported.

    Reported returns are the control suite's: they set the range of a panel, 0 to 1000.

    Raises DataError when there is nothing to draw.
    """
    if not panels:
        raise DataError("no log tells of learning: give the metrics.jsonl of agents.cem_plan")
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(8 if columns > 1 else 5.5, 0.5 + 2.9 * rows), dpi=130, layout="constrained")
    cells = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, panel in zip(cells, panels, strict=False):
        _draw(axes, panel)
    for axes in cells[len(panels) :]:
        axes.remove()
    figure.legend(handles=_legend(panels), loc="outside lower center", ncols=3, frameon=False, fontsize=7.5)
    return figure


def mean_and_range(seeds: Sequence[Mapping[int, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Frames (n,), and there the seeds' mean, least and largest return (n,), over the frames that all seeds span.

    Seeds that were evaluated elsewhere are joined by straight lines.
    """
    first, last = max(min(seed) for seed in seeds), min(max(seed) for seed in seeds)
    frames = np.array(sorted({x for seed in seeds for x in seed if first <= x <= last}))
    values = np.array([np.interp(frames, list(seed), list(seed.values())) for seed in seeds])
    return frames, values.mean(0), values.min(0), values.max(0)


def spread(heights: Sequence[float], gap: float) -> np.ndarray:
    """The nearest heights, in order, that lie at least `gap` apart within 0 to 1 (by least squares, then moved inside).

    Args:
        heights: (n,) ascending.
        gap: at most 1 / (n - 1).
    """
    steps = gap * np.arange(len(heights))
    blocks: list[tuple[float, int]] = []  # mean and size: pools of neighbours that would otherwise change places
    for wanted in np.asarray(heights, float) - steps:
        mean, size = float(wanted), 1
        while blocks and blocks[-1][0] > mean:
            other, count = blocks.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        blocks.append((mean, size))
    placed = np.concatenate([np.full(size, mean) for mean, size in blocks])
    return placed.clip(0, max(0.0, 1 - steps[-1])) + steps


def _draw(axes: Axes, panel: Panel) -> None:
    for study, colour in zip(panel.studies, COLOURS * len(panel.studies), strict=False):
        frames, mean, low, high = mean_and_range(study.seeds)
        if len(study.seeds) > 1:
            axes.fill_between(frames, low, high, color=colour, **RANGE)
            for seed in study.seeds:
                axes.plot(list(seed), list(seed.values()), color=colour, **SEED)
        axes.plot(frames, mean, color=colour, label=f"{study.name} ({_seeds(study)})", **MEAN)
    if panel.chance is not None:
        axes.axhline(panel.chance, **CHANCE)
    end = max(x for study in panel.studies for seed in study.seeds for x in seed)
    axes.set_xlim(0, max(end, panel.at) if panel.reported else end)
    if panel.reported:
        axes.set_ylim(0, 1000)
        list_reported(axes, panel.reported, panel.at)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x else "0")
    only = f", {_seeds(panel.studies[0])}" if len(panel.studies) == 1 else ""
    axes.set_title(panel.title + only, fontsize=9, loc="left")
    axes.set_xlabel("environment frames", fontsize=8)
    axes.set_ylabel("return", fontsize=8)
    axes.tick_params(labelsize=7.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    if len(panel.studies) > 1:
        axes.legend(frameon=False, fontsize=7, loc="best")


def list_reported(axes: Axes, reported: Mapping[str, float], at: int) -> None:
    """Marks what methods are reported to earn after `at` frames, and names them beside the panel.

    Each name is joined to its own height on the panel's edge; the panel's limits must be set.
    """
    low, high = axes.get_ylim()
    ranked = sorted(reported.items(), key=lambda item: item[1])
    heights = [(value - low) / (high - low) for _, value in ranked]
    axes.plot([at] * len(ranked), [value for _, value in ranked], clip_on=False, zorder=3, **MARK)
    axes.hlines([value for _, value in ranked], at, axes.get_xlim()[1], color=REPORTED, alpha=0.35, linewidth=0.6)
    for (name, value), height, place in zip(ranked, heights, spread(heights, LINE), strict=True):
        axes.plot(
            [1.0, 1.02, 1.07, 1.09],
            [height, height, place, place],
            transform=axes.transAxes,
            color="0.6",
            linewidth=0.6,
            clip_on=False,
        )
        axes.text(1.10, place, f"{name} {value:.0f}", transform=axes.transAxes, fontsize=7, va="center")


def _legend(panels: Sequence[Panel]) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = [Line2D([], [], color=COLOURS[0], label="mean over seeds", **MEAN)]
    if any(len(study.seeds) > 1 for panel in panels for study in panel.studies):
        handles += [
            Line2D([], [], color=COLOURS[0], label="one seed", **SEED),
            Patch(color=COLOURS[0], label="range of seeds", **RANGE),
        ]
    if any(panel.chance is not None for panel in panels):
        handles.append(Line2D([], [], label="random policy", **CHANCE))
    handles += [
        Line2D([], [], label=f"published, at {at // 1000}k frames", **MARK)
        for at in sorted({panel.at for panel in panels if panel.reported})
    ]
    return handles


def _seeds(study: Study) -> str:
    return f"{len(study.seeds)} seed" + ("s" if len(study.seeds) > 1 else "")
