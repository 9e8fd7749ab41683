"""How a fit went: each term of the loss against updates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from worldmodel.errors import DataError

ASIDE = ("kind", "episodes", "env_frames", "updates", "seconds", "imagined_steps")  # of a record, and no terms
COLUMNS = 3


def has_terms(record: Mapping[str, Any]) -> bool:
    """Whether a record has a number to draw."""
    return any(key not in ASIDE and isinstance(value, int | float) for key, value in record.items())


def terms_figure(records: Sequence[Mapping[str, Any]], against: str) -> Figure:
    """A small panel a quantity; terms named ``part/quantity`` share that of their quantity, a line a part.

    Args:
        records: with numbers, or None where there was none.
        against: the key of what goes to the right.

    Raises DataError when there is nothing to draw.
    """
    panels: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for key, value in record.items():
            if key not in ASIDE and isinstance(value, int | float):
                part, _, quantity = key.rpartition("/")
                panels[quantity][part].append((record[against], value))
    if not panels:
        raise DataError("there are no terms to draw: fit at least once")
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(8, 1.9 * rows), layout="constrained")
    cells = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axes, (quantity, parts) in zip(cells, panels.items(), strict=False):
        for part, points in parts.items():
            axes.plot(*zip(*points, strict=True), linewidth=1.2, label=part.replace("_", " "))
        axes.set_title(quantity.replace("_", " "), fontsize=9, loc="left")
        axes.tick_params(labelsize=7)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
        if len(parts) > 1:
            axes.legend(frameon=False, fontsize=7)
    for axes in cells[len(panels) :]:
        axes.remove()
    figure.supxlabel(against.replace("_", " "), fontsize=8)
    return figure
