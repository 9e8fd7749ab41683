"""The results as a picture: ratios to baselines, and what larger models and searches cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from worldmodel.files import write_atomic

Rows = Sequence[Mapping[str, Any]]
CURVES = ("horizon", "candidates", "K", "M")


def draw_results(path: Path, rows: Rows) -> None:
    """Writes `figure` as a PNG; the folder of `path` must exist."""
    png = BytesIO()
    FigureCanvasAgg(figure(rows)).print_png(png)
    write_atomic(path, png.getvalue())


def figure(rows: Rows) -> Figure:
    """A bar a row, and a panel for each of `CURVES`; what was not measured is left out."""
    figure = Figure(figsize=(9.6, 7.2), dpi=120, layout="constrained")
    grid = figure.add_gridspec(2, len(CURVES), height_ratios=(3, 2))
    _draw_bars(figure.add_subplot(grid[0, :]), [row for row in rows if not row["name"].startswith("cost.")])
    for column, curve in enumerate(CURVES):
        points = [row for row in rows if row["name"].startswith(f"cost.{curve}.")]
        _draw_curve(figure.add_subplot(grid[1, column]), curve, points)
    return figure


def _draw_bars(axes: Axes, rows: Rows) -> None:
    names = [row["name"] + (" (1 is best)" if row["name"].startswith("memory.") else "") for row in rows]
    bars = axes.barh(names, [row["ratio"] for row in rows], height=0.6, color="tab:blue")
    axes.bar_label(bars, [f"{row['ratio']:,.3g}" for row in rows], padding=3, fontsize=8)
    axes.axvline(1, color="0.5", linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.margins(x=0.1)
    axes.invert_yaxis()
    axes.set_xlabel("ratio to the baseline")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_curve(axes: Axes, curve: str, points: Rows) -> None:
    places = [float(row["name"].removeprefix(f"cost.{curve}.")) for row in points]
    axes.plot(places, [row["value"] for row in points], marker="o", markersize=4, color="tab:blue")
    axes.set_title(curve, fontsize=10)
    axes.set_ylabel({"s": "s a decision", "frames/s": "training frames/s"}[points[0]["unit"]] if points else "")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
