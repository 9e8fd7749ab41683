import pytest
import torch

from worldmodel.augmentation import shifted
from worldmodel.errors import ConfigError


def test_windows_move_as_a_whole_and_what_comes_into_view_is_the_mean() -> None:
    frames = torch.arange(1.0, 1 + 40 * 2 * 3 * 16 * 16).view(40, 2, 3, 16, 16)
    moved = shifted(frames, 2, torch.Generator().manual_seed(0))
    offsets = set()
    for before, after in zip(frames, moved, strict=True):
        y, x = (int(places[0]) - 8 for places in torch.where(after[0, 0] == before[0, 0, 8, 8]))
        offsets.add((y, x))
        expected = torch.zeros_like(before)
        for i in range(16):
            for j in range(16):
                if 0 <= i - y < 16 and 0 <= j - x < 16:
                    expected[..., i, j] = before[..., i - y, j - x]
        assert torch.equal(after, expected)
    assert {y for y, _ in offsets} == {x for _, x in offsets} == {-2, -1, 0, 1, 2}
    assert shifted(frames, 0, torch.Generator()) is frames
    with pytest.raises(ConfigError, match=r"16x16 moved by 16 pixels: set train\.unrolling\.shift < 16"):
        shifted(frames, 16, torch.Generator())
