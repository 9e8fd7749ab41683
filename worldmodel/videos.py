"""Videos as episodes: files that FFmpeg decodes, or folders of pictures, with or without actions."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

from worldmodel.episode import UNKNOWN_SEED, Episode
from worldmodel.errors import ConfigError, DataError, check_whole
from worldmodel.spec import EnvSpec

VIDEOS = (".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
ACTIONS = (".csv", ".npy")
LARGEST = 2**26  # pixels of a video's frame: a few bytes can claim any number, which would be made room for
MULTIPLE = 16  # of the sides of frames, for encoders to halve


@dataclass(frozen=True)
class Cut:
    """What becomes of a video.

    Attributes:
        size: (height, width) of frames, multiples of 16: the largest part of these proportions around the centre is
            kept, and resized.
        every: frames from one that is kept to the next; 1 keeps all.
        length: frames of an episode, one after the other, what is left being dropped; None makes the whole video one.

    Raises ConfigError for numbers out of range.
    """

    size: tuple[int, int]
    every: int = 1
    length: int | None = None

    def __post_init__(self) -> None:
        for side in self.size:
            if type(side) is not int or side < MULTIPLE or side % MULTIPLE:
                raise ConfigError(f"size is {list(self.size)}: set [height, width], multiples of {MULTIPLE}")
        check_whole("every", self.every, 1)
        if self.length is not None:
            check_whole("length", self.length, 2)


def find_videos(folder: Path, pattern: str = "**/*") -> list[Path]:
    """Video files, and folders that hold pictures, which match a pattern; in their natural order.

    Raises DataError where there are none, ConfigError for what is no pattern.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: give one with videos, or with folders of pictures")
    try:
        matching = list(folder.glob(pattern))
    except (ValueError, NotImplementedError) as error:
        raise ConfigError(f"pattern is {pattern!r} ({error}): set one below the folder, such as **/*.mp4") from error
    found = [path for path in matching if path.suffix.lower() in VIDEOS and path.is_file()]
    found += [path for path in matching if path.is_dir() and _pictures(path)]
    if not found and _pictures(folder):
        found = [folder]
    if not found:
        raise DataError(
            f"{folder} holds no videos ({', '.join(VIDEOS)}) and no folders of pictures ({', '.join(PICTURES)}) "
            f"that match {pattern!r}"
        )
    return sorted(found, key=_natural)


def video_spec(name: str, cut: Cut, *, action_size: int = 0, bound: float = 1.0) -> EnvSpec:
    """What a model knows of videos: there is nobody who acts, or there are actions of numbers in [-bound, bound]."""
    return EnvSpec(
        env="video",
        task=name,
        action_kind="box",
        action_size=action_size,
        action_low=(-bound,) * action_size,
        action_high=(bound,) * action_size,
        action_repeat=cut.every,
        time_limit=0,
        frame_size=cut.size,
    )


def video_episodes(path: Path, cut: Cut, spec: EnvSpec) -> Iterator[Episode]:
    """A video's episodes, in their order; only one is in memory. They earn nothing, and are cut off, not terminated.

    Actions, where the spec has any, come from `actions_path`, one for each frame but the last.

    Raises DataError naming the video where it cannot be read, changes its size, is too short, or where its actions are
    missing, not as many, or out of bounds.
    """
    actions = _actions(path, spec)
    needed = cut.length or 2
    part: list[np.ndarray] = []
    size: tuple[int, ...] | None = None
    kept = episodes = 0

    def episode() -> Episode:
        first, steps = kept - len(part), len(part) - 1
        taken = np.zeros((steps, 0), np.float32) if actions is None else actions[first : first + steps]
        try:
            return Episode(
                frames=np.stack(part),
                actions=taken,
                rewards=np.zeros(steps, np.float32),
                terminated=False,
                truncated=True,
                spec=spec,
                seed=UNKNOWN_SEED,
                actor=path.name,
            )
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    for index, frame in enumerate(_frames(path)):
        if size is not None and frame.shape != size:
            raise DataError(f"{path}: frame {index} is {frame.shape[:2]}, those before are {size[:2]}: give one size")
        size = frame.shape
        if index % cut.every:
            continue
        kept += 1
        if actions is not None and kept > len(actions) + 1:
            break
        part.append(fit_frame(frame, cut.size))
        if len(part) == cut.length:
            yield episode()
            episodes, part = episodes + 1, []
    if actions is not None and kept != len(actions) + 1:
        more = "more than " if kept > len(actions) + 1 else ""
        raise DataError(
            f"{path} has {more}{min(kept, len(actions) + 1)} frames and {len(actions)} actions: "
            "give an action for every frame but the last"
        )
    if cut.length is None and len(part) >= 2:
        yield episode()
    elif not episodes:
        raise DataError(f"{path} has {kept} frames after every {cut.every}: {needed} or more are needed")


