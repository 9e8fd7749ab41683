"""One contract for every real environment: frames out, actions in [-1, 1] in, action repeat, time limit."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from envs.spec import action_space
from worldmodel.errors import EnvError
from worldmodel.spec import EnvSpec


class Outcome(NamedTuple):
    """What one simulator step earned, and whether the simulator itself ended the episode there."""

    reward: float
    terminated: bool
    truncated: bool


class Simulator(Protocol):
    """A task in its own units; knows nothing of action repeat and time limits."""

    @property
    def action_space(self) -> gymnasium.Space[Any]:
        """A Box with its own bounds, or Discrete."""

    def reset(self, seed: int | None) -> None:
        """A new episode: from `seed`, or from wherever its random stream stands."""

    def step(self, action: Any) -> Outcome:
        """One step of simulation; `action` is in `action_space`."""

    def render(self) -> np.ndarray:
        """The present frame (H, W, 3) uint8, in memory that the next may overwrite."""

    def snapshot(self) -> Any:
        """All that the next steps depend on, random streams included; EnvError when it cannot be copied."""

    def restore(self, snapshot: Any) -> None:
        """Goes back to a snapshot of its own, which stays good for further times."""

    def positions(self) -> np.ndarray:
        """Where each body is: (m, 3) float64 metres; EnvError for a simulator that does not tell."""

    def close(self) -> None:
        """Frees everything; may be called twice."""


class PixelSnapshot(NamedTuple):
    """A moment of one `PixelEnv`."""

    env: PixelEnv
    simulator: Any
    elapsed: int
    running: bool


class PixelEnv(gymnasium.Env[np.ndarray, Any]):
    """A simulator seen through its frames (H, W, 3) uint8.

    Actions are vectors in [-1, 1], scaled to the simulator's bounds, or integers from 0. A step repeats its action,
    sums the rewards, ends with the episode, and draws the last frame only. Every info holds ``env_frames``: the
    simulator steps just taken. `render` gives the last frame drawn again, without drawing it anew.

    To plan in the simulator itself: `snapshot`, `advance` along some actions, `restore`; none of them draws.

    Args:
        simulator: what is simulated; closed with this.
        env, task: names, for `env_spec`.
        action_repeat: simulator steps per step, >= 1.
        time_limit: simulator steps until truncation; 0 for none but the simulator's own.
        size: (height, width) of the simulator's frames.

    Raises EnvError for actions that are neither a bounded vector nor Discrete.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 12}  # noqa: RUF012  # as Gymnasium declares it
    render_mode = "rgb_array"

    def __init__(
        self, simulator: Simulator, *, env: str, task: str, action_repeat: int, time_limit: int, size: tuple[int, int]
    ) -> None:
        space = simulator.action_space
        self.env_spec = spec = describe(
            space, env=env, task=task, action_repeat=action_repeat, time_limit=time_limit, size=size
        )
        self.observation_space = Box(0, 255, (*size, 3), np.uint8)
        self.action_space = action_space(spec)
        self._simulator = simulator
        self._own_space = space
        self._elapsed = 0  # simulator steps of this episode
        self._frame: np.ndarray | None = None
        self._running = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A new episode; the same seed gives the same one, no seed the next of the stream."""
        super().reset(seed=seed)
        self._simulator.reset(seed)
        self._elapsed, self._running = 0, True
        return self._draw(), {"env_frames": 0}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Repeats `action`; an episode that terminates at its time limit is terminated, not truncated.

        Raises EnvError outside an episode, and for an action outside the action space.
        """
        before = self._elapsed
        total, terminated, truncated = self.advance(action)
        return self._draw(), total, terminated, truncated, {"env_frames": self._elapsed - before}

    def advance(self, action: Any) -> tuple[float, bool, bool]:
        """`step` without drawing: the summed reward, terminated, truncated. Raises as `step` does."""
        if not self._running:
            raise EnvError("there is no episode to step in: call reset() first, and after each episode's end")
        own_action = self._own_action(action)
        before, total = self._elapsed, 0.0
        terminated = truncated = False
        while not (terminated or truncated) and self._elapsed - before < self.env_spec.action_repeat:
            reward, terminated, ended = self._simulator.step(own_action)
            total += reward
            self._elapsed += 1
            truncated = not terminated and (ended or self._elapsed == self.env_spec.time_limit)
        self._running = not (terminated or truncated)
        return total, terminated, truncated

    def snapshot(self) -> PixelSnapshot:
        """The true state: after `restore`, the same actions earn the same rewards and give the same frames.

        Raises EnvError for a simulator whose state cannot be copied.
        """
        return PixelSnapshot(self, self._simulator.snapshot(), self._elapsed, self._running)

    def restore(self, snapshot: PixelSnapshot) -> None:
        """Goes back to a snapshot, of this episode or another; it can be restored any number of times.

        Nothing is drawn: until the next step `render` goes on giving the last frame drawn. Raises EnvError for another
        environment's snapshot.
        """
        if snapshot.env is not self:
            raise EnvError("the snapshot is of another environment: restore it in the one that took it")
        self._simulator.restore(snapshot.simulator)
        self._elapsed, self._running = snapshot.elapsed, snapshot.running

    def positions(self) -> np.ndarray:
        """Where each of the simulator's bodies is: (m, 3) float64 metres; EnvError where it does not tell."""
        return self._simulator.positions()

    def render(self) -> np.ndarray:
        """The last frame drawn (H, W, 3) uint8; EnvError before the first reset."""
        if self._frame is None:
            raise EnvError("there is no frame yet: call reset() first")
        return self._frame.copy()

    def close(self) -> None:
        """Closes the simulator."""
        self._running = False
        self._simulator.close()

    def _draw(self) -> np.ndarray:
        self._frame = self._simulator.render()
        return self._frame.copy()

    def _own_action(self, action: Any) -> Any:
        """The action in the simulator's units; -1 and 1 give its bounds exactly."""
        if isinstance(self._own_space, Discrete):
            if not self.action_space.contains(action):
                raise EnvError(f"action {action!r} is not one of the integers 0 to {self.env_spec.action_size - 1}")
            return int(self._own_space.start) + int(action)
        a = np.asarray(action, np.float64)
        if a.shape != self.action_space.shape or not (np.abs(a) <= 1).all():
            raise EnvError(f"action {action!r} is not a vector of {self.env_spec.action_size} numbers in [-1, 1]")
        low, high = np.array(self.env_spec.action_low), np.array(self.env_spec.action_high)
        return ((low * (1 - a) + high * (1 + a)) / 2).astype(self._own_space.dtype)


def describe(
    space: gymnasium.Space[Any], *, env: str, task: str, action_repeat: int, time_limit: int, size: tuple[int, int]
) -> EnvSpec:
    """The `EnvSpec` of a task whose simulator has this action space; EnvError for one that cannot be used."""
    kind: Literal["box", "discrete"]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    if isinstance(space, Discrete):
        kind, n = "discrete", int(space.n)
    elif isinstance(space, Box) and len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating):
        kind, n = "box", space.shape[0]
        low, high = tuple(space.low.tolist()), tuple(space.high.tolist())
        if not np.isfinite([low, high]).all():
            raise EnvError(f"{task} has unbounded actions, {space}: [-1, 1] can only be scaled to finite bounds")
    else:
        raise EnvError(f"{task} takes actions from {space}: only vectors (a one-dimensional Box) and Discrete will do")
    return EnvSpec(env, task, kind, n, low, high, action_repeat, time_limit, size)
