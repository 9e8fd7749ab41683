"""The learning curve: return against environment frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from worldmodel.errors import DataError
from worldmodel.pictures.png import write_png
from worldmodel.pictures.scores import list_reported


def learning_curve(path: Path, evaluations: Sequence[Mapping[str, Any]], random_return: float) -> None:
    """Writes `curve_figure` as a PNG of 960 x 600 pixels; the folder of `path` must exist. Raises what that raises."""
    write_png(path, curve_figure(evaluations, random_return))


def curve_figure(
    evaluations: Sequence[Mapping[str, Any]],
    random_return: float,
    *,
    reported: Mapping[str, float] | None = None,
    at: int = 0,
) -> Figure:
    """The mean return, every episode's return, and the random policy's, against environment frames.

    Args:
        evaluations: records, in any order, with `env_frames`, simulator steps seen in training until then, and
            `returns`, one for each evaluation episode; other keys are ignored.
        random_return: mean return of uniformly random actions.
        reported: by method, what others report after `at` frames, out of 1000; listed beside the curve.

    Raises:
        DataError: no records, or one without `env_frames` or returns.
    """
    if not evaluations:
        raise DataError("there are no evaluations to draw: evaluate at least once")
    for i, record in enumerate(evaluations):
        if "env_frames" not in record or not record.get("returns"):
            raise DataError(f"evaluation {i} has {sorted(record)}: it needs env_frames and at least one of returns")
    ordered = sorted(evaluations, key=lambda record: record["env_frames"])
    env_frames = [record["env_frames"] for record in ordered]
    means = [sum(record["returns"]) / len(record["returns"]) for record in ordered]
    xs, ys = zip(*[(record["env_frames"], value) for record in ordered for value in record["returns"]], strict=True)

    # A figure without pyplot, which would keep every figure, and choose a backend, for the whole process.
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(random_return, color="0.5", linestyle="--", linewidth=1, label=f"random policy ({random_return:.0f})")
    axes.scatter(xs, ys, s=10, color="tab:blue", alpha=0.35, linewidths=0, label="one episode")
    axes.plot(env_frames, means, color="tab:blue", marker="o", markersize=4, label="mean")
    axes.set_xlabel("environment frames")
    axes.set_ylabel("return")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(frameon=False)
    if reported:
        axes.set_xlim(0, max(at, *env_frames))
        axes.set_ylim(0, 1000)
        list_reported(axes, reported, at)
    return figure
