"""Features of single frames and of pairs, and the way back to embeddings."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from worldmodel.features import FrameFeatures, PairFeatures
from worldmodel.recurrent import Layer, conv3x3, dense

KINDS = pytest.mark.parametrize(("layer", "space"), [(dense, ()), (conv3x3, (3, 2))], ids=["vectors", "maps"])


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pair(layer: Layer) -> PairFeatures:
    torch.manual_seed(0)
    return PairFeatures(layer, embedding=4, action_size=2, feature=5, hidden=8)


def differ(a: Tensor, b: Tensor) -> bool:
    return not torch.allclose(a, b, atol=1e-4)


def test_a_frame_s_feature_is_its_embedding() -> None:
    for x in (randn(3, 4, seed=0), randn(3, 4, 2, 2, seed=0)):
        assert FrameFeatures()(randn(3, 4, seed=1), randn(3, 2, seed=2), x) is x
        assert FrameFeatures().embedding(x) is x


@KINDS
def test_a_pair_s_feature_knows_both_frames_and_the_action(layer: Layer, space: tuple[int, ...]) -> None:
    features, action = pair(layer), randn(3, 2, seed=1)
    before, after = randn(3, 4, *space, seed=0), randn(3, 4, *space, seed=2)
    found = features(before, action, after)
    assert found.shape == (3, 5, *space) and features.embedding(found).shape == (3, 4, *space)
    assert differ(features(before + 1, action, after), found)
    assert differ(features(before, action + 1, after), found)
    assert differ(features(before, action, after + 1), found)
    torch.testing.assert_close(features(before[:1], action[:1], after[:1]), found[:1])  # rows are apart


@KINDS
def test_both_ways_end_in_float32_under_autocast(layer: Layer, space: tuple[int, ...]) -> None:
    features, action = pair(layer), randn(3, 2, seed=1)
    before, after = randn(3, 4, *space, seed=0), randn(3, 4, *space, seed=2)
    exact = features(before, action, after)
    with torch.autocast("cpu", torch.bfloat16):
        low = features(before, action, after)
        back = features.embedding(low)
    assert low.dtype == back.dtype == torch.float32
    assert torch.equal(low, exact) == (not space)  # autocast was on; it leaves vectors alone
    torch.testing.assert_close(low, exact, rtol=0.05, atol=0.05)
