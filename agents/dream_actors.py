"""Who acts in rows that a model imagines: policies and planners, from the states themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from agents.planners import Planner
from agents.planning import PROPOSALS, imagined_value, means, policy_plans
from agents.search import Search
from envs.spec import action_vectors
from envs.view import features, push_frames, stack_frames
from worldmodel.errors import ConfigError
from worldmodel.hardware import without_autocast
from worldmodel.pixels import pixels
from worldmodel.state import State
from worldmodel.svg import WorldModel

if TYPE_CHECKING:
    from stable_baselines3.common.policies import BasePolicy


class DreamActor:
    """What an SB3 policy does in rows that a model imagines, without exploration: an `agents.trust.Policy`.

    Args:
        policy: of the model's features, or of frames.
        model: whose features, or whose drawings, it sees.
        frame_stack: how many frames it sees at a time; 0 for a policy of features.
    """

    def __init__(self, policy: BasePolicy, model: WorldModel, *, frame_stack: int) -> None:
        self._policy = policy
        self._model = model
        self._frame_stack = frame_stack

    def begin(self, frames: np.ndarray) -> None:
        """Rows have seen frames (n, t, H, W, 3) uint8, the last of them now."""
        if self._frame_stack:
            self._seen = stack_frames(frames, self._frame_stack)

    def act(self, state: State) -> Tensor:
        """Actions (n, a) in [-1, 1], or one-hot, on the model's device."""
        seen = self._seen if self._frame_stack else features(state).cpu().numpy()
        with without_autocast(self._model.device):
            actions, _ = self._policy.predict(seen, deterministic=True)
        return torch.from_numpy(action_vectors(self._model.spec, actions, len(state))).to(self._model.device)

    def advance(self, state: State) -> None:
        """The rows went on to imagined states; a policy of frames looks at what the model draws of them."""
        if self._frame_stack:
            self._seen = push_frames(self._seen, pixels(self._model.decode(state)))


class DreamPlanner:
    """What a planner does in one row that its own model imagines: an `agents.trust.Policy` of one row.

    Args:
        model: that it plans in.
        planner: what searches, with the mean of each z.
        seed: of its searches.
    """

    def __init__(self, model: WorldModel, planner: Planner, *, seed: int) -> None:
        self._model = model
        self._planner = planner
        self._search = Search(planner, model.spec, device=model.device)
        self._generator = torch.Generator().manual_seed(seed)

    def begin(self, frames: np.ndarray) -> None:
        """Nothing is known from before."""
        self._search.reset()

    @torch.inference_mode()
    def act(self, state: State) -> Tensor:
        """The plan's first action (1, a); ConfigError for more rows."""
        if len(state) != 1:
            raise ConfigError(f"there are {len(state)} rows: a planner plans for one")

        def score(candidates: Tensor) -> Tensor:
            return imagined_value(self._model, state, candidates, means)

        proposals = policy_plans(self._model, state, PROPOSALS, self._planner.horizon, self._generator)
        return self._search.find(score, self._generator, proposals=proposals).actions[:1]

    def advance(self, state: State) -> None:
        """The next search begins where this one ended, a step on."""
        self._search.advance()
