"""Columns show their own frames at the right places, for as long as the longest lasts."""

from __future__ import annotations

import numpy as np
import pytest

from worldmodel.errors import ConfigError, DataError
from worldmodel.pictures.side_by_side import Column, side_by_side
from worldmodel.pictures.video import BACKGROUND, CAPTION_HEIGHT, SEPARATOR, TEXT, caption

TOP = 2 * CAPTION_HEIGHT


def column(t: int, h: int, w: int, *, first: int, captions: tuple[str, str] = ("one", "two")) -> Column:
    """Frames of grey levels first, first + 1, ..., their top left pixel white."""
    frames = np.empty((t, h, w, 3), np.uint8)
    frames[:] = np.arange(first, first + t, dtype=np.uint8)[:, None, None, None]
    frames[:, 0, 0] = 255
    return Column(frames, captions)


def test_the_shorter_column_holds_its_last_frame() -> None:
    shown = np.stack([*side_by_side([column(2, 4, 6, first=10), column(5, 4, 6, first=100)], scale=3)])
    assert shown.shape == (5, TOP + 12, 2 * 18 + SEPARATOR, 3) and shown.dtype == np.uint8
    left, right = shown[:, TOP:, :18], shown[:, TOP:, 18 + SEPARATOR :]
    assert [frame[3:].min() for frame in left] == [frame[3:].max() for frame in left] == [10, 11, 11, 11, 11]
    assert [frame[3:].min() for frame in right] == [frame[3:].max() for frame in right] == [100, 101, 102, 103, 104]
    for panel in (left, right):
        assert (panel[:, :3, :3] == 255).all() and (panel[:, :3, 3:] < 255).all()  # enlarged by whole squares
    assert (shown[:, :, 18 : 18 + SEPARATOR] == BACKGROUND).all()


def test_each_column_has_its_own_two_lines() -> None:
    captions = [("pendulum", "planner"), ("cartpole", "random")]
    shown = np.stack([*side_by_side([column(2, 8, 100, first=1, captions=pair) for pair in captions], scale=1)])
    for i, pair in enumerate(captions):
        for line, text in enumerate(pair):
            rows = slice(line * CAPTION_HEIGHT, (line + 1) * CAPTION_HEIGHT)
            left = i * (100 + SEPARATOR)
            expected = caption(text, TEXT, 100, CAPTION_HEIGHT)
            assert (shown[:, rows, left : left + 100] == expected).all() and expected.max() > 200


def test_sizes_may_differ() -> None:
    shown = np.stack([*side_by_side([column(1, 4, 6, first=10), column(1, 8, 2, first=20)], scale=2)])
    assert shown.shape == (1, TOP + 16, 12 + SEPARATOR + 4, 3)
    assert (shown[0, TOP + 8 :, :12] == BACKGROUND).all() and (shown[0, TOP + 2 :, 12 + SEPARATOR :] == 20).all()


def test_one_column_has_no_separator() -> None:
    (*shown,) = side_by_side([column(3, 4, 6, first=10)], scale=1)
    assert [frame.shape for frame in shown] == [(TOP + 4, 6, 3)] * 3


def test_what_is_no_column_is_an_error() -> None:
    with pytest.raises(DataError, match="there is no column to show: give one or more"):
        side_by_side([])
    with pytest.raises(DataError, match=r"frames are float64 \(2, 4, 4, 3\): give uint8"):
        side_by_side([Column(np.zeros((2, 4, 4, 3)), ("", ""))])
    with pytest.raises(ConfigError, match="scale is 0"):
        side_by_side([column(1, 4, 4, first=1)], scale=0)
