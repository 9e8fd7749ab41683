"""One contract for every real environment: frames out, actions in [-1, 1] in, action repeat, time limit."""

from __future__ import annotations

import logging
import math
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from envs.spec import action_space, describe
from worldmodel.errors import EnvError, EnvFailure, WorldModelError

NO_EPISODE = "there is no episode to step in: call reset() first, and after each episode's end"
NO_FRAME = "there is no frame yet: call reset() first"
LARGEST = float(np.finfo(np.float32).max)  # reward of a step, as episodes hold it

_log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What one simulator step earned, and whether the simulator itself ended the episode there."""

    reward: SupportsFloat
    terminated: bool
    truncated: bool


class Simulator(Protocol):
    """A task in its own units; knows nothing of action repeat and time limits, and may raise what it pleases."""

    @property
    def action_space(self) -> gymnasium.Space[Any]:
        """A Box with its own bounds, or Discrete."""

    def reset(self, seed: int | None) -> None:
        """A new episode: from `seed`, or from wherever its random stream stands."""

    def step(self, action: Any) -> Outcome:
        """One step of simulation; `action` is in `action_space`."""

    def render(self) -> np.ndarray:
        """The present frame (H, W, 3) uint8, in memory that the next may overwrite; EnvError for want of one."""

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

    Whatever the simulator raises while it is played, a reward that is no finite number, rewards of a step whose sum is
    none as float32, and a wrong frame after a right one are an EnvFailure: it ends the episode, and `reset` begins
    another. A wrong first frame is an EnvError.

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
        """A new episode; the same seed gives the same one, no seed the next of the stream.

        Raises EnvFailure, see above; and EnvError when the very first frame is none.
        """
        super().reset(seed=seed)
        self._elapsed, self._running = 0, False
        with self._watched("reset"):
            self._simulator.reset(seed)
        frame = self._draw()
        self._running = True
        return frame, {"env_frames": 0}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Repeats `action`; an episode that terminates at its time limit is terminated, not truncated.

        Raises EnvError outside an episode, and for an action outside the action space; EnvFailure, see above.
        """
        before = self._elapsed
        total, terminated, truncated = self.advance(action)
        return self._draw(), total, terminated, truncated, {"env_frames": self._elapsed - before}

    def advance(self, action: Any) -> tuple[float, bool, bool]:
        """`step` without drawing: the summed reward, terminated, truncated. Raises as `step` does."""
        if not self._running:
            raise EnvError(NO_EPISODE)
        own_action = self._own_action(action)
        before, total = self._elapsed, 0.0
        terminated = truncated = False
        self._running = False  # until all of it has gone well
        with self._watched("step"):
            while not (terminated or truncated) and self._elapsed - before < self.env_spec.action_repeat:
                self._elapsed += 1
                reward, terminated, ended = self._simulator.step(own_action)
                total += self._finite(reward)
                truncated = not terminated and (ended or self._elapsed == self.env_spec.time_limit)
        if not abs(total) <= LARGEST:
            raise self._failure(
                f"earned {total:g} in a decision of {self._elapsed - before} simulator steps that ended",
                f"float32 holds rewards up to {LARGEST:.3g}",
            )
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
            raise EnvError(NO_FRAME)
        return self._frame.copy()

    def close(self) -> None:
        """Closes the simulator; what that raises is a warning, as nobody needs it any more."""
        self._running = False
        try:
            self._simulator.close()
        except Exception as error:
            _log.warning("%s raised %r in close()", self.env_spec.task, error)

    def _draw(self) -> np.ndarray:
        try:
            with self._watched("render"):
                self._frame = self._simulator.render()
        except EnvFailure:
            raise
        except EnvError as error:
            if self._frame is None:
                raise  # settings that cannot work
            raise self._failure("gave no frame", str(error)) from error
        return self._frame.copy()

    @contextmanager
    def _watched(self, call: str) -> Iterator[None]:
        """Whatever the simulator raises in a call ends the episode, as an EnvFailure; errors of ours pass."""
        try:
            yield
        except WorldModelError:
            self._running = False
            raise
        except (Exception, SystemExit) as error:  # the latter by who closes the window of pygame
            raise self._failure(f"raised {error!r} in {call}()") from error

    def _failure(self, what: str, why: str = "") -> EnvFailure:
        self._running = False
        reason = f" ({why})" if why else ""
        return EnvFailure(
            f"{self.env_spec.task} {what} at simulator step {self._elapsed}{reason}: "
            "the episode is lost, reset() begins another"
        )

    def _finite(self, reward: Any) -> float:
        try:
            number = float(reward)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise self._failure(f"earned {reprlib.repr(reward)}", "a reward must be a finite number")
        return number

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
