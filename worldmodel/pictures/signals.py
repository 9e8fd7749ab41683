"""The rewards and actions of an open-loop rollout, drawn against time for beneath its frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from worldmodel.pictures.open_loop import OpenLoop
from worldmodel.pictures.video import BACKGROUND, CONTEXT, IMAGINED, TEXT, Colour

Shade = str | tuple[float, float, float]
"""A colour as matplotlib has it."""

DPI = 100
ACTIONS = ("#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#56B4E9")  # told apart by the colour-blind too
NAMED = 6  # numbers of an action that a legend names
PANEL = 94  # pixels, of each of the two panels
GAP = 20  # of which are empty, or hold the legend of the one below
FOOT = 30  # pixels, for what stands beneath them
HEIGHT = 2 * PANEL + FOOT


@dataclass(frozen=True)
class Span:
    """Where frames lie on a picture: frame i is centred `left` + i · `step` pixels from its left edge."""

    left: float
    step: float


def add_signals(figure: Figure, rollout: OpenLoop, span: Span) -> tuple[Axes, Axes]:
    """Draws rewards above actions into the lowest HEIGHT pixels of a figure of `DPI`.

    Rewards: as they came, as imagined with the mean of each z, and of each sample. A reward and an action stand at the
    frame that they led to. The context is shaded.
    """
    width, height = figure.get_size_inches() * DPI
    t = len(rollout.rewards)
    left, right = span.left - span.step / 2, span.left + (t + 0.5) * span.step

    def panel(row: int) -> Axes:
        bottom = FOOT + (1 - row) * PANEL
        axes = figure.add_axes(
            (left / width, bottom / height, (right - left) / width, (PANEL - GAP) / height), facecolor=shade(BACKGROUND)
        )
        axes.set_xlim(-0.5, t + 0.5)
        axes.axvspan(-0.5, rollout.context - 0.5, color=shade(CONTEXT), alpha=0.18, linewidth=0)
        axes.axvline(rollout.context - 0.5, color=shade(CONTEXT), linewidth=1.5)
        axes.tick_params(colors=shade(TEXT), labelsize=7, length=2)
        axes.spines[["top", "right"]].set_visible(False)
        for spine in axes.spines.values():
            spine.set_color("0.45")
        return axes

    times = np.arange(1, t + 1)
    rewards = panel(0)
    plot_rewards(rewards, rollout, earned=shade(TEXT), imagined=shade(IMAGINED))
    rewards.set_ylabel("reward", color=shade(TEXT), fontsize=8)
    rewards.tick_params(labelbottom=False)
    actions = panel(1)
    if rollout.discrete:
        actions.step(times, rollout.actions.argmax(1), where="mid", color=ACTIONS[0], linewidth=1.2)
        actions.set_ylim(-0.5, rollout.actions.shape[1] - 0.5)
        actions.set_yticks(range(rollout.actions.shape[1]))
    else:
        for i, values in enumerate(rollout.actions.T):
            label = str(i) if rollout.actions.shape[1] <= NAMED else None
            actions.step(times, values, where="mid", color=ACTIONS[i % len(ACTIONS)], linewidth=1.2, label=label)
        actions.set_ylim(-1.1, 1.1)
        actions.set_yticks([-1, 0, 1])
    actions.set_ylabel("action", color=shade(TEXT), fontsize=8)
    actions.set_xlabel("frame", color=shade(TEXT), fontsize=8, labelpad=1)
    legend: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.02), "borderaxespad": 0, "ncols": 6}
    legend |= {"frameon": False, "fontsize": 7, "labelcolor": shade(TEXT)}
    rewards.legend(**legend)
    if not rollout.discrete and 1 < rollout.actions.shape[1] <= NAMED:
        actions.legend(**legend)
    return rewards, actions


def plot_rewards(axes: Axes, rollout: OpenLoop, *, earned: Shade, imagined: Shade) -> None:
    """True rewards, imagined ones, and those of each sample, at the frames that they led to."""
    times = np.arange(1, len(rollout.rewards) + 1)
    for sample in rollout.sample_rewards:
        axes.plot(times, sample, color=imagined, linewidth=0.7, alpha=0.4)
    axes.plot(times, rollout.rewards, color=earned, linewidth=1.6, label="earned")
    axes.plot(times, rollout.imagined_rewards, color=imagined, linewidth=1.6, label="imagined")


def inches(pixels: int) -> float:
    """At `DPI`, and a hair more: or else rounding now and then costs a row of pixels."""
    return (pixels + 0.01) / DPI


def signals_image(rollout: OpenLoop, width: int, span: Span) -> np.ndarray:
    """The same as a picture of its own, (HEIGHT, width, 3) uint8."""
    figure = Figure(figsize=(inches(width), inches(HEIGHT)), dpi=DPI, facecolor=shade(BACKGROUND))
    add_signals(figure, rollout, span)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def shade(colour: Colour) -> Shade:
    """A colour as matplotlib has it."""
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
