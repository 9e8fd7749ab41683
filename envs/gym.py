"""Any Gymnasium environment that draws itself."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from envs.pixels import Outcome
from worldmodel.errors import EnvError


class GymSimulator:
    """A Gymnasium environment without its registered time limit, its frames resized.

    Args:
        id: as registered; ``module:Name-v0`` imports the module first.
        kwargs: for its constructor.
        size: (height, width) of its frames; its own shape is not preserved.

    Raises EnvError when it cannot be made, or cannot draw into an array.
    """

    def __init__(self, id: str, kwargs: Mapping[str, Any], *, size: tuple[int, int]) -> None:
        self._id = id
        self._size = size
        self._env = _make(id, kwargs)
        if "rgb_array" not in self._env.metadata.get("render_modes", []):
            self._env.close()
            raise EnvError(f"{id} cannot draw itself: its render_modes lack 'rgb_array', and frames are all we see")
        self.action_space = self._env.action_space

    def reset(self, seed: int | None) -> None:
        """Observations other than frames are dropped."""
        self._env.reset(seed=seed)

    def step(self, action: Any) -> Outcome:
        """Observations other than frames are dropped."""
        _, reward, terminated, truncated, _ = self._env.step(action)
        return Outcome(float(reward), bool(terminated), bool(truncated))

    def render(self) -> np.ndarray:
        """The frame (H, W, 3) uint8."""
        frame = self._env.render()
        if not (isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3):
            found = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise EnvError(f"{self._id} draws {found}: an rgb_array must be uint8 (height, width, 3)")
        return resize(frame, self._size)

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()


def resize(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Averages (h, w, 3) uint8 over the area of each new pixel: (H, W, 3) uint8, read-only.

    Pillow's box filter rather than torch's `interpolate(mode="area")`: three times faster on a 400x600 frame, nearer
    to the exact average where sizes do not divide (torch's windows overlap), and no torch in an environment's process.
    """
    height, width = size
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BOX))


def _make(id: str, kwargs: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    """``gymnasium.make`` with our errors; without TimeLimit, and without checks of observations nobody reads."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    if "DISPLAY" not in os.environ:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    try:
        with warnings.catch_warnings():
            # said again, better, as an EnvError
            warnings.filterwarnings("ignore", message=".*not in the possible render_modes")
            return gymnasium.make(id, max_episode_steps=-1, disable_env_checker=True, render_mode="rgb_array", **kwargs)
    except gymnasium.error.UnregisteredEnv as error:
        near = get_close_matches(id, gymnasium.registry)
        guess = f"did you mean {' or '.join(near)}?" if near else "is the package that registers it installed?"
        raise EnvError(f"Gymnasium has no environment {id!r}: {guess} ({error})") from error
    except (gymnasium.error.Error, ImportError, TypeError, ValueError) as error:
        raise EnvError(f"{id} cannot be made with kwargs {dict(kwargs)}: {error}") from error
