"""Drawn frames become the nearest grey levels, channels last."""

from __future__ import annotations

import numpy as np
import torch

from worldmodel.pixels import pixels


def test_channels_come_last_and_levels_are_the_nearest_that_there_are() -> None:
    levels = torch.tensor([-9.0, 100.4, 100.6, 300.0]) / 255
    drawn = levels.repeat(2, 3, 5, 1) * torch.tensor([1.0, 1.0, 0.0])[:, None, None]
    found = pixels(drawn)
    assert found.shape == (2, 5, 4, 3) and found.dtype == np.uint8
    assert found[1, 4, :, 0].tolist() == [0, 100, 101, 255] and (found[..., 2] == 0).all()
