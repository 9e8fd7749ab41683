"""A page of pairs of clips, side by side, and a question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worldmodel.pictures.page import template
from worldmodel.pictures.viewer import COLUMNS, sprite


@dataclass(frozen=True, eq=False)
class Pair:
    """Two clips (t, h, w, 3) uint8 that begin with the same given frames."""

    left: np.ndarray
    right: np.ndarray


def preference_page(pairs: Sequence[Pair], *, context: int, fps: float) -> tuple[str, str]:
    """The page as HTML, which needs no network, and its study's name: a hash of all that it shows.

    Args:
        pairs: one or more, all of one size.
        context: frames of each that were given.
        fps: frames a second.
    """
    # What a picture's compression takes away is what one model may have drawn better than the other.
    shown = [[sprite(side, lossless=True) for side in (pair.left, pair.right)] for pair in pairs]
    study = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]
    t, height, width, _ = pairs[0].left.shape
    data = {
        "study": study,
        "pairs": shown,
        "count": t,
        "context": context,
        "size": [width, height],
        "columns": COLUMNS,
        "fps": fps,
    }
    return template("preference.html").render(data=data), study
