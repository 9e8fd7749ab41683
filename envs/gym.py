"""Any Gymnasium environment that draws itself, or whose observations are images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from PIL import Image

from envs.finding import find_env
from envs.pixels import Outcome
from envs.snapshot import Snapshot, take
from worldmodel.errors import EnvError

Frames = Literal["render", "observation"]
TRANSPOSE = "; its channels come first: give frame.transpose(1, 2, 0)"


class GymSimulator:
    """A Gymnasium environment without its own time limit, its frames resized.

    Attributes:
        time_limit: of its own, in steps; None where it has none.

    Args:
        id, kwargs: see `envs.finding.find_env`.
        frames: ``render``, what it draws; or ``observation``, the images it observes: uint8 (h, w, 3), (h, w, 1) or
            (h, w). Then it need not be able to draw, and is not asked to.
        size: (height, width) of its frames; its own shape is not preserved.

    Raises EnvError when it cannot be made, cannot draw into an array, or observes something else.
    """

    def __init__(self, id: str, kwargs: Mapping[str, Any], *, frames: Frames, size: tuple[int, int]) -> None:
        self._id = id
        self._size = size
        self._observes = frames == "observation"
        self._observation: Any = None
        self._shape: tuple[int, ...] | None = None  # of this episode's frames, before they are resized
        found = find_env(id, kwargs if self._observes else {**kwargs, "render_mode": "rgb_array"})
        self._env, self.time_limit = found
        self.action_space = self._env.action_space
        if reason := _unseen(self._env, frames):
            self._env.close()
            raise EnvError(f"{id} {reason}")

    def reset(self, seed: int | None) -> None:
        """A seed starts its random stream anew."""
        self._shape = None
        self._observation, _ = self._env.reset(seed=seed)

    def step(self, action: Any) -> Outcome:
        """Its info is dropped."""
        self._observation, reward, terminated, truncated, _ = self._env.step(action)
        return Outcome(reward, bool(terminated), bool(truncated))

    def render(self) -> np.ndarray:
        """The frame (H, W, 3) uint8; EnvError for what is none, or of another shape than the episode's first."""
        frame = self._observation if self._observes else self._env.render()
        if not (isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and _is_picture(frame.shape, self._observes)):
            found, mend = type(frame).__name__, ""
            if isinstance(frame, np.ndarray):
                found, mend = f"{frame.dtype} {frame.shape}", TRANSPOSE if _channels_first(frame.shape) else ""
            if self._observes:
                raise EnvError(f"{self._id} observes {found}, against its own {self._env.observation_space}{mend}")
            raise EnvError(f"{self._id} draws {found}: an rgb_array must be uint8 (height, width, 3){mend}")
        if frame.shape != (self._shape or frame.shape):
            raise EnvError(f"{self._id} gives a frame {frame.shape} after {self._shape}: an episode has one shape")
        self._shape = frame.shape
        height, width = frame.shape[:2]
        return resize(np.broadcast_to(frame.reshape(height, width, -1), (height, width, 3)), self._size)

    def snapshot(self) -> Snapshot:
        """The attributes of the environment and of its wrappers, see `envs.snapshot.take`."""
        return take(self, name=self._id)

    def restore(self, snapshot: Snapshot) -> None:
        """Some 100 µs, more where attributes are large."""
        snapshot.restore()

    def positions(self) -> np.ndarray:
        """Raises EnvError: Gymnasium has no word for them."""
        raise EnvError(f"{self._id} does not tell where its bodies are: only dm_control's tasks do")

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


def _unseen(env: gymnasium.Env[Any, Any], frames: Frames) -> str | None:
    """Why there are no such frames of `env`, and what to do; None if there are."""
    space = env.observation_space
    if frames == "render":
        if "rgb_array" in env.metadata.get("render_modes", []):
            return None
        return (
            "cannot draw itself: its render_modes lack 'rgb_array', and frames are all we see: "
            "set env.frames=observation if its observations are images"
        )
    if isinstance(space, Box) and space.dtype == np.uint8 and _is_picture(space.shape, True):
        return None
    return (
        f"observes {space}, not images: env.frames=observation takes a Box of uint8 (height, width, 3), "
        "(height, width, 1) or (height, width); set env.frames=render to have it drawn"
        f"{TRANSPOSE if _channels_first(space.shape or ()) else ''}"
    )


def _is_picture(shape: tuple[int, ...], grey_too: bool) -> bool:
    return (len(shape) == 3 and shape[2] == 3) or (
        grey_too and (len(shape) == 2 or (len(shape) == 3 and shape[2] == 1))
    )


def _channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3)
