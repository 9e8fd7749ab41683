"""An open-loop rollout as data for a page that shows it frame by frame."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from worldmodel.pictures.open_loop import OpenLoop, coloured_spread
from worldmodel.pictures.signals import plot_rewards
from worldmodel.pictures.themed import themed_svg

COLUMNS = 16  # frames side by side in one picture
LEFT, RIGHT = 0.09, 0.99  # where rewards begin and end, in widths of their figure
EARNED, IMAGINED = "#E69F00", "#0072B2"


def viewer_data(rollout: OpenLoop) -> dict[str, Any]:
    """What the page's script needs, as JSON has it: pictures of many frames each, and rewards.

    ``rows`` holds a picture a row, ``samples`` one a sample; frame i lies in column i % columns, line i // columns.
    """
    rows = {
        "real": rollout.real,
        "imagined": rollout.imagined,
        "difference": rollout.difference,
        "spread": coloured_spread(rollout),
    }
    _, height, width, _ = rollout.real.shape
    return {
        "count": len(rollout.real),
        "context": rollout.context,
        "size": [width, height],
        "columns": COLUMNS,
        "rows": {name: sprite(frames) for name, frames in rows.items()},
        "samples": [sprite(sample) for sample in rollout.samples],
        "rewards": [float(value) for value in rollout.rewards],
        "imagined_rewards": [None if np.isnan(value) else float(value) for value in rollout.imagined_rewards],
        "plot": [LEFT, RIGHT],
    }


def sprite(frames: np.ndarray, *, lossless: bool = False) -> str:
    """Frames (t, h, w, 3) uint8 in one WebP, as a data URL."""
    t, h, w, _ = frames.shape
    lines = -(-t // COLUMNS)
    canvas = np.zeros((lines * h, min(t, COLUMNS) * w, 3), np.uint8)
    for i, frame in enumerate(frames):
        y, x = i // COLUMNS * h, i % COLUMNS * w
        canvas[y : y + h, x : x + w] = frame
    file = BytesIO()
    Image.fromarray(canvas).save(file, "WEBP", quality=90, lossless=lossless)
    return data_url("image/webp", file.getvalue())


def data_url(kind: str, content: bytes) -> str:
    """A file that stands in the page itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def rewards_svg(rollout: OpenLoop) -> str:
    """True and imagined rewards against frames; frame i of t + 1 lies at (i + 0.5) / (t + 1) between LEFT and RIGHT."""

    def draw() -> Figure:
        t = len(rollout.rewards)
        figure = Figure(figsize=(8, 1.5))
        axes = figure.add_axes((LEFT, 0.24, RIGHT - LEFT, 0.62))
        plot_rewards(axes, rollout, earned=EARNED, imagined=IMAGINED)
        axes.axvline(rollout.context - 0.5, color="0.5", linestyle=":", linewidth=1)
        axes.set_xlim(-0.5, t + 0.5)
        axes.set_ylabel("reward", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=7, ncols=2, loc="lower left", bbox_to_anchor=(0, 0.94), borderaxespad=0)
        return figure

    return themed_svg(
        draw, "Rewards earned and imagined, frame by frame; samples are thin, the dotted line ends the context"
    )
