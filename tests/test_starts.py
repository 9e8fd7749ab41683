"""Starts are true contexts, each as likely as any other, and the stream decides which."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from dreaming import contexts
from test_replay import fill

from envs.starts import ContextStarts, EpisodeStarts, Starts, WindowStarts
from worldmodel.checkpoint import Contexts
from worldmodel.errors import DataError
from worldmodel.replay import Replay


def draws(starts: Starts, count: int) -> list[Contexts]:
    return [starts.draw(np.random.default_rng(seed)) for seed in range(count)]


def test_contexts_are_drawn_whole_and_alike_often() -> None:
    given = contexts(count=3, length=3)
    found = draws(ContextStarts(given), 300)
    rows = [int(np.flatnonzero((given.frames == context.frames).flatten(1).all(1).numpy())[0]) for context in found]
    assert all((given.actions[row] == context.actions).all() for row, context in zip(rows, found, strict=True))
    assert set(Counter(rows)) == {0, 1, 2} and min(Counter(rows).values()) > 70


def test_windows_lie_anywhere_in_episodes(tmp_path: Path) -> None:
    found = draws(WindowStarts(Replay(fill(tmp_path, [9, 2])), 4), 200)
    assert {context.frames.shape for context in found} == {(1, 4, 3, 2, 4)}
    assert {(int(context.frames[0, 0, 0, 0, 0]), int(context.frames[0, 0, 1, 0, 0])) for context in found} == {
        (0, start) for start in range(7)
    }
    assert all((np.diff(context.frames[0, :, 1, 0, 0]) == 1).all() for context in found)


def test_windows_are_as_long_as_the_longest_episode_allows(tmp_path: Path) -> None:
    (found,) = draws(WindowStarts(Replay(fill(tmp_path, [2])), 9), 1)
    assert found.frames.shape[1] == 3


def test_true_starts_are_first_frames(tmp_path: Path) -> None:
    found = draws(EpisodeStarts(Replay(fill(tmp_path, [9, 2]))), 40)
    assert {(int(context.frames[0, 0, 0, 0, 0]), int(context.frames[0, 0, 1, 0, 0])) for context in found} == {
        (0, 0),
        (1, 0),
    }
    assert {context.actions.shape for context in found} == {(1, 0, 2)}


def test_no_contexts_are_no_starts() -> None:
    with pytest.raises(DataError, match="there are 0 contexts, so no start states: give a folder of episodes"):
        ContextStarts(Contexts(contexts().frames[:0], contexts().actions[:0]))
