"""An open-loop rollout as a film: panels side by side, a timeline, and rewards and actions with a moving mark."""

from __future__ import annotations

import numpy as np

from worldmodel.errors import check_whole
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
    Film,
    caption,
    enlarge,
    timeline,
)

MARGIN = 44  # pixels, left of rewards and actions, for their scales


def open_loop_film(rollout: OpenLoop, *, scale: int = 3) -> Film:
    """For `write_video` at scale 1, or `write_gif`.

    Above: what happened, what was imagined, their difference, and where samples differ how much. Below them, where
    there are any, the samples, four in a row. While the model is still given frames, captions say so in amber; then
    they are blue. The timeline has the same colours and a white notch where the context ends.

    Args:
        rollout: of t decisions, as `imagine_open_loop` gives it.
        scale: whole factor of enlargement; captions are not enlarged, what is wider than its panel is cut.

    Returns:
        t + 1 frames.

    Raises ConfigError for scale out of range.
    """
    several = len(rollout.samples) > 1
    fixed = {"what happened": rollout.real, "imagined": rollout.imagined, "difference": rollout.difference}
    if several:
        fixed[f"spread, to {SPREAD_LEVELS}"] = coloured_spread(rollout)
    across = len(fixed)
    drawn = {f"sample {i}": sample for i, sample in enumerate(rollout.samples, 1)}
    panels = fixed | drawn
    check_whole("scale", scale, 1)
    t, h, w, _ = rollout.real.shape
    h, w = h * scale, w * scale
    down = -(-len(panels) // across)
    width = across * w + (across - 1) * SEPARATOR
    span = Span(left=MARGIN + (width - MARGIN) / t / 2, step=(width - MARGIN) / t)
    signals = signals_image(rollout, width, span)
    top = down * (CAPTION_HEIGHT + h)
    given = caption("given context", CONTEXT, w, CAPTION_HEIGHT)
    dreamed = {"imagined", *drawn}
    captions = {name: caption(name, IMAGINED if name in dreamed else TEXT, w, CAPTION_HEIGHT) for name in panels}

    def draw(i: int) -> np.ndarray:
        canvas = np.empty((top + TIMELINE + len(signals), width, 3), np.uint8)
        canvas[:] = BACKGROUND
        for number, (name, frames) in enumerate(panels.items()):
            x, y = number % across * (w + SEPARATOR), number // across * (CAPTION_HEIGHT + h)
            above = given if name in dreamed and i < rollout.context else captions[name]
            canvas[y : y + CAPTION_HEIGHT, x : x + w] = above
            canvas[y + CAPTION_HEIGHT : y + CAPTION_HEIGHT + h, x : x + w] = enlarge(frames[i : i + 1], scale)[0]
        canvas[top + 2 : top + TIMELINE] = timeline(i, t, rollout.context, width)
        canvas[top + TIMELINE :] = signals
        mark = round(span.left + i * span.step)
        canvas[top + TIMELINE :, mark : mark + 1] = np.array(TEXT, np.uint8)
        return canvas

    return Film(t, draw)
