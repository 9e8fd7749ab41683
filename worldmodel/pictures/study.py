"""Measures of video against capacity: a row of panels a data set, a line a member of the family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from worldmodel.errors import DataError

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")  # told apart by the colour-blind too
DASHES = {"updates": "-", "time": "--"}


@dataclass(frozen=True)
class Line:
    """A member at a budget, ``updates`` or ``time``: by measure, (parameters, value) of each capacity."""

    member: str
    budget: str
    points: Mapping[str, Sequence[tuple[float, float]]]


def study_figure(studies: Mapping[str, Sequence[Line]]) -> Figure:
    """By data set, its lines: solid after equal updates, dashed after equal time. Raises DataError for none."""
    if not studies:
        raise DataError("there is no study to draw: give a log or more")
    measures = list(dict.fromkeys(title for lines in studies.values() for line in lines for title in line.points))
    figure = Figure(figsize=(2.5 * len(measures), 2.6 * len(studies)), dpi=110, layout="constrained")
    cells = figure.subplots(len(studies), len(measures), squeeze=False)
    for row, (name, lines) in zip(cells, studies.items(), strict=True):
        members = list(dict.fromkeys(line.member for line in lines))
        for axes, title in zip(row, measures, strict=True):
            for line in lines:
                if points := line.points.get(title):
                    xs, ys = zip(*points, strict=True)
                    colour = COLOURS[members.index(line.member) % len(COLOURS)]
                    label = line.member if line.budget == "updates" else None
                    inside = colour if line.budget == "updates" else "white"
                    style = {"color": colour, "linestyle": DASHES[line.budget], "label": label}
                    axes.plot(xs, ys, marker="o", markersize=4, markerfacecolor=inside, linewidth=1.3, **style)
            if not axes.lines:  # a measure that this data set does not have
                axes.set_visible(False)
                continue
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1e6:g}M")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_title(title, fontsize=8, loc="left")
            axes.tick_params(labelsize=6)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.25)
        row[0].set_ylabel(name, fontsize=8)
        row[0].legend(frameon=False, fontsize=6)
    figure.supxlabel("parameters; solid and full after equal updates, dashed and open after equal time", fontsize=8)
    return figure
