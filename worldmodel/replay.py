"""Windows of episodes, read from disk as they are drawn: memory holds headers only, however many episodes there are.

A window's bytes are read with positioned reads straight into the batch. (Opening each file anew through a memory map
took three times as long, and a map of a file that is cut short kills the process instead of raising.)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from worldmodel.checkpoint import Contexts
from worldmodel.episode import EpisodeHeader, read_header, read_rows
from worldmodel.errors import ConfigError, DataError
from worldmodel.folders import episode_paths
from worldmodel.spec import EnvSpec

STILL = 0.5  # of the pixels' variance; 0.76 in cartpole, 0.10 in clips of bicycles and cartoons


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows of t frames and the t-1 transitions between them.

    Attributes:
        frames: (b, t, c, h, w) uint8; after an episode's end its last frame, repeated.
        actions: (b, t-1, a) float32 in [-1, 1]; 0 after the end.
        rewards: (b, t-1) float32; 0 after the end.
        continues: (b, t-1) float32: 0 where the transition terminated the task, else 1.
        mask: (b, t-1) float32: 1 for real transitions, 0 after the end.
    """

    frames: Tensor
    actions: Tensor
    rewards: Tensor
    continues: Tensor
    mask: Tensor


@dataclass(frozen=True, eq=False)
class FrameStatistics:
    """What standardises frames.

    Attributes:
        frame_mean: (c, h, w) float32 in [0, 1], of each pixel; where cameras move, of each channel alone.
        frame_std: of all pixels about these means: one number, in units of the full range.
    """

    frame_mean: np.ndarray
    frame_std: float


