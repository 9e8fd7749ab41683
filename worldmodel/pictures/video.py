"""Frames side by side, and frames to an mp4 file. All frames here are (t, h, w, 3) uint8."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worldmodel.errors import ConfigError, DataError, check_whole
from worldmodel.files import write_atomic

Colour = tuple[int, int, int]

BACKGROUND: Colour = (24, 26, 31)
TEXT: Colour = (235, 235, 235)
CONTEXT: Colour = (240, 170, 60)  # amber: frames that were given
IMAGINED: Colour = (90, 165, 250)  # blue: frames that were not
CAPTION_HEIGHT = 24  # pixels
SEPARATOR = 4  # pixels between columns
TIMELINE = 8  # pixels


def write_video(path: Path, frames: np.ndarray, *, fps: float, scale: int = 1) -> None:
    """Writes an mp4 (h264, yuv420p) that every browser plays; the file appears whole or not at all.

    Args:
        path: of the file; its folder must exist.
        frames: (t, h, w, 3) uint8, t >= 1. An odd size gains one row or column, since yuv420p needs even ones.
        fps: frames per second, > 0; need not be whole.
        scale: whole factor of nearest-neighbour enlargement.

    Raises:
        DataError: frames of another shape or type, or none.
        ConfigError: fps or scale out of range.
    """
    if not fps > 0:
        raise ConfigError(f"fps is {fps}: set it above 0")
    frames = enlarge(frames, scale)
    _, h, w, _ = frames.shape
    frames = np.pad(frames, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    file = BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000), options={"crf": "18"})
        _, stream.height, stream.width, _ = frames.shape
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())  # what the encoder still holds back
    write_atomic(path, file.getvalue())


def columns(
    real: np.ndarray,
    imagined: np.ndarray,
    context: int,
    *,
    scale: int = 4,
    labels: tuple[str, str, str] = ("what happened", "imagined open-loop", "difference"),
) -> np.ndarray:
    """Three captioned columns, what happened | imagined | absolute difference, for `write_video` at scale 1.

    While the model is still given frames, the first `context`, the middle caption says so in amber; then it is blue.
    The timeline below has the same colours and a white notch where the context ends.

    Args:
        real, imagined: (t, h, w, 3) uint8.
        context: number of frames given, in 1..t.
        scale: whole factor of enlargement; captions are not enlarged, so below about 100 pixels of width they are cut.
        labels: captions of the columns.

    Returns:
        (t, CAPTION_HEIGHT + h*scale + TIMELINE, 3*w*scale + 2*SEPARATOR, 3) uint8.

    Raises:
        DataError: frames of another shape or type, or of two shapes; a context that leaves 1..t.
        ConfigError: scale out of range.
    """
    check_pair(real, imagined, context)
    panels = [enlarge(frames, scale) for frames in (real, imagined, difference(real, imagined))]
    t, h, w, _ = panels[0].shape
    width = 3 * w + 2 * SEPARATOR
    canvas = np.empty((t, CAPTION_HEIGHT + h + TIMELINE, width, 3), np.uint8)
    canvas[:] = BACKGROUND
    for i, panel in enumerate(panels):
        left = i * (w + SEPARATOR)
        canvas[:, CAPTION_HEIGHT : CAPTION_HEIGHT + h, left : left + w] = panel
        given, free = (("given context", CONTEXT), (labels[1], IMAGINED)) if i == 1 else ((labels[i], TEXT),) * 2
        canvas[:context, :CAPTION_HEIGHT, left : left + w] = caption(*given, w, CAPTION_HEIGHT)
        canvas[context:, :CAPTION_HEIGHT, left : left + w] = caption(*free, w, CAPTION_HEIGHT)
    _draw_timeline(canvas[:, -TIMELINE + 2 :], context)
    return canvas


def enlarge(frames: np.ndarray, scale: int) -> np.ndarray:
    """Every pixel as a square of `scale` by `scale`: (t, h*scale, w*scale, 3) uint8; raises DataError, ConfigError."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise DataError(f"frames are {frames.dtype} {frames.shape}: give uint8 (t, h, w, 3) with t >= 1")
    check_whole("scale", scale, 1)
    return frames.repeat(scale, 1).repeat(scale, 2)


def difference(real: np.ndarray, imagined: np.ndarray) -> np.ndarray:
    """Absolute difference of each channel, uint8: black where the two agree."""
    return np.abs(real.astype(np.int16) - imagined).astype(np.uint8)


def check_pair(real: np.ndarray, imagined: np.ndarray, context: int) -> None:
    """Raises DataError unless both are frames of one shape (t, h, w, 3) and `context` is in 1..t."""
    for name, frames in (("real", real), ("imagined", imagined)):
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape != real.shape:
            raise DataError(f"{name} frames are {frames.dtype} {frames.shape}: give both as uint8 {real.shape}")
    if not 1 <= context <= len(real):
        raise DataError(f"a context of {context} frames does not fit {len(real)}: set it in 1..{len(real)}")


def caption(text: str, colour: Colour, width: int, height: int) -> np.ndarray:
    """Centred text on the background, (height, width, 3) uint8; what does not fit is cut."""
    image = Image.new("RGB", (width, height), BACKGROUND)
    font = ImageFont.load_default(size=14)
    ImageDraw.Draw(image).text((width / 2, height / 2), text, fill=colour, font=font, anchor="mm")
    return np.asarray(image)


def _draw_timeline(canvas: np.ndarray, context: int) -> None:
    """On (t, height, width, 3): frames seen so far in full colour, those to come dimmed, a notch after the context."""
    t, _, width, _ = canvas.shape
    edges = np.arange(t + 1) * width // t
    bar = np.empty((width, 3), np.uint8)
    bar[: edges[context]], bar[edges[context] :] = CONTEXT, IMAGINED
    for i in range(t):
        canvas[i, :, : edges[i + 1]] = bar[: edges[i + 1]]
        canvas[i, :, edges[i + 1] :] = bar[edges[i + 1] :] // 3
    canvas[:, :, max(0, edges[context] - 1) : edges[context] + 1] = 255
