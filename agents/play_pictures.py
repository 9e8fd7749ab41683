"""What `agents.play` shows of a game: single frames for its page, and recordings."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from agents.game import View
from worldmodel.pictures.side_by_side import Column, side_by_side
from worldmodel.pictures.video import difference
from worldmodel.pictures.viewer import data_url

SCALE = 4  # of recordings


def recording(views: list[View]) -> np.ndarray:
    """Frames (t, h, w, 3) uint8 of a film of these moments: the dream, and beside it reality and the difference."""
    last, dream = views[-1], np.stack([view.dream for view in views])
    columns = [Column(dream, ("dream", f"return {last.imagined:.1f}"))]
    if last.real is not None:
        real = np.stack([view.real for view in views if view.real is not None])
        columns += [
            Column(real, ("real", f"return {last.earned:.1f}")),
            Column(difference(real, dream), ("difference", "")),
        ]
    return side_by_side(columns, scale=SCALE)


def png(frame: np.ndarray) -> str:
    """A picture (H, W, 3) uint8 as a data URL."""
    file = BytesIO()
    Image.fromarray(frame).save(file, "PNG", compress_level=1)
    return data_url("image/png", file.getvalue())
