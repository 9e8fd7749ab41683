"""Episodes beside each other, for a film. All frames here are (t, h, w, 3) uint8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worldmodel.errors import DataError
from worldmodel.pictures.video import BACKGROUND, CAPTION_HEIGHT, SEPARATOR, TEXT, caption, enlarge


@dataclass(frozen=True, eq=False)
class Column:
    """What a column shows.

    Attributes:
        frames: (t, h, w, 3) uint8.
        captions: the two lines above them.
    """

    frames: np.ndarray
    captions: tuple[str, str]


def side_by_side(columns: Sequence[Column], *, scale: int = 4) -> np.ndarray:
    """Captioned columns from left to right, for `write_video` at scale 1.

    All begin together; a column that is over holds its last frame. Lower ones stand on the background.

    Args:
        columns: one or more; lengths and sizes may differ.
        scale: whole factor of enlargement; captions are not enlarged, what is wider than its column is cut.

    Returns:
        (longest t, 2*CAPTION_HEIGHT + greatest h*scale, widths w*scale with SEPARATOR between them, 3) uint8.

    Raises:
        DataError: no column, or frames of another shape or type.
        ConfigError: scale out of range.
    """
    if not columns:
        raise DataError("there is no column to show: give one or more")
    panels = [enlarge(column.frames, scale) for column in columns]
    top = 2 * CAPTION_HEIGHT
    length, height = (max(panel.shape[axis] for panel in panels) for axis in (0, 1))
    width = sum(panel.shape[2] for panel in panels) + SEPARATOR * (len(panels) - 1)
    canvas = np.empty((length, top + height, width, 3), np.uint8)
    canvas[:] = BACKGROUND
    left = 0
    for column, panel in zip(columns, panels, strict=True):
        t, h, w, _ = panel.shape
        lines = [caption(text, TEXT, w, CAPTION_HEIGHT) for text in column.captions]
        canvas[:, :top, left : left + w] = np.concatenate(lines)
        canvas[:t, top : top + h, left : left + w] = panel
        canvas[t:, top : top + h, left : left + w] = panel[-1]
        left += w + SEPARATOR
    return canvas
