"""An open-loop rollout as a film: panels side by side, a timeline, and rewards and actions with a moving mark."""

from __future__ import annotations

import numpy as np

from worldmodel.pictures.open_loop import SPREAD_LEVELS, OpenLoop, coloured_spread
from worldmodel.pictures.signals import Span, signals_image
from worldmodel.pictures.video import (
    BACKGROUND,
    CAPTION_HEIGHT,
    CONTEXT,
    IMAGINED,
    SEPARATOR,
    TEXT,
    TIMELINE,
    caption,
    draw_timeline,
    enlarge,
)

MARGIN = 44  # pixels, left of rewards and actions, for their scales


def open_loop_frames(rollout: OpenLoop, *, scale: int = 3) -> np.ndarray:
    """Frames for `write_video` or `write_gif`, at scale 1.

    Above: what happened, what was imagined, their difference, and where samples differ how much. Below them, where
    there are any, the samples, four in a row. While the model is still given frames, captions say so in amber; then
    they are blue. The timeline has the same colours and a white notch where the context ends.

    Args:
        rollout: of t decisions, as `imagine_open_loop` gives it.
        scale: whole factor of enlargement; captions are not enlarged, what is wider than its panel is cut.

    Returns:
        (t+1, height, width, 3) uint8.
    """
    several = len(rollout.samples) > 1
    fixed = {"what happened": rollout.real, "imagined": rollout.imagined, "difference": rollout.difference}
    if several:
        fixed[f"spread, to {SPREAD_LEVELS}"] = coloured_spread(rollout)
    across = len(fixed)
    drawn = {f"sample {i}": sample for i, sample in enumerate(rollout.samples, 1)}
    panels = [(label, enlarge(frames, scale)) for label, frames in (fixed | drawn).items()]
    t, h, w, _ = panels[0][1].shape
    down = -(-len(panels) // across)
    width = across * w + (across - 1) * SEPARATOR
    span = Span(left=MARGIN + (width - MARGIN) / t / 2, step=(width - MARGIN) / t)
    signals = signals_image(rollout, width, span)
    top = down * (CAPTION_HEIGHT + h)
    canvas = np.empty((t, top + TIMELINE + len(signals), width, 3), np.uint8)
    canvas[:] = BACKGROUND
    for i, (label, frames) in enumerate(panels):
        x, y = i % across * (w + SEPARATOR), i // across * (CAPTION_HEIGHT + h)
        canvas[:, y + CAPTION_HEIGHT : y + CAPTION_HEIGHT + h, x : x + w] = frames
        dreamed = label == "imagined" or label in drawn
        above = canvas[:, y : y + CAPTION_HEIGHT, x : x + w]
        above[:] = caption(label, IMAGINED if dreamed else TEXT, w, CAPTION_HEIGHT)
        if dreamed:
            above[: rollout.context] = caption("given context", CONTEXT, w, CAPTION_HEIGHT)
    draw_timeline(canvas[:, top + 2 : top + TIMELINE], rollout.context)
    canvas[:, top + TIMELINE :] = signals
    for i in range(t):
        mark = round(span.left + i * span.step)
        canvas[i, top + TIMELINE :, mark : mark + 1] = np.array(TEXT, np.uint8)
    return canvas
