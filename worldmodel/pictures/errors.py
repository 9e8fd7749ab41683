"""Errors of imagined steps against the horizon."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from worldmodel.errors import DataError
from worldmodel.pictures.png import write_png
from worldmodel.validation import Errors


def draw_errors(path: Path, errors: Mapping[str, Errors]) -> None:
    """Writes `errors_figure` as a PNG; the folder of `path` must exist. Raises what that raises."""
    write_png(path, errors_figure(errors))


def errors_figure(errors: Mapping[str, Errors]) -> Figure:
    """A panel a quantity, a line a model; steps without a finite error are gaps.

    Args:
        errors: by a name for the legend; all of the same quantities.

    Raises DataError when there is nothing to draw.
    """
    quantities = list(next(iter(errors.values()), ()))
    if not quantities:
        raise DataError("there are no errors to draw: measure a model at least")
    figure = Figure(figsize=(4.2 * len(quantities), 3.6), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(quantities), squeeze=False)[0]
    for axes, quantity in zip(panels, quantities, strict=True):
        axes.axhline(1, color="0.5", linestyle="--", linewidth=1)
        for name, found in errors.items():
            values = [float("nan") if value is None else value for value in found[quantity]]
            axes.plot(range(1, len(values) + 1), values, marker="o", markersize=3, label=name)
        axes.set_title(quantity)
        axes.set_xlabel("imagined steps")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    panels[0].set_ylabel("squared error, share of the variance")
    panels[0].legend(frameon=False, fontsize=8)
    return figure
