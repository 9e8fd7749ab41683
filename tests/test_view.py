"""The features that an agent sees: at one scale, within their bounds, and of every part that they are to hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from dreaming import CONV, DENSE, PAIR, actions_of, contexts, trained
from gymnasium.spaces import Box, Dict

from envs.view import features, observation_space, outward
from worldmodel.config import ModelConfig
from worldmodel.errors import ConfigError
from worldmodel.recurrent import Cells
from worldmodel.state import Skips, State

KINDS = pytest.mark.parametrize("config", [DENSE, CONV, PAIR], ids=["dense", "conv", "pair"])


def state(feature: torch.Tensor, cells: Cells = ()) -> State:
    return State(feature, Skips((), torch.arange(len(feature))), cells, (), ())


@KINDS
@torch.inference_mode()
def test_imagined_features_stay_within_the_space(config: ModelConfig) -> None:
    model, start = trained(config), contexts(count=3)
    space = observation_space(model, "features")
    assert isinstance(space, Box) and space.shape == ((8,) if config is PAIR else (16,))
    now = model.initial(start.frames, start.actions)
    for actions in actions_of(model.spec, 20, 3):
        assert all(row in space for row in features(now).numpy())
        now = model.imagine(now, torch.from_numpy(actions), noise=5 * torch.randn(3, *model.noise_shape)).state


@torch.inference_mode()
def test_encoded_features_are_given_as_they_are() -> None:
    """The encoder has normalised them, so those of dreams are brought to the scale of those of real frames."""
    for config in (PAIR, replace(DENSE, recurrence="none")):
        model, start = trained(config), contexts(count=3)
        now = model.initial(start.frames, start.actions)
        torch.testing.assert_close(features(now), now.feature, rtol=1e-3, atol=1e-3)
        grown = replace(now, feature=3 * now.feature + 2)
        torch.testing.assert_close(features(grown), features(now), rtol=1e-3, atol=1e-3)


def test_the_top_memory_is_beside_the_feature_and_maps_are_averaged() -> None:
    a, b = torch.full((2, 3, 4, 4), 0.25), torch.full((2, 3, 4, 4), -0.5)
    b[:, :, 0] = 0.5  # a quarter of the places
    feature = torch.randn(2, 5, 4, 4)
    found = features(state(feature, ((a, a), (b, a))))
    torch.testing.assert_close(found[:, 5:], torch.full((2, 3), -0.25))
    pooled = feature.mean((2, 3))
    expected = (pooled - pooled.mean(1, keepdim=True)) / pooled.std(1, keepdim=True, correction=0)
    torch.testing.assert_close(found[:, :5], expected, rtol=1e-2, atol=1e-3)


def test_the_choice_decides_the_space() -> None:
    model = trained(PAIR)
    frames, both = observation_space(model, "frames"), observation_space(model, "both")
    assert frames == Box(0, 255, (64, 64, 3), np.uint8)
    assert both == Dict({"frames": frames, "features": observation_space(model, "features")})
    with pytest.raises(ConfigError, match="observation is 'pixels': set one of frames, features, both"):
        observation_space(model, "pixels")


def test_one_kind_is_an_array_and_two_are_a_dict() -> None:
    one, two = np.arange(3), np.arange(3, 6)
    assert outward({"features": one}) is not None and outward({"features": one}).tolist() == [0, 1, 2]
    assert outward({"features": one}, 1) == 1
    assert outward({"frames": two, "features": one}, 2) == {"frames": 5, "features": 2}
