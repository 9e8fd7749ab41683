"""The encoder's maps have the sizes it promises, and a frame's features are its own."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from worldmodel.encoder import Encoder, LightEncoder, block

close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)  # batches of other sizes round otherwise
STAGES = ((8, 2), (16, 1))


def frames(b: int, height: int, width: int, channels: int = 3) -> Tensor:
    return torch.randn(b, channels, height, width, generator=torch.Generator().manual_seed(0))


def encoder(patch: int = 1, output: nn.Module | None = None) -> Encoder:
    torch.manual_seed(0)
    return Encoder(channels=3, patch=patch, stages=STAGES, output=output or nn.Identity())


@pytest.mark.parametrize(
    ("height", "width", "patch", "skips", "feature"),
    [
        (16, 16, 1, [(8, 16, 16), (16, 8, 8)], (16, 4, 4)),
        (16, 16, 2, [(8, 8, 8), (16, 4, 4)], (16, 2, 2)),
        (32, 48, 1, [(8, 32, 48), (16, 16, 24)], (16, 8, 12)),
        (32, 48, 2, [(8, 16, 24), (16, 8, 12)], (16, 4, 6)),
    ],
)
def test_skips_are_finest_first_and_each_half_the_one_before(
    height: int, width: int, patch: int, skips: list[tuple[int, ...]], feature: tuple[int, ...]
) -> None:
    for b in (1, 3):
        found, maps = encoder(patch)(frames(b, height, width))
        assert [tuple(tensor.shape) for tensor in maps] == [(b, *shape) for shape in skips]
        assert found.shape == (b, *feature)


def test_stages_hold_as_many_blocks_as_asked() -> None:
    convolutions = [module for module in encoder(patch=2).modules() if isinstance(module, nn.Conv2d)]
    assert [tuple(conv.weight.shape) for conv in convolutions] == [(8, 12, 3, 3), (8, 8, 3, 3), (16, 8, 3, 3)]
    assert all(conv.bias is None for conv in convolutions)


def test_the_output_layer_turns_the_last_map_into_the_feature() -> None:
    linear = nn.Linear(16 * 4 * 4, 5)
    feature, _ = encoder(output=nn.Sequential(nn.Flatten(), linear))(frames(2, 16, 16))
    last, _ = encoder()(frames(2, 16, 16))
    close(feature, linear(last.flatten(1)))


def test_a_patch_is_folded_into_channels() -> None:
    """Without stages nothing else happens."""
    folding = Encoder(channels=1, patch=2, stages=(), output=nn.Identity())
    feature, skips = folding(torch.arange(16.0).reshape(1, 1, 4, 4))
    assert feature[0, :, 0, 0].tolist() == [0, 1, 4, 5] and feature[0, :, 1, 1].tolist() == [10, 11, 14, 15]
    assert skips == ()


def test_a_skip_is_the_map_before_it_is_halved() -> None:
    identity = Encoder(channels=1, patch=1, stages=((1, 1),), output=nn.Identity())
    identity.stages[0] = nn.Identity()
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    feature, (skip,) = identity(x)
    assert torch.equal(skip, x)
    assert feature.tolist() == [[[[5, 7], [13, 15]]]]  # the largest of each square


@pytest.mark.parametrize("training", [True, False])
def test_a_frame_s_features_do_not_depend_on_the_batch(training: bool) -> None:
    model, x = encoder().train(training), frames(3, 16, 16)
    feature, skips = model(x)
    x[0], x[2] = 100, -50
    other_feature, other_skips = model(x)
    close(other_feature[1], feature[1])
    alone, alone_skips = model(x[1:2])
    close(alone, feature[1:2])
    for skip, other, single in zip(skips, other_skips, alone_skips, strict=True):
        close(other[1], skip[1])
        close(single, skip[1:2])


def test_a_block_normalises_each_frame_and_leaks() -> None:
    torch.manual_seed(0)
    x = frames(2, 8, 8) * torch.tensor([1.0, 50.0])[:, None, None, None]
    module = block(3, 4)
    y = module(x)
    before = torch.where(y > 0, y, y / 0.2).flatten(1)  # LeakyReLU 0.2 undone
    close(before.mean(1), torch.zeros(2), atol=1e-4, rtol=0)
    close(before.var(1, correction=0), torch.ones(2), atol=1e-3, rtol=0)


def test_the_feature_is_float32_under_autocast() -> None:
    model, x = encoder(output=nn.Conv2d(16, 4, 3, padding=1)), frames(1, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        feature, _ = model(x)
    exact, _ = model(x)
    assert feature.dtype == torch.float32
    assert not torch.equal(feature, exact) and (feature - exact).abs().max() < 0.1  # autocast was on


@pytest.mark.parametrize("patch", [1, 2])
def test_the_light_encoder_halves_a_stage_and_gives_no_skips(patch: int) -> None:
    torch.manual_seed(0)
    light = LightEncoder(channels=3, patch=patch, stages=STAGES, output=nn.Identity())
    x = frames(3, 32, 48)
    found, skips = light(x)
    assert found.shape == (3, 16, 8 // patch, 12 // patch) and skips == ()
    close(light(x[1:2])[0], found[1:2])  # a frame's features are its own
    shapes = [tuple(module.weight.shape) for module in light.modules() if isinstance(module, nn.Conv2d)]
    assert shapes == [(8, 3, 4 * patch, 4 * patch), (8, 8, 3, 3), (16, 8, 4, 4)]
