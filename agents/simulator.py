"""Planning in the environment's own simulator: what a planner can do whose model makes no error."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from agents.actor import explored
from agents.planners.planner import Planner
from agents.search import Search
from envs.pixels import PixelEnv
from envs.spec import env_action, env_spec


def simulated_return(env: PixelEnv, candidates: Tensor) -> Tensor:
    """Returns (n,) of candidates (n, h, a), each played from the environment's present state; nothing is drawn.

    A candidate that ends the episode earns nothing after it. The environment stands where it stood, afterwards.
    """
    spec = env_spec(env)
    start = env.snapshot()
    returns = []
    for actions in candidates.cpu().numpy():
        env.restore(start)
        total = 0.0
        for action in actions:
            reward, terminated, truncated = env.advance(env_action(spec, action))
            total += reward
            if terminated or truncated:
                break
        returns.append(total)
    env.restore(start)
    return torch.tensor(returns, device=candidates.device)


class SimulatorAgent:
    """Acts by planning in the environment itself: an `Actor` that looks at no frame.

    Where the environment is random it foresees what comes, since its random streams are part of a snapshot.

    Args:
        env: the environment it acts in.

    Raises EnvError for an environment whose state cannot be copied.
    """

    def __init__(self, env: PixelEnv, planner: Planner) -> None:
        env.reset(seed=0)
        env.snapshot()  # refuses here what cannot be copied
        self._env = env
        self._spec = env_spec(env)
        self._search = Search(planner, self._spec, device=torch.device("cpu"))

    def reset(self, frame: np.ndarray) -> None:
        """An episode begins."""
        self._search.reset()

    def act(self, generator: torch.Generator, exploration: float = 0.0) -> np.ndarray:
        """Plans and gives the first action, (a,) float32, with exploration noise (see `explored`)."""
        plan = self._search.find(lambda candidates: simulated_return(self._env, candidates), generator)
        return explored(plan.actions[0].numpy().copy(), self._spec, generator, exploration)

    def observe(self, action: np.ndarray, frame: np.ndarray, generator: torch.Generator) -> None:
        """The next search begins where the last ended."""
        self._search.advance()
