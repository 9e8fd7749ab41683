"""The decoder mirrors the encoder, and draws with the skips it is given."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from worldmodel.decoder import Decoder, LightDecoder
from worldmodel.encoder import Encoder

close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)  # batches of other sizes round otherwise
aten = torch.ops.aten
STAGES = ((8, 2), (16, 1))


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def decoder(*, skips: bool, patch: int = 1) -> Decoder:
    torch.manual_seed(0)
    return Decoder(channels=3, patch=patch, stages=STAGES, input=nn.Conv2d(4, 16, 1), skips=skips)


def maps(b: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Skips of frames of height x width, finest first."""
    return randn(b, 8, height, width, seed=1), randn(b, 16, height // 2, width // 2, seed=2)


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 48)])
@pytest.mark.parametrize("patch", [1, 2])
def test_frames_have_the_size_that_was_encoded(height: int, width: int, patch: int, skips: bool) -> None:
    encoder = Encoder(channels=3, patch=patch, stages=STAGES, output=nn.Conv2d(16, 4, 1))
    for b in (1, 3):
        feature, found = encoder(randn(b, 3, height, width))
        frames = decoder(skips=skips, patch=patch)(feature, found)
        assert frames.shape == (b, 3, height, width)


@pytest.mark.parametrize(
    ("skips", "expected"),
    [(True, [(8, 32, 3, 3), (8, 16, 3, 3), (12, 8, 3, 3)]), (False, [(8, 16, 3, 3), (8, 8, 3, 3), (12, 8, 3, 3)])],
)
def test_widths_mirror_the_encoder(skips: bool, expected: list[tuple[int, ...]]) -> None:
    stages = decoder(skips=skips, patch=2).stages
    found = [tuple(module.weight.shape) for module in stages.modules() if isinstance(module, nn.Conv2d)]
    assert found == expected


def test_the_frame_changes_with_every_skip() -> None:
    model, feature, skips = decoder(skips=True), randn(2, 4, 4, 4), maps(2, 16, 16)
    frames = model(feature, skips)
    for index in range(2):
        changed = list(skips)
        changed[index] = changed[index].clone()
        changed[index][1] += randn(*changed[index].shape[1:], seed=3)
        other = model(feature, tuple(changed))
        close(other[0], frames[0])
        assert (other[1] - frames[1]).abs().max() > 1e-2


def test_features_that_share_a_skip_share_its_convolutions() -> None:
    model, feature, rows = decoder(skips=True), randn(4, 4, 4, 4), torch.tensor([2, 0, 2, 2])
    skips = tuple(skip.requires_grad_() for skip in maps(3, 16, 16))
    found, expected = model(feature, skips, rows), model(feature, tuple(skip[rows] for skip in skips))
    close(found, expected)
    leaves, direction = [*skips, *model.parameters()], randn(*expected.shape, seed=3)
    close(*(torch.autograd.grad(frames, leaves, direction, allow_unused=True) for frames in (found, expected)))
    convolved: list[int] = []
    with FlopCounterMode(
        display=False, custom_mapping={aten.convolution: lambda x, *_, **__: convolved.append(x[0]) or 0}
    ):
        model(feature, skips, rows)
        assert sorted(convolved) == [3, 3, 4, 4, 4, 4]  # each skip once, at two resolutions
        convolved.clear()
        model(feature[:2], skips, rows[2:])
        assert sorted(convolved) == [1, 1, 2, 2, 2, 2]  # of more skips than features only those that are seen
    close(model(feature[:2], skips, rows[2:]), model(feature[:2], tuple(skip[rows[2:]] for skip in skips)))


def test_without_skips_they_do_not_matter() -> None:
    model, feature = decoder(skips=False), randn(2, 4, 4, 4)
    frames = model(feature, maps(2, 16, 16))
    assert torch.equal(model(feature, ()), frames)
    assert not torch.equal(model(feature + 1, ()), frames)


@pytest.mark.parametrize("training", [True, False])
def test_a_frame_does_not_depend_on_the_batch(training: bool) -> None:
    model, feature, skips = decoder(skips=True).train(training), randn(3, 4, 4, 4), maps(3, 16, 16)
    frames = model(feature, skips)
    alone = model(feature[1:2], tuple(skip[1:2] for skip in skips))
    close(alone, frames[1:2])
    feature[0], feature[2] = 100, -50
    close(model(feature, skips)[1], frames[1])


def test_a_patch_is_unfolded_as_it_was_folded() -> None:
    """Without stages nothing else happens."""
    fold = Encoder(channels=3, patch=2, stages=(), output=nn.Identity())
    unfold = Decoder(channels=3, patch=2, stages=(), input=nn.Identity(), skips=False)
    x = randn(2, 3, 4, 6)
    assert torch.equal(unfold(*fold(x)), x)


def test_maps_grow_by_the_nearest_neighbour() -> None:
    model = Decoder(channels=1, patch=1, stages=((1, 1),), input=nn.Identity(), skips=False)
    model.stages[0] = nn.Identity()
    assert model(torch.tensor([[[[1.0, 2.0]]]]), ()).tolist() == [[[[1, 1, 2, 2], [1, 1, 2, 2]]]]


def test_the_last_layer_draws_any_value() -> None:
    """Neither normalised nor bent: a bias of -7 is a frame of -7."""
    model = decoder(skips=True)
    last = model.stages[-1][-1]
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, -7)
    assert (model(randn(1, 4, 4, 4), maps(1, 16, 16)) == -7).all()


def test_frames_are_float32_under_autocast() -> None:
    model, feature, skips = decoder(skips=True), randn(1, 4, 4, 4), maps(1, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        frames = model(feature, skips)
    exact = model(feature, skips)
    assert frames.dtype == torch.float32
    assert not torch.equal(frames, exact) and (frames - exact).abs().max() < 0.1  # autocast was on


def test_the_light_decoder_draws_a_square_at_each_position() -> None:
    torch.manual_seed(0)
    light = LightDecoder(channels=3, shape=(4, 2, 3), side=8, feature=5, hidden=6)
    feature = randn(3, 5)
    frames = light(feature, ())
    assert frames.shape == (3, 3, 16, 24) and frames.dtype == torch.float32
    close(light(feature[1:2], ()), frames[1:2])  # rows never influence each other
    assert frames.std(0).min() > 0  # every pixel depends on the feature
