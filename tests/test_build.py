"""A few numbers make the model they say, or an error that names the number to mend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from worldmodel.build import build, scaled
from worldmodel.config import ModelConfig
from worldmodel.errors import ConfigError
from worldmodel.spec import EnvSpec
from worldmodel.svg import SVG

SPEC = EnvSpec("cartpole", "swingup", "box", 2, (-1.0, -1.0), (1.0, 1.0), 8, 1000, (16, 24))
DENSE = ModelConfig(
    layer="dense",
    recurrence="lstm",
    features="frame",
    backbone="vgg",
    K=1,
    M=1,
    stages=((16, 1), (32, 2)),
    patch=2,
    feature=12,
    hidden=32,
    layers=2,
    latent=3,
    advance="residual",
    skips=False,
    head=8,
)
CONV = replace(DENSE, layer="conv", advance="bounded", skips=True)
KINDS = pytest.mark.parametrize("config", [DENSE, CONV], ids=["dense", "conv"])


def widths(module: nn.Module) -> list[int]:
    """Output channels of every layer with weights, in order."""
    return [m.weight.shape[0] for m in module.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]


def hiddens(model: SVG) -> list[int]:
    return [part.memory.hidden for part in (model.frame_predictor, model.posterior, model.prior)]


def frames(b: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (b, 3, 16, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("channels", "factor", "expected"),
    [
        (64, 1, 64),
        (64, 2, 128),
        (64, 0.5, 32),
        (64, 0.3, 16),
        (64, 0.35, 24),
        (64, 0.01, 8),
        (3, 1, 8),
        (512, 1.5, 768),
    ],
)
def test_channels_come_in_groups_of_eight(channels: int, factor: float, expected: int) -> None:
    assert scaled(channels, factor) == expected


@KINDS
@pytest.mark.parametrize(("factor", "stages"), [(1, [16, 32, 32]), (0.5, [8, 16, 16]), (1.5, [24, 48, 48])])
def test_k_scales_encoder_and_decoder_alone(config: ModelConfig, factor: float, stages: list[int]) -> None:
    model = build(replace(config, K=factor), SPEC)
    assert widths(model.encoder) == [*stages, 12]
    assert widths(model.decoder.stages) == [stages[1], stages[0], 12]  # 12 channels are 3 colours in 2x2 patches
    assert hiddens(model) == [32, 32, 32] and model.noise_shape[0] == 3


@KINDS
@pytest.mark.parametrize(("factor", "hidden"), [(1, 32), (0.25, 8), (1.5, 48)])
def test_m_scales_the_recurrent_networks_alone(config: ModelConfig, factor: float, hidden: int) -> None:
    model = build(replace(config, M=factor), SPEC)
    assert hiddens(model) == [hidden] * 3
    assert widths(model.frame_predictor) == [hidden, *[4 * hidden] * 4, 12]  # two cells of two layers, then a feature
    assert widths(model.posterior) == widths(model.prior) == [hidden, *[4 * hidden] * 2, 3, 3]
    assert widths(model.encoder) == [16, 32, 32, 12]


def test_the_frame_predictor_takes_feature_latent_and_action() -> None:
    for a in (1, 5):
        spec = replace(SPEC, action_kind="discrete", action_size=a, action_low=(), action_high=())
        assert build(DENSE, spec).frame_predictor.memory.embed.weight.shape == (32, 12 + 3 + a)
        assert build(CONV, spec).frame_predictor.memory.embed.weight.shape == (32, 12 + 3 + a, 3, 3)


def test_features_are_vectors_or_maps_and_so_is_the_noise() -> None:
    for config, space in ((DENSE, ()), (CONV, (2, 3))):  # 16x24 in 2x2 patches, halved twice
        model = build(config, SPEC)
        feature, _ = model.encode(frames())
        assert feature.shape == (2, 12, *space) and model.noise_shape == (3, *space)
        z, _ = model.prior(feature, model.prior.initial(feature))
        assert z.mean.shape == (2, *model.noise_shape)


@pytest.mark.parametrize("layer", ["dense", "conv"])
@pytest.mark.parametrize("features", ["frame", "pair"])
@pytest.mark.parametrize("recurrence", ["lstm", "none"])
def test_a_new_residual_model_predicts_that_nothing_moves(layer: Any, features: Any, recurrence: Any) -> None:
    model = build(replace(DENSE, layer=layer, features=features, recurrence=recurrence), SPEC)
    state = model.initial(frames()[:, None], torch.zeros(2, 0, 2))
    noise = torch.randn(2, *model.noise_shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.imagine(state, torch.ones(2, 2), noise=noise).state.feature, state.feature)
    # of unit scale, whatever the weights
    torch.testing.assert_close(state.embedding.flatten(1).mean(1), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(state.embedding.flatten(1).square().mean(1), torch.ones(2), atol=1e-2, rtol=0)


@pytest.mark.parametrize("layer", ["dense", "conv"])
def test_bounded_features_stay_within_one(layer: Any) -> None:
    model = build(replace(DENSE, layer=layer, advance="bounded"), SPEC)
    for part in (model.encoder.output, model.frame_predictor.output):
        for parameter in part.parameters():
            nn.init.constant_(parameter, 3.0)
    state = model.initial(frames()[:, None], torch.zeros(2, 0, 2))
    for feature in (state.feature, model.imagine(state, torch.ones(2, 2)).state.feature):
        assert 0.9 < feature.abs().max() <= 1


def test_skips_are_a_choice() -> None:
    for skips in (True, False):
        model = build(replace(DENSE, skips=skips), SPEC)
        _, maps = model.encode(frames())
        assert [tensor.shape[1:] for tensor in maps] == ([(16, 8, 12), (32, 4, 6)] if skips else [])


@KINDS
def test_feedback_is_not_a_matter_of_the_weights(config: ModelConfig) -> None:
    one, other = build(config, SPEC), build(config, SPEC, feedback="pixels")
    other.load_state_dict(one.state_dict())  # raises if a name or a shape differs
    assert one.feedback is not other.feedback


@pytest.mark.parametrize(("size", "shown"), [((20, 24), "20x24"), ((16, 20), "16x20")])
def test_sides_the_encoder_cannot_halve_are_an_error(size: tuple[int, int], shown: str) -> None:
    with pytest.raises(ConfigError, match=rf"frames are {shown}: .* sides that are multiples of 8$"):
        build(DENSE, replace(SPEC, frame_size=size))
    build(replace(DENSE, patch=1), replace(SPEC, frame_size=size))  # 4 divides both


def test_an_unknown_feedback_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"feedback is 'dreams': set one of features, pixels"):
        build(DENSE, SPEC, feedback="dreams")


@pytest.mark.parametrize(
    ("key", "value", "mend"),
    [
        ("layer", "conv5", "dense, conv"),
        ("recurrence", "gru", "lstm, none, context, rssm"),
        ("recurrence", "", "lstm, none, context, rssm"),
        ("features", "triple", "frame, pair"),
        ("advance", "linear", "residual, bounded"),
    ],
)
def test_an_unknown_choice_is_an_error(key: str, value: str, mend: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{key} is '{value}': set one of {mend}"):
        replace(DENSE, **{key: value})


@pytest.mark.parametrize("key", ["K", "M", "patch", "feature", "hidden", "layers", "head"])
@pytest.mark.parametrize("value", [0, -2, float("nan"), "big"])
def test_numbers_that_are_not_positive_are_an_error(key: str, value: Any) -> None:
    mend = "a finite number > 0" if key in "KM" else "a whole number >= 1"
    with pytest.raises(ConfigError, match=rf"model\.{key} is {value!r}: set {mend}"):
        replace(DENSE, **{key: value})


@pytest.mark.parametrize("key", ["latent", "critics", "history"])
@pytest.mark.parametrize("value", [-1, 0.5])
def test_numbers_below_zero_are_an_error(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{key} is {value}: set a whole number >= 0"):
        replace(DENSE, **{key: value})


@pytest.mark.parametrize(("recurrence", "history"), [("context", 0), ("lstm", 2), ("none", 1)])
def test_only_a_context_has_a_history(recurrence: Any, history: int) -> None:
    with pytest.raises(ConfigError, match=rf"model\.history is {history} with recurrence '{recurrence}'"):
        replace(DENSE, recurrence=recurrence, history=history)


@pytest.mark.parametrize("stages", [(), ((0, 1),), ((16, 0),)])
def test_stages_of_nothing_are_an_error(stages: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ConfigError, match=r"model\.stages is .*: give one \(channels, blocks\) or more, each >= 1"):
        replace(DENSE, stages=stages)


@pytest.mark.parametrize("changes", [{"skips": True}, {"layer": "conv", "advance": "bounded"}])
def test_the_light_backbone_has_no_maps_to_give(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"the light backbone has no maps for .*: set model\.backbone=vgg"):
        replace(DENSE, backbone="light", **changes)


def test_features_of_a_pair_are_not_bounded() -> None:
    with pytest.raises(ConfigError, match=r"no bounds .*: set model\.advance=residual, or model\.features=frame"):
        replace(CONV, features="pair")


def test_stages_from_yaml_become_tuples() -> None:
    config = replace(DENSE, stages=[[16, 1], [32, 2]])  # type: ignore[arg-type]
    assert config == DENSE and hash(config) == hash(DENSE)
