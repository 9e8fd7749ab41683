"""Frames to mp4 and GIF files, and what stands around them. Frames are (t, h, w, 3) uint8, a single one (h, w, 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Film:
    """Frames (h, w, 3) uint8 that are drawn when they are looked at: a long film takes no more memory than a short one.

    Attributes:
        count: of frames.
        draw: one of them, by its index.
    """

    count: int
    draw: Callable[[int], np.ndarray]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> np.ndarray:
        if not 0 <= i < self.count:
            raise IndexError(f"frame {i} of {self.count}")
        return self.draw(i)

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.draw, range(self.count))


Frames = np.ndarray | Film
"""What moves: (t, h, w, 3) uint8, or the same drawn frame by frame."""


class VideoWriter:
    """An mp4 (h264, yuv420p) that every browser plays, made frame by frame; a ``with`` that ends well saves it.

    Args:
        path: of the file, which appears whole or not at all; its folder must exist.
        fps: frames per second, > 0; need not be whole.

    Raises ConfigError for fps out of range.
    """

    def __init__(self, path: Path, *, fps: float) -> None:
        if not fps > 0:
            raise ConfigError(f"fps is {fps}: set it above 0")
        self.path = path
        self._size: tuple[int, ...] = ()
        self._file = BytesIO()
        self._container = av.open(self._file, "w", format="mp4")
        rate = Fraction(fps).limit_denominator(1000)
        self._stream = self._container.add_stream("libx264", rate=rate, options={"crf": "18"})
        self._stream.pix_fmt = "yuv420p"

    def add(self, frame: np.ndarray) -> None:
        """The next frame (h, w, 3) uint8, of the first one's size; DataError for another.

        An odd size gains one row or column, since yuv420p needs even ones.
        """
        first = not self._size
        self._size = self._size or frame.shape
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3 or frame.shape != self._size:
            raise DataError(f"a frame is {frame.dtype} {frame.shape}: give uint8 (h, w, 3), all of one size")
        h, w, _ = frame.shape
        if h % 2 or w % 2:
            frame = np.pad(frame, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")
        if first:
            self._stream.height, self._stream.width, _ = frame.shape
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))

    def save(self) -> None:
        """No more frames; DataError where there was none."""
        if not self._size:
            raise DataError(f"there is no frame for {self.path}: give uint8 (h, w, 3), one or more")
        self._container.mux(self._stream.encode())  # what the encoder still holds back
        self._container.close()
        write_atomic(self.path, self._file.getvalue())

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self.save()


def write_video(path: Path, frames: Frames, *, fps: float, scale: int = 1) -> None:
    """Writes frames to an mp4, each enlarged by a whole factor (nearest neighbour).

    Raises:
        DataError: frames of another shape or type, or none.
        ConfigError: fps or scale out of range.
    """
    with VideoWriter(path, fps=fps) as writer:
        for frame in frames:
            writer.add(enlarge(frame[None], scale)[0])


def write_gif(path: Path, frames: Frames, *, fps: float, colours: int = 128) -> None:
    """Writes `gif` to a file, which appears whole or not at all; its folder must exist. Raises what that raises."""
    write_atomic(path, gif(frames, fps=fps, colours=colours))


def gif(frames: Frames, *, fps: float, colours: int = 128) -> bytes:
    """A GIF that repeats for ever.

    Args:
        frames: one or more.
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
    if not len(frames):
        raise DataError("there is no frame for a GIF: give uint8 (h, w, 3), one or more")
    # A palette of each frame's own would flicker: one for a sample of all of them, stacked.
    some = enlarge(np.stack([frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, 16).round().astype(int))]), 1)
    palette = Image.fromarray(some.reshape(-1, *some.shape[2:])).quantize(colours)
    first, *others = (Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    file = BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others, duration=round(100 / fps) * 10, loop=0)
    return file.getvalue()


def enlarge(frames: np.ndarray, scale: int) -> np.ndarray:
    """Every pixel as a square of `scale` by `scale`: (t, h*scale, w*scale, 3) uint8; raises DataError, ConfigError."""
    check_frames(frames)
    check_whole("scale", scale, 1)
    return frames if scale == 1 else frames.repeat(scale, 1).repeat(scale, 2)


def check_frames(frames: np.ndarray) -> None:
    """DataError for what is not (t, h, w, 3) uint8, t >= 1."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise DataError(f"frames are {frames.dtype} {frames.shape}: give uint8 (t, h, w, 3) with t >= 1")


def difference(real: np.ndarray, imagined: np.ndarray) -> np.ndarray:
    """Absolute difference of each channel, uint8: black where the two agree."""
    return np.abs(real.astype(np.int16) - imagined).astype(np.uint8)


def caption(text: str, colour: Colour, width: int, height: int) -> np.ndarray:
    """Centred text on the background, (height, width, 3) uint8; what does not fit is cut."""
    image = Image.new("RGB", (width, height), BACKGROUND)
    font = ImageFont.load_default(size=14)
    ImageDraw.Draw(image).text((width / 2, height / 2), text, fill=colour, font=font, anchor="mm")
    return np.asarray(image)


def timeline(now: int, count: int, context: int, width: int) -> np.ndarray:
    """(width, 3) uint8: frames up to `now` in full colour, those to come dimmed, a notch where the context ends."""
    edges = np.arange(count + 1) * width // count
    bar = np.empty((width, 3), np.uint8)
    bar[: edges[context]], bar[edges[context] :] = CONTEXT, IMAGINED
    bar[edges[now + 1] :] //= 3
    bar[max(0, edges[context] - 1) : edges[context] + 1] = 255
    return bar
