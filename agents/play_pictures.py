"""What `agents.play` shows of a moment: single frames for its page, and those of a recording."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from agents.game import View
from worldmodel.pictures.side_by_side import Column, side_by_side
from worldmodel.pictures.video import difference
from worldmodel.pictures.viewer import data_url

SCALE = 4  # of recordings


def pictures(view: View) -> dict[str, np.ndarray]:
    """By name, (H, W, 3) uint8: the dream, and where there is a reality, that and their difference."""
    if view.real is None:
        return {"dream": view.dream}
    return {"dream": view.dream, "real": view.real, "difference": difference(view.real, view.dream)}


def recorded(view: View) -> np.ndarray:
    """A recording's frame (h, w, 3) uint8: the pictures side by side, with the returns so far."""
    told = {"dream": f"return {view.imagined:.1f}", "real": f"return {view.earned:.1f}", "difference": ""}
    columns = [Column(picture[None], (name, told[name])) for name, picture in pictures(view).items()]
    return side_by_side(columns, scale=SCALE)[0]


def png(frame: np.ndarray) -> str:
    """A picture (H, W, 3) uint8 as a data URL."""
    file = BytesIO()
    Image.fromarray(frame).save(file, "PNG", compress_level=1)
    return data_url("image/png", file.getvalue())
