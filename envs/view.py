"""What an agent sees of a model's state: the same in a dream and in the real environment seen through the model."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict
from torch import Tensor
from torch.nn import functional

from worldmodel.errors import ConfigError, check_whole
from worldmodel.state import State
from worldmodel.svg import WorldModel

Observation = dict[str, np.ndarray]
"""Rows of ``frames`` (b, H, W, 3·s) uint8, s frames at a time, of ``features`` (b, f) float32, or of both."""

KINDS = {"frames": ("frames",), "features": ("features",), "both": ("frames", "features")}
"""What each choice of observation holds."""


def features(state: State) -> Tensor:
    """The vectors (b, f) float32 that an agent sees of a state.

    The feature, normalised over its c channels, so within ±√c; beside it, where the frame predictor is recurrent, the
    output of its top layer, within ±1. Maps are averaged over space first. Encoded features come out as the encoder
    normalised them, and imagined ones, which nothing bounds, at the same scale.
    """
    feature = _pooled(state.feature)
    parts = [functional.layer_norm(feature, feature.shape[1:])]
    if state.frame_predictor:
        top, _ = state.frame_predictor[-1]
        parts.append(_pooled(top))
    return torch.cat(parts, 1)


def observation_space(model: WorldModel, observation: str, frame_stack: int = 1) -> gymnasium.Space[Any]:
    """The space of one row: a Box of ``frames`` or of ``features``, or for ``both`` a Dict of the two.

    Args:
        frame_stack: how many frames are seen at a time, see `stack_frames`.

    Raises ConfigError for another observation, and for a stack of frames that nobody sees.
    """
    if observation not in KINDS:
        raise ConfigError(f"observation is {observation!r}: set one of {', '.join(KINDS)}")
    check_whole("frame_stack", frame_stack, 1)
    if frame_stack > 1 and "frames" not in KINDS[observation]:
        raise ConfigError(f"frame_stack is {frame_stack}, but only features are seen: set observation=frames or both")
    frames = Box(0, 255, (*model.spec.frame_size, 3 * frame_stack), np.uint8)
    found: dict[str, gymnasium.Space[Any]] = {
        kind: frames if kind == "frames" else _features_space(model) for kind in KINDS[observation]
    }
    return Dict(found) if observation == "both" else found[observation]


def stack_frames(frames: np.ndarray, count: int) -> np.ndarray:
    """The last `count` of frames (b, t, H, W, 3), in the channels of one picture (b, H, W, 3·count), the oldest first.

    Where t is less there are zeros, as SB3's VecFrameStack has them before an episode's first frame.
    """
    frames = frames[:, -count:]
    b, t, height, width, channels = frames.shape
    before = np.zeros((b, height, width, channels * (count - t)), frames.dtype)
    return np.concatenate([before, *frames.swapaxes(0, 1)], -1)


def push_frames(stacked: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """The same once frames (b, H, W, 3) followed: the oldest go."""
    return np.concatenate([stacked[..., frames.shape[-1] :], frames], -1)


def outward(observation: Observation, rows: int | slice = slice(None)) -> Any:
    """Rows of an observation as its space has them: an array where there is one kind, else a dict of arrays."""
    chosen = {kind: array[rows] for kind, array in observation.items()}
    return chosen if len(chosen) > 1 else next(iter(chosen.values()))


def _features_space(model: WorldModel) -> Box:
    """As wide as the features of any frame are."""
    frames = torch.zeros(1, 1, 3, *model.spec.frame_size, dtype=torch.uint8, device=model.device)
    with torch.inference_mode():
        state = model.initial(frames, torch.zeros(1, 0, model.spec.action_size, device=model.device))
        size = features(state).shape[1]
    channels = state.feature.shape[1]
    bound = np.ones(size, np.float32)
    bound[:channels] = channels**0.5
    return Box(-bound, bound, dtype=np.float32)


def _pooled(x: Tensor) -> Tensor:
    """(b, c) or (b, c, h, w) to (b, c) float32."""
    return x.float().flatten(2).mean(2) if x.dim() > 2 else x.float()