@dataclass(frozen=True)
class _Stored:
    path: Path
    stamp: tuple[int, int]  # size and time of change, when its header was read
    header: EpisodeHeader

    @contextmanager
    def open(self) -> Iterator[int]:
        """Its file descriptor; DataError when the file is gone or another has taken its place."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"{self.path} cannot be opened ({error.strerror}): make the Replay anew") from error
        try:
            if _stamp(os.fstat(descriptor)) != self.stamp:
                raise DataError(f"{self.path} changed since it was indexed: make the Replay anew")
            yield descriptor
        finally:
            os.close(descriptor)

    def read(self, descriptor: int, name: str, start: int, out: np.ndarray) -> None:
        """Fills `out` with the rows from `start` of a tensor."""
        read_rows(out, descriptor, self.path, self.header.offsets[name], start)


class Replay:
    """Draws windows from the episodes of one environment.

    Args:
        source: a folder, of which every ``*.safetensors`` is an episode, or the episodes' paths.

    Raises DataError: no episodes, one that cannot be read, or episodes of several environments.
    """

    def __init__(self, source: Path | Sequence[Path]) -> None:
        paths = episode_paths(source) if isinstance(source, Path) else sorted(source)
        if not paths:
            raise DataError("no episodes to replay: give at least one episode's path")
        first = _index(paths[0])
        self.spec: EnvSpec = first.header.spec
        self._stored = [first]
        for path in paths[1:]:
            self._stored.append(self._matching(path))
        # One array entry an episode, for vectorised draws.
        self._lengths = np.array([stored.header.length for stored in self._stored])
        self._terminated = np.array([stored.header.terminated for stored in self._stored])

    @property
    def episodes(self) -> int:
        """How many there are."""
        return len(self._stored)

    @property
    def steps(self) -> int:
        """Transitions in all."""
        return int(self._lengths.sum())

    def sample(self, batch: int, window: int, generator: np.random.Generator, *, minimum: int) -> Batch:
        """Draws windows uniformly over all starts that leave at least `minimum` frames of their episode.

        What of a window lies beyond its episode's end is padding, and masked; so ends, and with them terminations,
        are seen as often as what comes before.

        Args:
            batch: windows, b.
            window: frames each, t.
            generator: what draws; the same state draws the same windows.
            minimum: real frames each, in 2..window.

        Raises DataError when no episode has `minimum` frames, ConfigError for a `minimum` out of range.
        """
        if not 2 <= minimum <= window:
            raise ConfigError(f"minimum is {minimum} frames in windows of {window}: set it in 2..{window}")
        starts = self._starts(minimum)
        return self._read(*_locate(generator.integers(starts.sum(), size=batch), starts), window)

    def whole_windows(self, window: int) -> int:
        """How many windows of as many frames there are without padding, no two of which share a transition."""
        return int((self._lengths // (window - 1)).sum())

    def whole(self, count: int, window: int) -> Batch:
        """The first `count` of them: every episode's first one, then every episode's second one, and so on.

        Args:
            count: at most `whole_windows(window)`.
            window: frames each, at least 2.
        """
        of_episodes = self._lengths // (window - 1)
        places = [(turn, file) for file, turns in enumerate(of_episodes) for turn in range(turns)]
        turns, files = np.array(sorted(places)[:count]).T
        return self._read(files, turns * (window - 1), window)

    def contexts(self, count: int, frames: int, generator: np.random.Generator) -> Contexts:
        """Draws windows without padding, for a checkpoint to carry; none ends where a task has terminated.

        Args:
            count: windows, n; all different as long as there are enough.
            frames: of each, k >= 1; fewer where the longest episode has fewer.
        """
        known = self._lengths + 1 - self._terminated  # frames that a task goes on from, or would have
        frames = min(frames, int(known.max()))
        starts = np.maximum(known + 1 - frames, 0)
        total = int(starts.sum())
        drawn = generator.choice(total, size=count, replace=count > total)
        windows = self._read(*_locate(drawn, starts), frames)
        return Contexts(frames=windows.frames, actions=windows.actions)

    def beginnings(self, count: int, generator: np.random.Generator) -> Contexts:
        """Draws first frames of episodes, each on its own: contexts of one frame, as an agent knows at a start."""
        files = generator.integers(self.episodes, size=count)
        windows = self._read(files, np.zeros(count, np.int64), 1)
        return Contexts(frames=windows.frames, actions=windows.actions)

    def reward_statistics(self) -> tuple[float, float]:
        """Mean and deviation of the reward of one decision, of all: a sample could miss the few of a sparse task."""
        means, variances = (np.zeros(self.episodes) for _ in range(2))  # of each episode, float64
        for index, stored in enumerate(self._stored):
            rewards = np.empty(stored.header.length, np.float32)
            with stored.open() as descriptor:
                stored.read(descriptor, "rewards", 0, rewards)
            means[index], variances[index] = rewards.mean(dtype=np.float64), rewards.var(dtype=np.float64)
        share = self._lengths / self.steps
        mean = float(share @ means)
        return mean, float(np.sqrt(share @ (variances + (means - mean) ** 2)))

    def frame_statistics(self, limit: int, generator: np.random.Generator) -> FrameStatistics:
        """Statistics of up to `limit` >= 1 frames, drawn without repetition.

        A mean for each pixel is what stands still in front of a camera that does. Where these means are less than
        `STILL` of the variance, the camera moves, and a mean frame is nothing but a blur of what it saw.

        Sums are exact, and go through an episode at a time.
        """
        frame_counts = self._lengths + 1
        total = int(frame_counts.sum())
        n = min(limit, total)
        files, times = _locate(np.sort(generator.choice(total, size=n, replace=False)), frame_counts)
        bounds = np.searchsorted(files, np.arange(self.episodes + 1))
        frame = np.empty((1, *self.spec.frame_size, 3), np.uint8)
        sums, squares = (np.zeros(frame.shape[1:], np.int64) for _ in range(2))
        for index, stored in enumerate(self._stored):
            with stored.open() as descriptor:
                for time in times[bounds[index] : bounds[index + 1]]:
                    stored.read(descriptor, "frames", int(time), frame)
                    values = frame[0].astype(np.int64)
                    sums += values
                    squares += values * values
        frame_mean = sums / n
        variance = float((n * squares - sums * sums).mean()) / n**2
        of_channels = np.broadcast_to(frame_mean.mean((0, 1)), frame_mean.shape)
        in_all = float((squares / n - of_channels**2).mean())
        if variance > (1 - STILL) * in_all:
            frame_mean, variance = of_channels, in_all
        return FrameStatistics(
            frame_mean=(frame_mean / 255).astype(np.float32).transpose(2, 0, 1),
            frame_std=variance**0.5 / 255,
        )

    def _matching(self, path: Path) -> _Stored:
        """The index of an episode, once it is known to be of the same environment as the others."""
        stored = _index(path)
        if stored.header.spec != self.spec:
            ours, theirs = self.spec.to_json(), stored.header.spec.to_json()
            differing = [f"{name} {theirs[name]} against {ours[name]}" for name in ours if theirs[name] != ours[name]]
            raise DataError(
                f"{path} is of another environment than {self._stored[0].path}: {'; '.join(differing)}; "
                "keep each environment's episodes in a folder of their own"
            )
        return stored

    def _starts(self, minimum: int) -> np.ndarray:
        """(episodes,): how many starts leave `minimum` frames; DataError when none does."""
        starts = np.maximum(self._lengths + 2 - minimum, 0)
        if not starts.any():
            raise DataError(
                f"no episode has {minimum} frames, the longest of {self.episodes} has {self._lengths.max() + 1}: "
                "ask for shorter windows or contexts, or collect longer episodes"
            )
        return starts

    def _read(self, files: np.ndarray, starts: np.ndarray, window: int) -> Batch:
        """files, starts (b,): the windows there, padded."""
        height, width = self.spec.frame_size
        frames = np.empty((len(files), window, height, width, 3), np.uint8)
        actions = np.zeros((len(files), window - 1, self.spec.action_size), np.float32)
        rewards = np.zeros((len(files), window - 1), np.float32)
        remaining = self._lengths[files] - starts
        for row, count in enumerate(np.minimum(remaining, window - 1)):
            stored, start = self._stored[files[row]], int(starts[row])
            with stored.open() as descriptor:
                stored.read(descriptor, "frames", start, frames[row, : count + 1])
                stored.read(descriptor, "actions", start, actions[row, :count])
                stored.read(descriptor, "rewards", start, rewards[row, :count])
            frames[row, count + 1 :] = frames[row, count]
        steps = np.arange(window - 1)
        ends = (steps == remaining[:, None] - 1) & self._terminated[files, None]
        return Batch(
            frames=torch.from_numpy(frames).permute(0, 1, 4, 2, 3),
            actions=torch.from_numpy(actions),
            rewards=torch.from_numpy(rewards),
            continues=torch.from_numpy((~ends).astype(np.float32)),
            mask=torch.from_numpy((steps < remaining[:, None]).astype(np.float32)),
        )


def _locate(drawn: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers in 0..sum(counts)-1 as (episode, place within its count)."""
    ends = np.cumsum(counts)
    files = np.searchsorted(ends, drawn, side="right")
    return files, drawn - (ends - counts)[files]


def _index(path: Path) -> _Stored:
    if not path.is_file():
        raise DataError(f"{path} does not exist, or is no file: give an episode's path")
    return _Stored(path, _stamp(path.stat()), read_header(path))


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
