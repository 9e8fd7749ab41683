"""An open-loop rollout on one sheet: time to the right, and below each other what happened and what was imagined."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from worldmodel.errors import DataError, check_whole
from worldmodel.pictures.open_loop import SPREAD_LEVELS, OpenLoop, coloured_spread
from worldmodel.pictures.signals import DPI, HEIGHT, Span, add_signals, inches, shade
from worldmodel.pictures.video import BACKGROUND, CONTEXT, IMAGINED, TEXT, caption, enlarge

LABEL_WIDTH = 120  # pixels
LABEL_HEIGHT = 20
GAP = 4


def open_loop_figure(rollout: OpenLoop, *, columns: int = 12, scale: int = 2) -> Figure:
    """What happened, what was imagined, samples, difference and spread, with rewards and actions beneath.

    Frame numbers stand above; an amber line parts the context, amber too, from what was imagined, in blue. For a
    notebook, or for `worldmodel.pictures.png.write_png`.

    Args:
        rollout: as `imagine_open_loop` gives it.
        columns: how many frames are shown at most, every second or third of them where there are more.
        scale: whole factor of enlargement.

    Raises ConfigError for a number out of range.
    """
    check_whole("columns", columns, 2)
    sheet, span = sheet_of(rollout, columns, scale)
    height, width, _ = sheet.shape
    total = height + HEIGHT
    figure = Figure(figsize=(inches(width), inches(total)), dpi=DPI, facecolor=shade(BACKGROUND))
    figure.figimage(sheet, 0, total - height, origin="upper")
    add_signals(figure, rollout, span)
    return figure


def sheet_of(rollout: OpenLoop, columns: int, scale: int) -> tuple[np.ndarray, Span]:
    """The frames of the sheet, (height, width, 3) uint8, and where all frames lie on it."""
    count = len(rollout.real)
    if count < 2:
        raise DataError(f"the rollout has {count} frames: there is nothing to show below 2")
    stride = -(-count // columns)
    shown = np.arange(0, count, stride)
    rows = {"what happened": rollout.real, "imagined": rollout.imagined}
    rows |= {f"sample {i}": sample for i, sample in enumerate(rollout.samples, 1)}
    rows["difference"] = rollout.difference
    if len(rollout.samples) > 1:
        rows[f"spread, to {SPREAD_LEVELS}"] = coloured_spread(rollout)
    panels = {label: enlarge(frames[shown], scale) for label, frames in rows.items()}
    _, h, w, _ = panels["imagined"].shape
    canvas = np.empty((LABEL_HEIGHT + len(rows) * (h + GAP), LABEL_WIDTH + len(shown) * (w + GAP), 3), np.uint8)
    canvas[:] = BACKGROUND
    lefts = LABEL_WIDTH + np.arange(len(shown)) * (w + GAP) + GAP
    for left, number in zip(lefts, shown, strict=True):
        colour = CONTEXT if number < rollout.context else IMAGINED
        canvas[:LABEL_HEIGHT, left : left + w] = caption(str(number), colour, w, LABEL_HEIGHT)
    for i, (label, frames) in enumerate(panels.items()):
        top = LABEL_HEIGHT + i * (h + GAP)
        canvas[top : top + h, :LABEL_WIDTH] = caption(label, TEXT, LABEL_WIDTH, h)
        for left, frame in zip(lefts, frames, strict=True):
            canvas[top : top + h, left : left + w] = frame
    edge = lefts[np.searchsorted(shown, rollout.context)] if rollout.context <= shown[-1] else None
    if edge is not None:
        canvas[:, edge - GAP : edge] = CONTEXT
    return canvas, Span(left=lefts[0] + w / 2, step=(w + GAP) / stride)
