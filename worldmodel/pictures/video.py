"""Frames to mp4 and GIF files, and what stands around them. All frames here are (t, h, w, 3) uint8."""

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
    if h % 2 or w % 2:
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


def write_gif(path: Path, frames: np.ndarray, *, fps: float, colours: int = 128) -> None:
    """Writes `gif` to a file, which appears whole or not at all; its folder must exist. Raises what that raises."""
    write_atomic(path, gif(frames, fps=fps, colours=colours))


def gif(frames: np.ndarray, *, fps: float, colours: int = 128) -> bytes:
    """A GIF that repeats for ever.

    Args:
        frames: (t, h, w, 3) uint8, t >= 1.
        fps: frames per second, > 0; a GIF knows hundredths of a second only, and browsers slow down what is above 50.
        colours: of one palette for all frames, in 2..256: fewer make a smaller file.

    Raises:
        DataError: frames of another shape or type, or none.
        ConfigError: fps or colours out of range.
    """
    if not 0 < fps <= 50:
        raise ConfigError(f"fps is {fps}: set it above 0, to 50 at most")
    if type(colours) is not int or not 2 <= colours <= 256:
        raise ConfigError(f"colours is {colours!r}: set a whole number in 2..256")
    frames = enlarge(frames, 1)
    # A palette of each frame's own would flicker: one for a sample of all of them, stacked.
    some = frames[np.unique(np.linspace(0, len(frames) - 1, 16).round().astype(int))]
    palette = Image.fromarray(some.reshape(-1, *some.shape[2:])).quantize(colours)
    first, *others = (Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    file = BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others, duration=round(100 / fps) * 10, loop=0)
    return file.getvalue()


def enlarge(frames: np.ndarray, scale: int) -> np.ndarray:
    """Every pixel as a square of `scale` by `scale`: (t, h*scale, w*scale, 3) uint8; raises DataError, ConfigError."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise DataError(f"frames are {frames.dtype} {frames.shape}: give uint8 (t, h, w, 3) with t >= 1")
    check_whole("scale", scale, 1)
    return frames if scale == 1 else frames.repeat(scale, 1).repeat(scale, 2)


def difference(real: np.ndarray, imagined: np.ndarray) -> np.ndarray:
    """Absolute difference of each channel, uint8: black where the two agree."""
    return np.abs(real.astype(np.int16) - imagined).astype(np.uint8)


def caption(text: str, colour: Colour, width: int, height: int) -> np.ndarray:
    """Centred text on the background, (height, width, 3) uint8; what does not fit is cut."""
    image = Image.new("RGB", (width, height), BACKGROUND)
    font = ImageFont.load_default(size=14)
    ImageDraw.Draw(image).text((width / 2, height / 2), text, fill=colour, font=font, anchor="mm")
    return np.asarray(image)


def draw_timeline(canvas: np.ndarray, context: int) -> None:
    """On (t, height, width, 3): frames seen so far in full colour, those to come dimmed, a notch after the context."""
    t, _, width, _ = canvas.shape
    edges = np.arange(t + 1) * width // t
    bar = np.empty((width, 3), np.uint8)
    bar[: edges[context]], bar[edges[context] :] = CONTEXT, IMAGINED
    for i in range(t):
        canvas[i, :, : edges[i + 1]] = bar[: edges[i + 1]]
        canvas[i, :, edges[i + 1] :] = bar[edges[i + 1] :] // 3
    canvas[:, :, max(0, edges[context] - 1) : edges[context] + 1] = 255
