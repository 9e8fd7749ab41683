"""What the model imagines under actions that were really taken, beside what really happened."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from worldmodel.errors import ConfigError, DataError
from worldmodel.files import write_atomic
from worldmodel.pictures.video import BACKGROUND, CONTEXT, IMAGINED, TEXT, caption, check_pair, difference, enlarge
from worldmodel.pixels import pixels
from worldmodel.svg import WorldModel

LABEL_WIDTH = 110  # pixels
LABEL_HEIGHT = 20
GAP = 4


@torch.inference_mode()
def dream(
    model: WorldModel, frames: np.ndarray, actions: np.ndarray, *, context: int, noise: Tensor | None = None
) -> np.ndarray:
    """Filters the first `context` frames, then imagines the rest open-loop under the true actions.

    Args:
        model: in evaluation mode.
        frames: (t+1, h, w, 3) uint8.
        actions: (t, a), float; actions[i] takes frames[i] to frames[i+1].
        context: number of frames given, in 1..t.
        noise: standard normal (t+1-context, *model.noise_shape) for one sampled future; None for the mean of each z.

    Returns:
        (t+1, h, w, 3) uint8: the given frames as they are, then each imagined one.

    Raises:
        DataError: shapes, type or context that do not fit together.
    """
    t = len(actions)
    if frames.dtype != np.uint8 or frames.ndim != 4 or len(frames) != t + 1:
        raise DataError(f"frames are {frames.dtype} {frames.shape}: {t} actions go with uint8 ({t + 1}, h, w, 3)")
    if not 1 <= context <= t:
        raise DataError(f"a context of {context} frames leaves none of {t + 1} to imagine: set it in 1..{t}")
    steps = t + 1 - context
    if noise is not None and noise.shape != (steps, *model.noise_shape):
        raise DataError(f"noise is {tuple(noise.shape)}: {steps} imagined steps need {(steps, *model.noise_shape)}")
    given = torch.from_numpy(np.array(rearrange(frames[:context], "k h w c -> 1 k c h w"))).to(model.device)
    taken = torch.from_numpy(np.array(actions, np.float32))[:, None].to(model.device)  # (t, 1, a)
    state = model.initial(given, rearrange(taken[: context - 1], "k b a -> b k a"))
    drawn = [frames[:context]]
    for i in range(steps):
        state = model.imagine(state, taken[context - 1 + i], noise=None if noise is None else noise[i][None]).state
        drawn.append(pixels(model.decode(state)))
    return np.concatenate(drawn)


def strip(
    path: Path, real: np.ndarray, imagined: np.ndarray, context: int, *, columns: int = 12, scale: int = 2
) -> None:
    """Draws a PNG with time to the right, and below each other what happened, what was imagined, the difference.

    Frame numbers stand above; an amber line parts the context, amber too, from what was imagined, in blue.

    Args:
        path: of the file; its folder must exist.
        real, imagined: (t, h, w, 3) uint8, as `dream` takes and gives them.
        context: number of frames given, in 1..t.
        columns: how many of the frames are shown, evenly spaced, with the first and the last; all when t is less.
        scale: whole factor of enlargement.

    Raises:
        DataError: frames or context that do not fit together.
        ConfigError: scale or columns out of range.
    """
    check_pair(real, imagined, context)
    if columns < 2:
        raise ConfigError(f"columns is {columns}: the strip needs at least 2, the first frame and the last")
    shown = np.unique(np.linspace(0, len(real) - 1, columns).round().astype(int))
    real, imagined = real[shown], imagined[shown]
    rows = {"what happened": real, "imagined": imagined, "difference": difference(real, imagined)}
    _, h, w, _ = enlarge(real, scale).shape
    canvas = np.empty((LABEL_HEIGHT + 3 * (h + GAP), LABEL_WIDTH + len(shown) * (w + GAP), 3), np.uint8)
    canvas[:] = BACKGROUND
    lefts = LABEL_WIDTH + np.arange(len(shown)) * (w + GAP) + GAP
    for left, number in zip(lefts, shown, strict=True):
        colour = CONTEXT if number < context else IMAGINED
        canvas[:LABEL_HEIGHT, left : left + w] = caption(str(number), colour, w, LABEL_HEIGHT)
    for i, (label, frames) in enumerate(rows.items()):
        top = LABEL_HEIGHT + i * (h + GAP)
        canvas[top : top + h, :LABEL_WIDTH] = caption(label, TEXT, LABEL_WIDTH, h)
        for left, frame in zip(lefts, enlarge(frames, scale), strict=True):
            canvas[top : top + h, left : left + w] = frame
    if context <= shown[-1]:
        edge = lefts[np.searchsorted(shown, context)]
        canvas[:, edge - GAP : edge] = CONTEXT
    png = BytesIO()
    Image.fromarray(canvas).save(png, "PNG")
    write_atomic(path, png.getvalue())
