"""Where dreams start: true contexts, from a checkpoint or from a folder of episodes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

import numpy as np
import torch

from worldmodel.checkpoint import Contexts
from worldmodel.errors import ConfigError, DataError
from worldmodel.replay import Replay
from worldmodel.state import State, concatenate
from worldmodel.svg import WorldModel


class Starts(Protocol):
    """Draws start contexts, of one length k or of several; everything random from the stream."""

    def draw(self, stream: np.random.Generator) -> Contexts:
        """One context: frames (1, k, c, h, w), actions (1, k-1, a)."""


def filtered(model: WorldModel, contexts: Sequence[Contexts]) -> State:
    """The states that single contexts end in, in their order, with one call of the model for each length of them."""

    def length(row: int) -> int:
        return contexts[row].frames.shape[1]

    rows, states = sorted(range(len(contexts)), key=length), []
    for _, alike in groupby(rows, length):
        chosen = [contexts[row] for row in alike]
        frames = torch.cat([context.frames for context in chosen]).to(model.device)
        actions = torch.cat([context.actions for context in chosen]).to(model.device)
        states.append(model.initial(frames, actions))
    return concatenate(states)[np.argsort(rows).tolist()]


class ContextStarts:
    """Each of some contexts is as likely as any other; DataError when there are none."""

    def __init__(self, contexts: Contexts) -> None:
        if len(contexts.frames) == 0:
            raise DataError("there are 0 contexts, so no start states: give a folder of episodes (data) to draw from")
        self._contexts = contexts

    def draw(self, stream: np.random.Generator) -> Contexts:
        """One of them."""
        row = int(stream.integers(len(self._contexts.frames)))
        return Contexts(self._contexts.frames[row : row + 1], self._contexts.actions[row : row + 1])


class WindowStarts:
    """Anywhere in a replay's episodes: windows of `context` frames, or of as many as its longest episode has."""

    def __init__(self, replay: Replay, context: int) -> None:
        self._replay = replay
        self._context = context

    def draw(self, stream: np.random.Generator) -> Contexts:
        """A window."""
        return self._replay.contexts(1, self._context, stream)


class EpisodeStarts:
    """Where a replay's episodes began: their first frame alone, which is all that an agent knows at a true start."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def draw(self, stream: np.random.Generator) -> Contexts:
        """A first frame."""
        return self._replay.beginnings(1, stream)


class MixedStarts:
    """Now one kind of start, now another.

    Windows alone lie as far into episodes as they are long, or further, and a policy that learned from them never saw
    what an agent knows at a true start: mix some `EpisodeStarts` in.

    Args:
        starts: what draws usually.
        others: what draws in their place, with the probability `share` in [0, 1].

    Raises ConfigError for another share.
    """

    def __init__(self, starts: Starts, others: Starts, share: float) -> None:
        if not 0 <= share <= 1:
            raise ConfigError(f"the share of other starts is {share}: set a probability in [0, 1]")
        self._starts = starts
        self._others = others
        self._share = share

    def draw(self, stream: np.random.Generator) -> Contexts:
        """Of either kind."""
        kind = self._others if stream.random() < self._share else self._starts
        return kind.draw(stream)
