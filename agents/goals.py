"""Goals as pictures: plan to be where a frame was taken (Ebert et al. 2018; VP², Tian et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from agents.planning import Latents, Objective
from worldmodel.errors import ConfigError, DataError
from worldmodel.state import State
from worldmodel.svg import WorldModel
from worldmodel.videos import read_picture

FrameCost = Callable[[Tensor, Tensor], Tensor]
"""A user's own cost: frames (n, c, h, w) and the goal (c, h, w), float in [0, 1], to costs (n,); lower is nearer."""


def read_goal(path: Path | str, size: tuple[int, int]) -> np.ndarray:
    """A picture as a frame (H, W, 3) uint8; DataError when it is missing, no picture, or not of `size`."""
    try:
        frame = read_picture(Path(path))
    except DataError as error:
        raise DataError(f"the goal {error}, such as a PNG") from error
    if frame.shape[:2] != size:
        raise DataError(
            f"the goal {path} is {frame.shape[0]}x{frame.shape[1]}, frames are {size[0]}x{size[1]} (height x width): "
            "give a frame of the environment, or resize it"
        )
    return frame


def frame_distance(frame: np.ndarray, goal: np.ndarray) -> float:
    """Root mean square difference in grey levels, 0 to 255, of frames (H, W, 3) uint8."""
    return float(np.sqrt(np.square(frame.astype(np.float64) - goal).mean()))


def reach(goal: np.ndarray, cost: str) -> Objective:
    """The objective of being where the goal frame was taken, early and for long: less the cost of every step.

    Args:
        goal: (H, W, 3) uint8, of the model's frame size.
        cost: ``features``: squared distance of the embeddings of frames; ``pixels``: of the frames drawn;
            ``module:function``: a user's own `FrameCost`.

    Raises ConfigError for another cost, and for a function that cannot be imported.
    """
    frame = torch.from_numpy(np.array(goal)).permute(2, 0, 1)[None, None]
    own = None if cost in ("features", "pixels") else _import_cost(cost)

    def embedded(model: WorldModel) -> Tensor:
        actions = torch.zeros(1, 0, model.spec.action_size, device=model.device)
        return model.embedding(model.initial(frame.to(model.device), actions))

    def far_in_features(model: WorldModel) -> Callable[[State], Tensor]:
        there = embedded(model)  # anew each time: the model may have learned since
        return lambda state: (model.embedding(state) - there).square().flatten(1).mean(1)

    def far_in_pixels(model: WorldModel) -> Callable[[State], Tensor]:
        picture = frame[0, 0].to(model.device) / 255
        if own is None:
            return lambda state: (model.decode(state) - picture).square().flatten(1).mean(1)
        return lambda state: _checked(own(model.decode(state), picture), len(state), cost)

    distance_of = far_in_features if cost == "features" else far_in_pixels

    def objective(model: WorldModel, state: State, candidates: Tensor, latents: Latents) -> Tensor:
        n, h, _ = candidates.shape
        distance = distance_of(model)
        state = state.repeat(n)
        total = torch.zeros(n, device=candidates.device)
        for step in range(h):
            state = model.imagine(state, candidates[:, step], noise=latents(n)).state
            total = total - distance(state)
        return total

    return objective


def _checked(costs: Tensor, n: int, name: str) -> Tensor:
    found = tuple(costs.shape) if isinstance(costs, Tensor) else type(costs).__name__
    if found != (n,):
        raise ConfigError(f"goal_cost {name} gave {found} for {n} frames: it must give a tensor of one cost each")
    return costs


def _import_cost(name: str) -> FrameCost:
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function) if module and function else None
    except (ImportError, AttributeError, TypeError) as error:  # TypeError: a path, ./own.py, for a module
        raise ConfigError(f"goal_cost {name!r} cannot be imported ({error}): is its folder on the path?") from error
    if not callable(found):
        raise ConfigError(f"goal_cost is {name!r}: set features, pixels, or module:function")
    return found
