"""A planner's search made visible: what was tried, what the best of it would look like, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from worldmodel.errors import DataError
from worldmodel.pictures.signals import DPI, inches, shade
from worldmodel.pictures.video import BACKGROUND, CAPTION_HEIGHT, IMAGINED, SEPARATOR, TEXT, Film, caption, enlarge

PLOTS = 190  # pixels of height, for what is drawn beneath the frames
REALISED = "#E69F00"


@dataclass(frozen=True, eq=False)
class Searched:
    """One decision's search.

    Attributes:
        frame: (h, w, 3) uint8, seen when it was made.
        futures: (m, steps, h, w, 3) uint8, imagined under the m best plans, the best first.
        returns: (m,) that these are imagined to earn over their horizon.
        ahead: (steps,) how many decisions after `frame` each of the futures' frames is.
        scores: of each iteration, the finite scores (n,) of its candidates.
        spreads: (iterations, horizon), the deviation of each decision's actions over candidates, the root mean square
            over an action's numbers.
    """

    frame: np.ndarray
    futures: np.ndarray
    returns: np.ndarray
    ahead: np.ndarray
    scores: Sequence[np.ndarray]
    spreads: np.ndarray


def search_film(
    searches: Sequence[Searched], expected: Sequence[float], realised: Sequence[float | None], *, scale: int = 2
) -> Film:
    """An episode's decisions, for `write_video` at scale 1.

    To the left what the agent saw, to the right the best plans' imagined futures, a row each, after the return that is
    imagined for it. Beneath them: scores by iteration (all, the middle half, and the median), the spread of candidates
    by iteration, and the return that each decision's plan was expected to earn over its horizon beside what came, all
    of the episode, with a mark at the present decision.

    Args:
        searches: one a decision, of one planner.
        expected: by decision.
        realised: by decision; None where the episode was cut off before it was known.
        scale: whole factor of enlargement of the futures; what the agent saw is twice as large.

    Returns:
        A frame a decision.

    Raises DataError where there is no decision, or not one number for each.
    """
    if not searches or not len(searches) == len(expected) == len(realised):
        raise DataError(
            f"{len(searches)} searches, {len(expected)} expected and {len(realised)} realised returns: "
            "give one of each for every decision, one or more"
        )
    return Film(len(searches), lambda now: _moment(searches, expected, realised, now, scale))


def _moment(
    searches: Sequence[Searched],
    expected: Sequence[float],
    realised: Sequence[float | None],
    now: int,
    scale: int,
) -> np.ndarray:
    search = searches[now]
    seen = enlarge(search.frame[None], 2 * scale)[0]
    m, steps = search.futures.shape[:2]
    futures = enlarge(search.futures.reshape(m * steps, *search.frame.shape), scale)
    _, h, w, _ = futures.shape
    label = 2 * CAPTION_HEIGHT + 20
    left = 2 * w + SEPARATOR
    width = left + label + steps * (w + SEPARATOR)
    top = CAPTION_HEIGHT + max(2 * h, m * (h + SEPARATOR))
    canvas = np.empty((top + PLOTS, width, 3), np.uint8)
    canvas[:] = BACKGROUND
    canvas[:CAPTION_HEIGHT, : 2 * w] = caption(f"decision {now}", TEXT, 2 * w, CAPTION_HEIGHT)
    canvas[CAPTION_HEIGHT : CAPTION_HEIGHT + 2 * h, : 2 * w] = seen
    canvas[:CAPTION_HEIGHT, left : left + label] = caption("return", IMAGINED, label, CAPTION_HEIGHT)
    for j in range(steps):
        x = left + label + j * (w + SEPARATOR)
        canvas[:CAPTION_HEIGHT, x : x + w] = caption(f"+{search.ahead[j]}", IMAGINED, w, CAPTION_HEIGHT)
        for i in range(m):
            y = CAPTION_HEIGHT + i * (h + SEPARATOR)
            canvas[y : y + h, x : x + w] = futures[i * steps + j]
    for i in range(m):
        y = CAPTION_HEIGHT + i * (h + SEPARATOR)
        canvas[y : y + h, left : left + label] = caption(f"{search.returns[i]:.1f}", IMAGINED, label, h)
    canvas[top:] = _plots(searches, expected, realised, now, width)
    return canvas


def _plots(
    searches: Sequence[Searched],
    expected: Sequence[float],
    realised: Sequence[float | None],
    now: int,
    width: int,
) -> np.ndarray:
    figure = Figure(figsize=(inches(width), inches(PLOTS)), dpi=DPI, facecolor=shade(BACKGROUND), layout="constrained")
    scores, spreads, returns = figure.subplots(1, 3)
    for axes, title, x in (
        (scores, "candidates' scores", "iteration"),
        (spreads, "spread of candidates", "iteration"),
        (returns, "return over the horizon", "decision"),
    ):
        axes.set_facecolor(shade(BACKGROUND))
        axes.set_title(title, color=shade(TEXT), fontsize=9)
        axes.set_xlabel(x, color=shade(TEXT), fontsize=8)
        axes.tick_params(colors=shade(TEXT), labelsize=7, length=2)
        axes.spines[["top", "right"]].set_visible(False)
        for spine in axes.spines.values():
            spine.set_color("0.45")
    _draw_scores(scores, searches[now])
    _draw_spreads(spreads, searches[now])
    # Scales that stand still over the film.
    highest = max(float(search.spreads.max(initial=0)) for search in searches)
    spreads.set_ylim(0, 1.05 * highest or 1)
    returns.plot(range(len(expected)), expected, color=shade(IMAGINED), linewidth=1.2, label="expected")
    came = [np.nan if value is None else value for value in realised]
    returns.plot(range(len(came)), came, color=REALISED, linewidth=1.2, label="realised")
    returns.axvline(now, color=shade(TEXT), linewidth=1)
    returns.legend(frameon=False, fontsize=7, labelcolor=shade(TEXT), loc="upper left", ncols=2, borderaxespad=0)
    low, high = returns.get_ylim()
    returns.set_ylim(low, high + 0.2 * (high - low))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_scores(axes: Axes, search: Searched) -> None:
    """All of each iteration's, their middle half, and their median."""
    numbers = np.arange(1, len(search.scores) + 1)
    least, low, middle, high, best = np.array([np.quantile(x, (0, 0.25, 0.5, 0.75, 1)) for x in search.scores]).T
    bar = 0.5
    axes.bar(numbers, best - least, bar, bottom=least, color=shade(IMAGINED), alpha=0.25)
    axes.bar(numbers, high - low, bar, bottom=low, color=shade(IMAGINED), alpha=0.6)
    axes.plot(numbers, middle, color=shade(TEXT), marker="o", markersize=3, linewidth=1)
    axes.set_xticks(numbers)


def _draw_spreads(axes: Axes, search: Searched) -> None:
    """A line a decision ahead, the next one brightest."""
    iterations, horizon = search.spreads.shape
    numbers = np.arange(1, iterations + 1)
    for i, values in enumerate(search.spreads.T):
        colour = colormaps["viridis"](1 - i / max(1, horizon - 1) * 0.85)
        axes.plot(numbers, values, color=colour, marker="o", markersize=3, linewidth=1)
    axes.set_xticks(numbers)
