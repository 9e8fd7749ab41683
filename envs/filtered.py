"""Real environments through a model's eyes: what was learned on a dream's features acts on the same features here."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from envs.spec import action_space, action_vectors, env_spec
from envs.view import Observation, features, observation_space, outward
from worldmodel.errors import ConfigError, EnvError
from worldmodel.hardware import autocast, chosen_precision
from worldmodel.pretrained import check_fits
from worldmodel.spec import EnvSpec
from worldmodel.state import State
from worldmodel.svg import WorldModel

KINDS = ("features", "both")


class Filter:
    """Filters rows of real frames, with one call of the model for all: what `envs.dream.Dream` is to imagined ones.

    An episode begins with its first frame alone; the mean of each posterior z is taken, as for the starts of dreams.

    Args:
        model: whose features are given, on any device.
        num_envs: rows, b.
        observation: ``features``, or ``both`` with the frames as they are.
        precision: as `Dream`'s.

    Raises ConfigError for another observation.
    """

    def __init__(
        self, model: WorldModel, *, num_envs: int, observation: str = "features", precision: str = "auto"
    ) -> None:
        if observation not in KINDS:
            raise ConfigError(
                f"observation is {observation!r}: set one of {', '.join(KINDS)}; frames alone need no model"
            )
        self.observation_space = observation_space(model, observation)
        self._model = model
        self._num_envs = num_envs
        self._frames_too = observation == "both"
        self._precision = chosen_precision(precision, model.device.type)
        self._state: State | None = None

    def begin(self, frames: np.ndarray, rows: np.ndarray | None = None) -> Observation:
        """Episodes begin in `rows` (b,) bool, or in all, with frames (b, H, W, 3) uint8: the rows' observation."""
        mask = torch.ones(self._num_envs, dtype=torch.bool) if rows is None else torch.from_numpy(rows.copy())
        mask = mask.to(self._model.device)
        with torch.inference_mode(), autocast(self._model.device, self._precision):
            first = self._pixels(frames)[mask][:, None]
            none = torch.zeros(len(first), 0, self._model.spec.action_size, device=first.device)
            fresh = self._model.initial(first, none)
            self._state = fresh if self._state is None or rows is None else self._state.put(mask, fresh)
            return self._observed(self._state, frames)

    def advance(self, vectors: np.ndarray, frames: np.ndarray) -> Observation:
        """Actions (b, a), in [-1, 1] or one-hot, were executed and led to frames (b, H, W, 3) uint8.

        Raises EnvError before the first `begin`.
        """
        if self._state is None:
            raise EnvError("no episode has begun: call reset() first")
        with torch.inference_mode(), autocast(self._model.device, self._precision):
            taken = torch.from_numpy(vectors).to(self._model.device)
            self._state = self._model.observe(self._state, taken, self._pixels(frames))
            return self._observed(self._state, frames)

    def _observed(self, state: State, frames: np.ndarray) -> Observation:
        seen = {"features": features(state).cpu().numpy()}
        return {"frames": np.array(frames), **seen} if self._frames_too else seen

    def _pixels(self, frames: np.ndarray) -> Tensor:
        # of our own: torch warns of memory that it must not write to
        return torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).to(self._model.device)


class FilteredEnv(gymnasium.Wrapper[Any, Any, np.ndarray, Any]):
    """A real environment, made by `envs.make_env`, that shows a model's features of its frames.

    Args:
        env: gives the frames that the model was trained on.
        model, observation, precision: see `Filter`.

    Raises CheckpointError for an environment that the model was not trained on, EnvError for one whose frames or
    actions a wrapper has changed.
    """

    def __init__(
        self,
        env: gymnasium.Env[np.ndarray, Any],
        model: WorldModel,
        *,
        observation: str = "features",
        precision: str = "auto",
    ) -> None:
        super().__init__(env)
        self._spec = env_spec(env)
        check_filtered(model, self._spec, env.observation_space, env.action_space)
        self._filter = Filter(model, num_envs=1, observation=observation, precision=precision)
        self.observation_space = self._filter.observation_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A new episode; see the environment's own."""
        frame, info = self.env.reset(seed=seed, options=options)
        return outward(self._filter.begin(frame[None]), 0), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The environment's own step, its frame filtered."""
        vectors = action_vectors(self._spec, np.asarray(action)[None], 1)
        frame, reward, terminated, truncated, info = self.env.step(action)
        return outward(self._filter.advance(vectors, frame[None]), 0), float(reward), terminated, truncated, info


def check_filtered(
    model: WorldModel, spec: EnvSpec, frames: gymnasium.Space[Any], actions: gymnasium.Space[Any]
) -> None:
    """Raises CheckpointError or EnvError unless a model can filter an environment of these spaces."""
    check_fits(model.spec, spec, "hand")
    shown = Box(0, 255, (*spec.frame_size, 3), np.uint8)
    for name, space, expected in (("shows", frames, shown), ("takes", actions, action_space(spec))):
        if space != expected:
            raise EnvError(
                f"the environment {name} {space}, its model was trained on {expected}: filter it first, and put other "
                "wrappers around that"
            )