def fit_frame(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame (h, w, 3) uint8, its centre cut to the proportions of `size`, and resized to it."""
    h, w, _ = frame.shape
    height, width = size
    scale = min(h / height, w / width)
    kept_h, kept_w = round(height * scale), round(width * scale)
    top, left = (h - kept_h) // 2, (w - kept_w) // 2
    kept = Image.fromarray(frame[top : top + kept_h, left : left + kept_w])  # cut first: resizing looks around
    return np.asarray(kept.resize((width, height), Image.Resampling.LANCZOS))


def read_picture(path: Path) -> np.ndarray:
    """(h, w, 3) uint8, of a file that Pillow reads; DataError for another, and one too large to be meant."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB"))
    except Exception as error:  # of whatever a damaged file makes Pillow's many readers raise
        raise DataError(f"{path} cannot be read as a picture ({error}): copy it again, or give another") from error


def actions_path(path: Path) -> Path:
    """Where a video's actions are: beside it, under its name, as .npy or .csv; DataError where there are none."""
    for suffix in ACTIONS:
        if (found := path.with_name((path.name if path.is_dir() else path.stem) + suffix)).is_file():
            return found
    raise DataError(f"{path} has no actions beside it: give a file of its name that ends in {' or '.join(ACTIONS)}")


def read_actions(path: Path) -> np.ndarray:
    """(n, a) float32, of a NumPy file without objects, or of comma-separated numbers; DataError for anything else."""
    try:
        if path.suffix == ".npy":  # mapped, so that a shape which the file does not have takes no memory
            actions = np.array(np.load(path, mmap_mode="r", allow_pickle=False), np.float32)
        else:
            actions = np.loadtxt(path, np.float32, delimiter=",", ndmin=2)
    except Exception as error:  # of whatever a damaged file makes NumPy raise
        raise DataError(f"{path} cannot be read as actions ({error}): give rows of numbers") from error
    if actions.ndim != 2 or 0 in actions.shape:
        raise DataError(f"{path} holds an array {actions.shape}: give actions (n, a), a row each")
    return actions


def _actions(path: Path, spec: EnvSpec) -> np.ndarray | None:
    if spec.action_size == 0:
        return None
    if spec.action_repeat != 1:
        raise ConfigError(f"every is {spec.action_repeat}: videos with actions keep all frames, set every=1")
    file = actions_path(path)
    actions = read_actions(file)
    if actions.shape[1] != spec.action_size:
        raise DataError(f"{file} has actions of {actions.shape[1]} numbers, others have {spec.action_size}")
    return actions / np.float32(spec.action_high[0])


def _frames(path: Path) -> Iterator[np.ndarray]:
    """(h, w, 3) uint8 each."""
    if path.is_dir():
        yield from map(read_picture, _pictures(path))
        return
    packets = 0
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise DataError(f"{path} holds no video: give another file")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise DataError(f"{path} is in a format that FFmpeg does not decode here: give another file")
            stream.thread_type = "AUTO"
            stream.codec_context.options = {"max_pixels": str(LARGEST)}
            for packet in container.demux(stream):
                packets += packet.size > 0
                for frame in packet.decode():
                    yield frame.to_ndarray(format="rgb24")
            if packets < stream.frames:  # of which an edit list may show fewer
                raise DataError(f"{path} is cut off: {packets} of {stream.frames} frames; copy it again")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be decoded ({error}): copy it again, or give another file") from error


def _pictures(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if path.suffix.lower() in PICTURES), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    """frame2 before frame10."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
