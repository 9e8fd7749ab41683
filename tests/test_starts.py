"""Starts are true contexts, each as likely as any other, and the stream decides which."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from dreaming import contexts
from test_replay import fill

from envs.starts import ContextStarts, EpisodeStarts, MixedStarts, Starts, WindowStarts
from worldmodel.checkpoint import Contexts
from worldmodel.errors import ConfigError, DataError
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


def test_starts_are_mixed_as_often_as_is_said(tmp_path: Path) -> None:
    replay = Replay(fill(tmp_path, [9, 2]))
    for share, least, most in ((0.0, 0, 0), (0.25, 50, 100), (1.0, 300, 300)):
        found = draws(MixedStarts(WindowStarts(replay, 4), EpisodeStarts(replay), share), 300)
        lengths = Counter(context.frames.shape[1] for context in found)
        assert set(lengths) <= {1, 4} and least <= lengths[1] <= most


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_a_probability(share: float) -> None:
    starts = ContextStarts(contexts())
    with pytest.raises(ConfigError, match=r"the share of other starts is .*: set a probability in \[0, 1\]"):
        MixedStarts(starts, starts, share)


def test_no_contexts_are_no_starts() -> None:
    with pytest.raises(DataError, match="there are 0 contexts, so no start states: give a folder of episodes"):
        ContextStarts(Contexts(contexts().frames[:0], contexts().actions[:0]))
