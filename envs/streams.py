"""All that is random in a row of a dream, from one seed."""

from __future__ import annotations

import numpy as np


class Streams:
    """A row's random streams; from the system's entropy without a seed.

    Starts have streams of their own, numbered by episode, so that they may be drawn in advance, and drawn anew, without
    moving any other.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._sequence = np.random.SeedSequence(seed)
        self.steps = np.random.default_rng(self._sequence)
        self.episode = 0  # that comes next

    def next_start(self) -> np.random.Generator:
        """What draws the start of the next episode: the same until `episode` moves on."""
        return np.random.default_rng(np.random.SeedSequence(self._sequence.entropy, spawn_key=(self.episode,)))
