"""Standardised numbers come back as they were, and heads start at the mean."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from worldmodel.heads import Head, Statistics

SHAPES = pytest.mark.parametrize("shape", [(6,), (4, 2, 3)], ids=["vectors", "maps"])


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def statistics() -> Statistics:
    """The left pixel's mean is 0.25, the right one's 0.75; deviation 0.5. Rewards: mean 2, deviation 3."""
    found = Statistics((1, 1, 2))
    found.frame_mean.copy_(torch.tensor([[[0.25, 0.75]]]))
    found.frame_std.fill_(0.5)
    found.reward_mean.fill_(2)
    found.reward_std.fill_(3)
    return found


def test_frames_of_known_statistics() -> None:
    frames = torch.tensor([[[[0, 255]]], [[[255, 0]]]], dtype=torch.uint8)
    standardised = statistics().standardise(frames)
    assert standardised.dtype == torch.float32
    assert standardised.flatten().tolist() == pytest.approx([-0.5, 0.5, 1.5, -1.5])
    assert frames.flatten().tolist() == [0, 255, 255, 0]


def test_every_brightness_comes_back() -> None:
    frames = torch.arange(256, dtype=torch.uint8).reshape(2, 64, 1, 1, 2)  # any axes before (c, height, width)
    found = statistics()
    restored = found.restore(found.standardise(frames))
    assert restored.min() >= 0 and restored.max() <= 1
    torch.testing.assert_close(restored, frames / 255, atol=1e-6, rtol=0)
    assert torch.equal((restored * 255).round().byte(), frames)


def test_what_no_frame_can_show_is_clipped() -> None:
    x = torch.tensor([-1.0, -0.5, 0.0, 1.5, 2.0])[:, None].expand(5, 2).reshape(5, 1, 1, 2)
    found = statistics()
    assert found.restore(x)[:, 0, 0, 0].tolist() == pytest.approx([0, 0, 0.25, 1, 1])
    assert found.restore(x)[:, 0, 0, 1].tolist() == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert found.clip(x)[:, 0, 0, 0].tolist() == pytest.approx([-0.5, -0.5, 0, 1.5, 1.5])
    assert found.clip(x)[:, 0, 0, 1].tolist() == pytest.approx([-1, -0.5, 0, 0.5, 0.5])


def test_rewards_have_their_own_scale() -> None:
    found = statistics()
    assert found.rewards(torch.tensor([-1.0, 0.0, 2.0])).tolist() == [-1, 2, 8]
    assert found.standardise_rewards(torch.tensor([-1.0, 2.0, 8.0])).tolist() == [-1, 0, 2]


def test_statistics_are_saved_and_not_trained() -> None:
    found = statistics()
    assert list(found.parameters()) == []
    other = Statistics((1, 1, 2))
    assert other.standardise(torch.full((1, 1, 2), 255, dtype=torch.uint8)).flatten().tolist() == [0.5, 0.5]
    assert other.rewards(torch.tensor(7.0)) == 7
    other.load_state_dict(found.state_dict())
    assert other.rewards(torch.tensor(1.0)) == 5
    assert other.restore(torch.zeros(1, 1, 2)).flatten().tolist() == [0.25, 0.75]


@SHAPES
def test_a_head_starts_at_zero(shape: tuple[int, ...]) -> None:
    head = Head(shape, 2, hidden=8)
    values = head(randn(5, *shape), randn(5, 2, seed=1), randn(5, *shape, seed=2))
    assert values.shape == (5,) and (values == 0).all()


def alive(shape: tuple[int, ...]) -> Head:
    torch.manual_seed(0)
    head = Head(shape, 2, hidden=8)
    last = head.layers[-1]
    assert isinstance(last, nn.Linear)
    nn.init.normal_(last.weight)
    return head


@SHAPES
def test_a_head_reads_all_it_is_given_row_by_row(shape: tuple[int, ...]) -> None:
    head = alive(shape)
    parts = [randn(3, *shape), randn(3, 2, seed=1), randn(3, *shape, seed=2)]
    values = head(*parts)
    assert values.shape == (3,) and len(set(values.tolist())) == 3
    torch.testing.assert_close(head(*(part[1:2] for part in parts)), values[1:2])
    for index in range(3):
        changed = [part.clone() for part in parts]
        changed[index][0] += 1
        moved = head(*changed)
        assert (moved[0] - values[0]).abs() > 1e-3
        torch.testing.assert_close(moved[1:], values[1:])
    assert (head(parts[2], parts[1], parts[0]) - values).abs().max() > 1e-3  # before is not after


def test_a_head_on_maps_knows_where() -> None:
    shape = (4, 2, 3)
    head, before, action, after = alive(shape), randn(1, *shape), randn(1, 2), randn(1, *shape, seed=2)
    assert (head(before, action, after.flip(3)) - head(before, action, after)).abs() > 1e-3


@SHAPES
def test_values_are_float32_under_autocast(shape: tuple[int, ...]) -> None:
    head, parts = alive(shape), (randn(3, *shape), randn(3, 2, seed=1), randn(3, *shape, seed=2))
    with torch.autocast("cpu", torch.bfloat16):
        values = head(*parts)
    assert values.dtype == torch.float32
    assert not torch.equal(values, head(*parts)) and (values - head(*parts)).abs().max() < 0.1  # autocast was on
