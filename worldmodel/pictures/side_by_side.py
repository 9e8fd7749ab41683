"""Episodes beside each other, for a film. All frames here are (t, h, w, 3) uint8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worldmodel.errors import DataError, check_whole
from worldmodel.pictures.video import (
    BACKGROUND,
    CAPTION_HEIGHT,
    SEPARATOR,
    TEXT,
    Film,
    caption,
    check_frames,
    enlarge,
)


@dataclass(frozen=True, eq=False)
class Column:
    """What a column shows.

    Attributes:
        frames: (t, h, w, 3) uint8.
        captions: the two lines above them.
    """

    frames: np.ndarray
    captions: tuple[str, str]


def side_by_side(columns: Sequence[Column], *, scale: int = 4) -> Film:
    """Captioned columns from left to right, for `write_video` at scale 1.

    All begin together; a column that is over holds its last frame. Lower ones stand on the background.

    Args:
        columns: one or more; lengths and sizes may differ.
        scale: whole factor of enlargement; captions are not enlarged, what is wider than its column is cut.

    Returns:
        As many frames as the longest has, (2*CAPTION_HEIGHT + greatest h*scale, widths w*scale with SEPARATOR between
        them, 3) uint8.

    Raises:
        DataError: no column, or frames of another shape or type.
        ConfigError: scale out of range.
    """
    if not columns:
        raise DataError("there is no column to show: give one or more")
    for column in columns:
        check_frames(column.frames)
    check_whole("scale", scale, 1)
    above = [
        np.concatenate(
            [caption(text, TEXT, column.frames.shape[2] * scale, CAPTION_HEIGHT) for text in column.captions]
        )
        for column in columns
    ]
    length, height = (max(column.frames.shape[axis] for column in columns) for axis in (0, 1))

    def draw(i: int) -> np.ndarray:
        parts = []
        for column, lines in zip(columns, above, strict=True):
            now = min(i, len(column.frames) - 1)
            picture = enlarge(column.frames[now : now + 1], scale)[0]
            canvas = np.empty((len(lines) + height * scale, picture.shape[1], 3), np.uint8)
            canvas[:] = BACKGROUND
            canvas[: len(lines)] = lines
            canvas[len(lines) : len(lines) + len(picture)] = picture
            parts += [gap, canvas]
        return np.concatenate(parts[1:], 1)

    gap = np.empty((2 * CAPTION_HEIGHT + height * scale, SEPARATOR, 3), np.uint8)
    gap[:] = BACKGROUND
    return Film(length, draw)
