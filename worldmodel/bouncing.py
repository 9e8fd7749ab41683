"""Videos whose future is a matter of chance, and known: a square that bounces off side walls up or down, as likely."""

from __future__ import annotations

import numpy as np

from worldmodel.episode import Episode
from worldmodel.errors import ConfigError, check_whole
from worldmodel.spec import EnvSpec

SQUARE = 4  # a side is this part of the frame's


def bouncing_spec(size: int) -> EnvSpec:
    """Of square frames; nobody acts."""
    check_whole("size", size, 1)
    if size % 16:
        raise ConfigError(f"size is {size}: set a multiple of 16")
    return EnvSpec("bouncing", "sideways", "box", 0, (), (), 1, 0, (size, size))


def bouncing_places(rng: np.random.Generator, length: int, size: int) -> np.ndarray:
    """Where the square's upper left corner is, (length + 1, 2) as row and column, in whole pixels.

    It crosses the frame in seven steps, and climbs or falls by half as much in each. Side walls draw whether it
    climbs or falls from there on; floor and ceiling turn that round.
    """
    free = size - size // SQUARE
    step = free / 7
    row, column = rng.uniform(0, free), rng.uniform(0, free)
    across, down = rng.choice([-step, step]), rng.choice([-step / 2, step / 2])
    places = []
    for _ in range(length + 1):
        places.append((row, column))
        row, column = row + down, column + across
        if not 0 <= column <= free:
            column = -column if column < 0 else 2 * free - column
            across, down = -across, rng.choice([-step / 2, step / 2])
        if not 0 <= row <= free:
            row = -row if row < 0 else 2 * free - row
            down = -down
    return np.array(places).round().astype(int)


def bouncing_frames(places: np.ndarray, size: int) -> np.ndarray:
    """A light square at each of the places (t, 2), in the dark: (t, size, size, 3)."""
    frames = np.full((len(places), size, size, 3), 20, np.uint8)
    side = size // SQUARE
    for frame, (row, column) in zip(frames, places, strict=True):
        frame[row : row + side, column : column + side] = 230
    return frames


def bouncing_episode(seed: int, length: int, size: int = 32) -> Episode:
    """`length` transitions of a light square in the dark; the same for the same seed. They earn nothing."""
    check_whole("length", length, 1)
    spec = bouncing_spec(size)
    return Episode(
        frames=bouncing_frames(bouncing_places(np.random.default_rng(seed), length, size), size),
        actions=np.zeros((length, 0), np.float32),
        rewards=np.zeros(length, np.float32),
        terminated=False,
        truncated=True,
        spec=spec,
        seed=seed,
        actor="chance",
    )
